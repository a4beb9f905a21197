//! The configuration's way in: an xDS client (state of the world, aggregated over one stream).
//!
//! [`resources`] reads Envoy's resources into the gateway's own types and refuses what it cannot serve;
//! [`state`] keeps what was accepted and decides when it can be put in force; [`client`] speaks the
//! protocol; [`saved`] keeps the last good configuration in a file, so that a restarted gateway serves
//! without the control plane.

mod client;
mod resources;
mod saved;
mod state;
mod subscriptions;

pub use client::{Client, ClientSettings};
pub use resources::{Kind, Problems};
pub use saved::{Saved, keep};
pub use state::State;
