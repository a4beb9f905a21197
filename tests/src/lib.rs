//! Stories: the real program, from the outside.
//!
//! A story starts `slipway up` on free ports and a folder of its own, talks to it as its users do (gRPC,
//! and requests through the gateway), kills and restarts it, and checks what people and clients would
//! see. This library has what stories share:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`plane`] | a control plane that runs as a process: start, kill, restart, stop; its clients |
//! | [`gateway`] | the data plane as a process of its own |
//! | [`given`] | what must be there before something happens: models, versions, suites, endpoints |
//! | [`watch`] | rollouts, evaluations and traffic as they go on |
//! | [`users`] | people who send requests with cookies |
//! | [`servers`] | the model servers that run, and their end |
//! | [`events`] | the event log of a control plane that is stopped |
//! | [`otlp`] | a collector that keeps the traces, logs and metrics that it is sent |
//! | [`traced`] | a command with a trace, and what is looked for in it |
//! | [`wait`] | waiting for a condition, to a deadline |
//! | [`stack`] | every service as a process of its own, with real PostgreSQL, Kafka and Envoy |
//! | [`bench`](mod@bench) | what benchmarks share |

pub mod bench;
pub mod events;
pub mod gateway;
pub mod given;
pub mod otlp;
pub mod plane;
pub mod process;
pub mod programs;
pub mod servers;
pub mod stack;
pub mod traced;
pub mod users;
pub mod wait;
pub mod watch;

pub use gateway::Gateway;
pub use otlp::Collector;
pub use plane::{Clients, Plane};
pub use stack::Stack;
pub use users::Users;
pub use wait::until;
