//! Who of this process may ask the database for its turn to write.
//!
//! The database's advisory locks order the replicas; these order the callers within one, so that those who
//! wait hold no connection. Both are taken in the same order and both are fair.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::{Error, Result};

/// Keys whose locks are remembered before those that nobody holds are forgotten.
const KEYS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Turns {
    all: Arc<RwLock<()>>,
    keys: Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>,
}

/// A turn, over when it is dropped.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nobody else writes.
    All { _guard: OwnedRwLockWriteGuard<()> },
    /// Nobody else writes to the same aggregate.
    One {
        _all: OwnedRwLockReadGuard<()>,
        _key: OwnedMutexGuard<()>,
    },
}

impl Turns {
    /// The turn to write to the aggregate `key`, or to everything. `Unavailable` when it does not come
    /// `within` the time.
    pub async fn next(&self, key: Option<i64>, within: Duration) -> Result<Turn> {
        let turn = async {
            match key {
                None => Turn::All {
                    _guard: self.all.clone().write_owned().await,
                },
                Some(key) => {
                    let all = self.all.clone().read_owned().await;
                    let lock = self.lock_of(key);
                    Turn::One {
                        _all: all,
                        _key: lock.lock_owned().await,
                    }
                }
            }
        };
        tokio::time::timeout(within, turn)
            .await
            .map_err(|_| Error::unavailable("storage: no turn to write came in time"))
    }

    fn lock_of(&self, key: i64) -> Arc<tokio::sync::Mutex<()>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        keys.entry(key).or_default().clone()
    }
}
