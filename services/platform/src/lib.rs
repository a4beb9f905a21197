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
//! | [`events`] | outbox, event bus, inbox, consumers |
//! | [`json`] | ProtoJSON of any Slipway message |
//! | [`filter`], [`paging`] | listing: AIP-160 filters and opaque page tokens |
//! | [`tasks`] | supervised background loops and the order of stopping |
//! | [`telemetry`] | tracing to the terminal and W3C trace context |
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
pub mod json;
pub mod migrate;
pub mod names;
pub mod paging;
pub mod requests;
pub mod tasks;
pub mod telemetry;

pub use error::{Error, Result, Violations};
