//! The xDS control plane: what proxies take their routes from, over one aggregated stream (ADS).
//!
//! The deployer publishes a [`Snapshot`]; [`resources`] turns it once into the encoded resources that every
//! proxy gets; a [`session`] per stream decides what to send next and reads what was accepted; the [`hub`]
//! remembers which proxy has accepted which generation of which endpoint.
//!
//! Invariants:
//! - A proxy is never sent a route to a cluster that it has not accepted with its endpoints, and keeps a
//!   cluster for as long as a route that it may be using points there (make before break).
//! - Until the first snapshot nothing is sent, so that a restart empties no proxy.
//! - What a proxy has refused is not sent again; the next change is.
//! - No proxy is sent an older snapshot than it has, also by a replica that lags: versions are the stored
//!   signal `routes`, and what is published under one was read with it in one statement. A stream to a
//!   replica of several begins only once the stored version has been read after the stream was opened; all
//!   that the proxy may have had from other replicas was stored before that.

mod config;
mod fleet;
mod hub;
mod proxies;
mod resources;
mod server;
mod session;
mod snapshot;

#[cfg(test)]
mod tests;

pub use config::XdsConfig;
pub use fleet::{Fleet, OtherProxy, OwnProxy};
pub use hub::XdsHub;
pub use proxies::{Applied, ProxyStatus};
pub use resources::names;
pub use server::{AdsServer, service};
pub use snapshot::{ClusterEndpoint, EndpointRoutes, Snapshot, Split};
