//! Watching the versions of a model: first those that are there, then each as it is created or changes.

use std::time::Duration;

use futures::Stream;
use slipway_platform::{Error, Result, names::ModelName};
use slipway_proto::registry::v1::Version;

use super::Registry;
use crate::store;

/// Versions read at a time.
const BATCH: i64 = 64;
/// How often it is looked for changes that nobody was woken for: a commit whose answer was lost.
const POLL_EVERY: Duration = Duration::from_secs(1);

impl Registry {
    /// Begins a watch; `NotFound` when there is no such model, `Exhausted` when too many watch.
    ///
    /// Each version comes as it is when it is read: of several quick changes a watcher may see only the
    /// last. Ends with `Unavailable` at the shutdown.
    pub async fn watch_versions(
        &self,
        model: ModelName,
    ) -> Result<impl Stream<Item = Result<Version>> + Send + use<>> {
        let permit = Registry::place(&self.watches, self.limits.watches_max, "watches")?;
        store::models::get(&mut *self.db.read().await?, &model).await?;
        let (db, shutdown) = (self.db.clone(), self.shutdown.clone());
        Ok(async_stream::try_stream! {
            let _permit = permit;
            let mut commits = db.commits();
            let mut after = 0;
            loop {
                commits.mark_unchanged();
                let batch =
                    store::versions::changed_after(&mut *db.read().await?, &model, after, BATCH).await?;
                let full = batch.len() as i64 == BATCH;
                for (changed, version) in batch {
                    after = changed;
                    yield version;
                }
                if full {
                    continue;
                }
                let stopping = tokio::select! {
                    () = shutdown.cancelled() => true,
                    _ = commits.changed() => false,
                    () = tokio::time::sleep(POLL_EVERY) => false,
                };
                if stopping {
                    Err(Error::unavailable("registry: shutting down"))?;
                }
            }
        })
    }
}
