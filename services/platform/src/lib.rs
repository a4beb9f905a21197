//! What every Slipway service shares and no service owns: configuration, errors and their gRPC form,
//! resource names, time, storage, events, background tasks, telemetry and the gRPC server itself.
//!
//! The crate knows nothing of models, rollouts or alerts. A service depends on it and never the other
//! way round; a thing enters here when a second service needs it.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`error`] | the one error type that crosses a service's edge, to and from `tonic::Status` |
//! | [`names`] | resource names as types |
//! | [`clock`] | timestamps and the clock that is passed in |
//! | [`config`] | layered settings, secrets, and binding of listeners |
//! | [`db`], [`migrate`], [`requests`], [`etag`] | storage: one writer, several readers, save by generation |
//! | [`lease`] | which replica does what only one may do |
//! | [`events`] | outbox, event bus, inbox, consumers |
//! | [`json`] | ProtoJSON of any Slipway message |
//! | [`filter`], [`paging`] | listing: AIP-160 filters and opaque page tokens |
//! | [`tasks`] | supervised background loops and the order of stopping |
//! | [`telemetry`], [`metrics`] | traces, logs and metrics: to the terminal, by OTLP, as Prometheus text; W3C trace context |
//! | `testing` | storage for tests, on either database (feature `testing`) |
//! | [`process`] | a service as a program: command line, settings, signals, exit code |
//! | [`host`] | runs one service: waits for what it needs, ends what it begins |
//! | [`grpc`] | the server with health, reflection, deadlines and load shedding; the traced client |

// A test ends its own tasks.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod etag;
pub mod events;
pub mod filter;
pub mod grpc;
pub mod host;
pub mod json;
pub mod lease;
pub mod metrics;
pub mod migrate;
pub mod names;
pub mod paging;
pub mod process;
pub mod requests;
pub mod tasks;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::{Error, Result, Violations};
