//! Writing the evidence of changed watches, and letting idle ones rest.

use std::sync::Arc;

use slipway_platform::Result;

use super::FailureDetector;
use super::engine::Cell;
use crate::config::millis;
use crate::domain::subject::WatchKey;
use crate::domain::watch::WatchState;
use crate::store;

/// Watches written in one transaction, so that a decision never waits long for the writer.
const BATCH: usize = 200;

impl FailureDetector {
    /// Stores every watch that has changed since the last time. Returns how many.
    pub async fn checkpoint(&self) -> Result<usize> {
        let mut stored = 0;
        let cells = self.engine().all();
        let mut rest = cells.as_slice();
        while !rest.is_empty() {
            let mut batch: Vec<(Arc<Cell>, WatchState)> = Vec::new();
            while let Some((cell, later)) = rest.split_first()
                && batch.len() < BATCH
            {
                rest = later;
                for watched in cell
                    .lock()
                    .watches
                    .iter_mut()
                    .filter(|watched| watched.dirty)
                {
                    watched.dirty = false;
                    batch.push((cell.clone(), watched.watch.state()));
                }
            }
            if batch.is_empty() {
                continue;
            }
            if let Err(error) = self.store(&batch).await {
                for (cell, state) in &batch {
                    mark_dirty(cell, &state.subject.key());
                }
                return Err(error);
            }
            stored += batch.len();
        }
        Ok(stored)
    }

    async fn store(&self, batch: &[(Arc<Cell>, WatchState)]) -> Result<()> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        for (_, state) in batch {
            store::watches::save(&mut tx, state, now).await?;
        }
        tx.commit().await
    }

    /// Takes watches that nobody holds open, and that are stored, out of memory.
    pub(super) fn rest_idle(&self) {
        let now = self.now();
        let idle = millis(self.config().judgement.watch_idle_ms);
        for cell in self.engine().all() {
            cell.lock()
                .watches
                .retain(|watched| !watched.may_rest() || now.since(watched.idle_since) <= idle);
        }
        self.engine().forget_empty();
    }
}

fn mark_dirty(cell: &Cell, key: &WatchKey) {
    if let Some(watched) = cell.lock().find(key) {
        watched.dirty = true;
    }
}
