//! The gRPC server that every service runs, and the channel by which services call each other.
//!
//! [`serve`] adds what no service should have to think of: health, reflection, a span for each RPC with
//! the caller's trace context, deadlines, load shedding, and a stop that finishes what was begun.
//! [`channel`] gives the client's half: it passes on the trace context and what is left of the deadline.

mod body;
mod channel;
mod config;
mod deadline;
mod guard;
mod methods;
mod reply;
mod server;
mod standard;

pub use crate::tasks::Readiness;
pub use channel::{TracedChannel, channel};
pub use config::GrpcConfig;
pub use deadline::remaining;
pub use server::{ServeOptions, serve};

#[cfg(test)]
mod tests;
