//! Writing the evidence of changed watches, and letting idle ones rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_platform::{Result, clock::Timestamp, db::Tx};

use super::FailureDetector;
use super::cell::{Cell, CellState};
use super::replicas::LinkNews;
use crate::config::millis;
use crate::domain::books::Position;
use crate::domain::subject::Subject;
use crate::domain::watch::WatchState;
use crate::store::{self, judges::JudgeState};

/// Watches written in one transaction, so that a decision never waits long for the writer.
const BATCH: usize = 200;
/// Proxies that a judge leaves for its successor to expect.
const NODES_MAX: usize = 1_000;

/// What is to be written of one endpoint.
pub(super) struct Changes {
    watches: Vec<WatchState>,
    positions: BTreeMap<String, Position>,
}

impl Changes {
    /// What has changed since the last time.
    pub(super) fn take(state: &mut CellState) -> Self {
        state.moved = false;
        Self {
            watches: state.take_dirty(),
            positions: state.positions.clone().into_iter().collect(),
        }
    }

    /// What has to be written together with the watch of `subject`, to which `change` is made. Where the positions in
    /// the books are written, everything that they are part of must be.
    pub(super) fn take_with(
        cell: &Cell,
        subject: &Subject,
        change: impl FnOnce(&mut WatchState),
    ) -> Self {
        let mut guard = cell.lock();
        let mut changes = if cell.tenure.is_some() {
            Self::take(&mut guard)
        } else {
            Self {
                watches: Vec::new(),
                positions: BTreeMap::new(),
            }
        };
        let watched = guard.find(&subject.key());
        if let Some(watched) = watched.filter(|watched| watched.watch.subject() == subject) {
            let mut state = watched.watch.state();
            change(&mut state);
            changes.watches.retain(|other| other.subject != *subject);
            changes.watches.push(state);
        }
        changes
    }

    /// It was not written after all.
    pub(super) fn give_back(&self, cell: &Cell) {
        let mut guard = cell.lock();
        guard.moved = true;
        for state in &self.watches {
            if let Some(watched) = guard.find(&state.subject.key()) {
                watched.dirty = true;
            }
        }
    }
}

impl FailureDetector {
    /// Stores every watch that has changed since the last time. Returns how many.
    pub async fn checkpoint(&self) -> Result<usize> {
        let mut stored = 0;
        let cells = self.engine().all();
        let mut rest = cells.as_slice();
        while !rest.is_empty() {
            let mut batch: Vec<Arc<Cell>> = Vec::new();
            let mut watches = 0;
            while let Some((cell, later)) = rest.split_first()
                && watches < BATCH
            {
                rest = later;
                let guard = cell.lock();
                let dirty = guard.watches.iter().filter(|watched| watched.dirty).count();
                if dirty > 0 || guard.moved {
                    watches += dirty.max(1);
                    drop(guard);
                    batch.push(cell.clone());
                }
            }
            if !batch.is_empty() {
                stored += self.store(&batch).await?;
            }
        }
        Ok(stored)
    }

    async fn store(&self, batch: &[Arc<Cell>]) -> Result<usize> {
        let now = self.now();
        // Before the transaction, as a decision does too.
        let mut saving = Vec::new();
        for cell in batch {
            saving.push(cell.saving().await);
        }
        let mut tx = self.db().begin().await?;
        let mut written: Vec<(&Arc<Cell>, Changes)> = Vec::new();
        let mut left = Vec::new();
        let mut outcome = Ok(());
        for cell in batch {
            let changes = Changes::take(&mut cell.lock());
            match self.write(&mut tx, cell, &changes, now).await {
                Ok(true) => written.push((cell, changes)),
                Ok(false) => left.push(cell),
                Err(error) => {
                    changes.give_back(cell);
                    outcome = Err(error);
                    break;
                }
            }
        }
        let committed = match outcome {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        for cell in left {
            self.leave(cell, "another replica judges it now");
        }
        if let Err(error) = committed {
            for (cell, changes) in &written {
                changes.give_back(cell);
            }
            return Err(error);
        }
        for (cell, changes) in &written {
            self.say_stored(cell, changes);
        }
        Ok(written
            .iter()
            .map(|(_, changes)| changes.watches.len())
            .sum())
    }

    /// The books of other replicas may forget what is stored.
    pub(super) fn say_stored(&self, cell: &Cell, changes: &Changes) {
        if !changes.positions.is_empty() {
            let positions = changes.positions.clone();
            let endpoint = cell.endpoint.clone();
            self.replicas().say(LinkNews::Stored(endpoint, positions));
        }
    }

    /// Writes the changes of one endpoint; false, and nothing is written, when another replica judges it now.
    pub(super) async fn write(
        &self,
        tx: &mut Tx,
        cell: &Cell,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<bool> {
        if !self.may_write(tx, cell, &changes.positions, now).await? {
            return Ok(false);
        }
        for state in &changes.watches {
            store::watches::save(tx, state, now).await?;
        }
        Ok(true)
    }

    async fn may_write(
        &self,
        tx: &mut Tx,
        cell: &Cell,
        positions: &BTreeMap<String, Position>,
        now: Timestamp,
    ) -> Result<bool> {
        let Some(tenure) = &cell.tenure else {
            return Ok(true);
        };
        let mut nodes = self.engine().logs().open_nodes();
        nodes.truncate(NODES_MAX);
        let state = JudgeState {
            positions: positions.clone(),
            nodes,
        };
        store::judges::save(tx, &cell.endpoint, tenure.epoch, &state, now).await
    }

    /// Takes watches that nobody holds open, and that are stored, out of memory.
    pub(super) async fn rest_idle(&self) -> Result<()> {
        let now = self.now();
        let idle = millis(self.config().judgement.watch_idle_ms);
        for cell in self.engine().all() {
            cell.lock()
                .watches
                .retain(|watched| !watched.may_rest() || now.since(watched.idle_since) <= idle);
        }
        self.rest().await
    }
}
