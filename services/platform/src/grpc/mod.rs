//! The gRPC server that every service runs, and the channel by which services call each other.
//!
//! [`serve`] adds what no service should have to think of: health, reflection, a span for each RPC with
//! the caller's trace context, deadlines, load shedding, and a stop that finishes what was begun. A [`Port`]
//! listens before its service is there, and says until then what is waited for.
//! [`channel`] gives the client's half: it passes on the trace context and what is left of the deadline.

mod balance;
mod body;
mod channel;
mod config;
mod deadline;
mod flows;
mod guard;
mod incoming;
mod late;
mod measure;
mod methods;
mod probes;
mod reply;
mod retry;
mod server;
mod serving;
mod standard;

pub use crate::tasks::Readiness;
pub use channel::{TracedChannel, addresses, channel};
pub use config::GrpcConfig;
pub use deadline::remaining;
pub use probes::probes;
pub use server::{Opening, Port, ServeOptions, serve};
pub use serving::serving;

#[cfg(test)]
mod tests;
