//! The places that requests are sent to: clusters of addresses, and a pool of connections per address.
//!
//! Upstream connections speak HTTP/1.1, one request at a time. A pool belongs to an address, not to a
//! cluster, and lives as long as some cluster in force names the address; replacing the configuration
//! therefore keeps warm connections, and dropping an address closes its idle ones.

mod cluster;
mod pool;
mod registry;

use std::fmt;
use std::net::IpAddr;

pub use cluster::{Balance, Cluster, ClusterSpec, Discovery};
pub use pool::{ConnectError, Lease, Pool, PoolLimits};
pub use registry::Pools;

/// Host or IP address, and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// An IP address, or a name that is resolved at each connect.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}
