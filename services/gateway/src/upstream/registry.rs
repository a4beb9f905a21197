//! All connection pools, by address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;

use super::{Address, Pool, PoolLimits};

/// Finds the pool of an address, so that all clusters that name it share its connections.
#[derive(Debug)]
pub struct Pools {
    by_address: Mutex<HashMap<Address, Weak<Pool>>>,
    limits: PoolLimits,
    idle_max: Duration,
    connections: TaskTracker,
}

impl Pools {
    /// No pool yet. `limits` hold for each, unless a cluster's own are stricter; a connection that was idle for
    /// `idle_max` is not used again; `connections` runs the connections.
    pub fn new(limits: PoolLimits, idle_max: Duration, connections: TaskTracker) -> Self {
        Self {
            by_address: Mutex::default(),
            limits,
            idle_max,
            connections,
        }
    }

    /// The limits of a cluster that asks for these: the gateway's own, or stricter.
    pub fn limits(&self, connections_max: Option<usize>, waiting_max: Option<usize>) -> PoolLimits {
        let own = self.limits;
        PoolLimits {
            connections_max: connections_max
                .unwrap_or(usize::MAX)
                .min(own.connections_max),
            waiting_max: waiting_max.unwrap_or(usize::MAX).min(own.waiting_max),
        }
    }

    /// The pool of an address, with its limits changed to these.
    pub fn of(&self, address: &Address, limits: PoolLimits) -> Arc<Pool> {
        let mut pools = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(address).and_then(Weak::upgrade) {
            pool.set_limits(limits);
            return pool;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        let pool = Arc::new(Pool::new(
            address.clone(),
            limits,
            self.idle_max,
            self.connections.clone(),
        ));
        pools.insert(address.clone(), Arc::downgrade(&pool));
        pool
    }

    /// Closes the connections that have been idle for too long.
    pub fn close_idle(&self, now: Instant) {
        let pools: Vec<_> = {
            let pools = self
                .by_address
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            pools.values().filter_map(Weak::upgrade).collect()
        };
        for pool in pools {
            pool.close_idle(now);
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let limits = PoolLimits {
            connections_max: 2,
            waiting_max: 1,
        };
        Self::new(limits, Duration::from_secs(4), TaskTracker::new())
    }
}
