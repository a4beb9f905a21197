//! Opening a watch and following what it says.

use std::sync::Arc;

use slipway_platform::{Error, Result, clock::Timestamp};
use tokio::sync::watch as channel;

use super::FailureDetector;
use super::cell::Cell;
use super::judges;
use super::report::Report;
use crate::domain::policy::Policy;
use crate::domain::subject::{Subject, WatchKey};
use crate::domain::watch::{Watch, WatchState};
use crate::store;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct FollowRequest {
    /// What is judged.
    pub subject: Subject,
    /// How.
    pub policy: Policy,
    /// The traffic generation that is in force.
    pub generation: i64,
    /// Whether both revisions have traffic.
    pub concurrent: bool,
}

/// What the database has of a watch that is to be opened.
enum Stored {
    NotRead,
    Read(Option<Box<WatchState>>),
}

/// One follower; the watch is held open while it lives.
pub struct Follow {
    detector: FailureDetector,
    cell: Arc<Cell>,
    key: WatchKey,
    reports: channel::Receiver<Option<Arc<Report>>>,
}

impl FailureDetector {
    /// Opens the watch of a subject, or goes on with it: from memory, or from what is stored. Another candidate or
    /// stable revision under the same key begins afresh.
    pub async fn follow(&self, request: FollowRequest) -> Result<Follow> {
        let key = request.subject.key();
        let cell = self.judged_cell(&request.subject.endpoint)?;
        let mut stored = Stored::NotRead;
        let reports = loop {
            if let Some(reports) = self.join(&cell, &request, stored)? {
                break reports;
            }
            let mut reader = self.db().read().await?;
            stored = Stored::Read(store::watches::get(&mut reader, &key).await?.map(Box::new));
        };
        self.engine().settle(&cell, self.now());
        tracing::info!(watch = %key, candidate = %request.subject.candidate, "watch opened");
        Ok(Follow {
            detector: self.clone(),
            cell,
            key,
            reports,
        })
    }

    /// Holds the watch open and subscribes to it; `None` when it is not in memory and was not read yet.
    fn join(
        &self,
        cell: &Cell,
        request: &FollowRequest,
        stored: Stored,
    ) -> Result<Option<channel::Receiver<Option<Arc<Report>>>>> {
        let key = request.subject.key();
        let now = self.now();
        let out_of_range = |error| Error::internal("judgement", error);
        let mut guard = cell.lock();
        if guard.gone {
            return Err(judges::moved(&cell.endpoint));
        }
        let known = guard
            .find(&key)
            .map(|watched| *watched.watch.subject() == request.subject);
        let stored = match (known, stored) {
            (None, Stored::NotRead) => return Ok(None),
            (None, Stored::Read(stored)) => {
                guard.make_room()?;
                stored.filter(|state| state.subject == request.subject)
            }
            (Some(_), _) => None,
        };
        if known != Some(true) {
            let watch = match stored {
                Some(state) => Watch::resume(state.after_a_stop()),
                None => self.fresh(request, now),
            };
            guard.put(watch.map_err(out_of_range)?, now);
        }
        let stable = request.subject.stable.as_ref();
        let codes = &request.policy.grpc_failure_codes;
        let history = stable
            .map(|stable| guard.recent(stable, codes, now))
            .unwrap_or_default();
        let watched = guard
            .find(&key)
            .ok_or_else(|| Error::internal("follow", "the watch is gone"))?;
        watched
            .watch
            .reopen(
                request.policy.clone(),
                self.config().judgement.comparison_share,
                request.generation,
                request.concurrent,
                history,
                now,
            )
            .map_err(out_of_range)?;
        watched.dirty = true;
        watched.streams += 1;
        Ok(Some(watched.reports.subscribe()))
    }

    fn fresh(
        &self,
        request: &FollowRequest,
        now: Timestamp,
    ) -> Result<Watch, slipway_statistics::sequential::OutOfRange> {
        let share = self.config().judgement.comparison_share;
        Watch::new(request.subject.clone(), request.policy.clone(), share, now)
    }
}

impl Follow {
    /// What is said when the watch is gone, since this replica no longer judges the endpoint.
    pub fn gone(&self) -> Error {
        judges::moved(&self.cell.endpoint)
    }

    /// The report as it is now.
    pub fn current(&mut self) -> Option<Report> {
        self.reports.mark_unchanged();
        self.detector
            .engine()
            .current(&self.cell, &self.key, self.detector.now())
    }

    /// Waits until the verdict changes. `None` when the watch is gone.
    pub async fn changed(&mut self) -> Option<Report> {
        self.reports.changed().await.ok()?;
        let report = self.reports.borrow_and_update().clone()?;
        Some(Report::clone(&report))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let now = self.detector.now();
        if let Some(watched) = self.cell.lock().find(&self.key) {
            watched.streams = watched.streams.saturating_sub(1);
            watched.idle_since = now;
        }
    }
}
