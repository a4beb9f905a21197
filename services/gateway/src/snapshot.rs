//! The configuration in force: one immutable value that is swapped as a whole.
//!
//! A request loads the snapshot once and is served by it to its end, so it never sees half of a change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::routing::RouteTable;
use crate::upstream::Cluster;

/// Routes and the clusters that they lead to.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Whether any configuration has come yet.
    pub configured: bool,
    /// The routes.
    pub table: Arc<RouteTable>,
    /// The clusters by name.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// The longest time without a byte in either direction; none when the gateway's own holds, zero
    /// for no limit.
    pub idle_timeout: Option<Duration>,
    /// Whether `.` and `..` segments are resolved before routing.
    pub normalize_path: bool,
}

/// Holds the snapshot in force. Clones hold the same.
#[derive(Debug, Clone, Default)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// The snapshot in force now.
    pub fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// Puts a snapshot in force: every request that begins after this is served by it.
    pub fn put(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
