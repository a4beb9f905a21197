//! What can be done with the registry; one file per group of use cases.
//!
//! A use case checks nothing about the form of its input (the `grpc` room did), loads, lets `domain`
//! decide, and saves the state, its events and the answer to the request id in one transaction.

mod aliases;
mod cache;
mod download;
mod models;
mod retry;
mod tags_and_state;
mod upload;
mod versions;
mod watch;

use std::sync::Arc;

use slipway_platform::{
    Error, Result,
    clock::{SharedClock, Timestamp},
    db::Db,
    names::VersionName,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

pub use aliases::{MoveAlias, ShownAlias};
pub use download::{Download, DownloadError};
pub use retry::Retry;
pub use tags_and_state::{ChangeState, ChangeTags};
pub use upload::{Upload, UploadHeader};
pub use versions::{CreateVersion, ListVersions};

use cache::VersionCache;

use crate::{config::Limits, store::blobs::Blobs};

/// The registry's use cases over its store.
#[derive(Clone)]
pub struct Registry {
    db: Db,
    blobs: Blobs,
    cache: VersionCache,
    clock: SharedClock,
    limits: Limits,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Registry {
    /// A registry over a store that it has for itself alone (see [`Db::open_exclusive`]); streams end when `shutdown` is cancelled.
    pub fn new(
        db: Db,
        blobs: Blobs,
        clock: SharedClock,
        limits: Limits,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            db,
            blobs,
            cache: VersionCache::default(),
            clock,
            uploads: Arc::new(Semaphore::new(limits.uploads_max)),
            downloads: Arc::new(Semaphore::new(limits.downloads_max)),
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            limits,
            shutdown,
        }
    }

    fn place(
        places: &Arc<Semaphore>,
        places_max: usize,
        what: &str,
    ) -> Result<OwnedSemaphorePermit> {
        places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Exhausted {
                what: format!("{places_max} {what} are under way; try again later"),
            })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The key under which a version's events stay in order: its model.
fn event_key(name: &VersionName) -> String {
    name.model().to_string()
}
