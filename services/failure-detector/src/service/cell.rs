//! The watches of one endpoint, and what they are fed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    lease::Lease,
    names::{EndpointName, RevisionName},
};
use slipway_statistics::sequential::Counts;
use tokio::sync::watch as channel;

use super::engine::lock;
use super::report::Report;
use crate::domain::books::{Excerpt, Loss, Position};
use crate::domain::logs::View;
use crate::domain::outcome::Outcome;
use crate::domain::recent::History;
use crate::domain::subject::WatchKey;
use crate::domain::verdict::{Code, Health};
use crate::domain::watch::{Watch, WatchState};

/// The watches of one endpoint.
pub struct Cell {
    pub(super) endpoint: EndpointName,
    /// By what right this replica judges it; none: there is no other replica.
    pub(super) tenure: Option<Tenure>,
    /// Held from reading what is to be written until it is written and known to be.
    saving: tokio::sync::Mutex<()>,
    state: Mutex<CellState>,
}

/// The right to judge an endpoint.
#[derive(Debug, Clone)]
pub(super) struct Tenure {
    pub(super) lease: Lease,
    /// What is written under an older one is refused.
    pub(super) epoch: i64,
}

/// What a cell's lock guards.
#[derive(Default)]
pub(super) struct CellState {
    pub(super) watches: Vec<Watched>,
    recent: HashMap<RevisionName, History>,
    reported: Option<Timestamp>,
    /// Up to where the books of other replicas are counted, by their instance.
    pub(super) positions: HashMap<String, Position>,
    /// Those that have begun to say what they have, on the stream that is open now.
    pub(super) heard: HashSet<String>,
    /// Observations that were lost on their way, and when the last ones were.
    pub(super) lost: u64,
    pub(super) last_loss: Option<Timestamp>,
    /// The positions have changed since the last checkpoint.
    pub(super) moved: bool,
    /// This replica no longer judges the endpoint.
    pub(super) gone: bool,
}

/// A watch and who follows it.
pub(super) struct Watched {
    pub(super) watch: Watch,
    /// Changed since the last checkpoint.
    pub(super) dirty: bool,
    /// Its decision or recovery is on its way to the database.
    pub(super) deciding: bool,
    /// Streams that hold it open, and since when there is none.
    pub(super) streams: u32,
    pub(super) idle_since: Timestamp,
    /// Unmeasurable since then, and whether that was told.
    pub(super) starving: Option<(Timestamp, bool)>,
    pub(super) said: Option<Code>,
    pub(super) reports: channel::Sender<Option<Arc<Report>>>,
}

/// Revisions of one endpoint whose recent counts are kept.
const RECENT_REVISIONS_MAX: usize = 16;
/// Watches of one endpoint at once; each observation is shown to all of them.
const WATCHES_MAX: usize = 64;

impl Cell {
    pub(super) fn new(endpoint: EndpointName, tenure: Option<Tenure>) -> Self {
        Self {
            endpoint,
            tenure,
            saving: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Waits for the right to write the endpoint's evidence, so that nothing older is written over something newer.
    pub(super) async fn saving(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.saving.lock().await
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, CellState> {
        lock(&self.state)
    }

    /// Whether this replica may still judge the endpoint.
    pub(super) fn is_held(&self) -> bool {
        self.tenure
            .as_ref()
            .is_none_or(|tenure| tenure.lease.is_held())
    }

    pub(super) fn watches(&self, revision: &RevisionName) -> bool {
        self.lock()
            .watches
            .iter()
            .any(|watched| watched.watch.subject().arm(revision).is_some())
    }
}

impl Watched {
    /// That it cannot be measured has not been told after all.
    pub(super) fn starving_untold(&mut self) {
        if let Some((_, told)) = &mut self.starving {
            *told = false;
        }
    }

    /// Nobody holds it open, and nothing of it is only in memory.
    pub(super) fn may_rest(&self) -> bool {
        self.streams == 0 && !self.dirty && !self.deciding
    }
}

impl CellState {
    /// Makes room for one more watch, if need be by letting those rest that nobody holds open.
    pub(super) fn make_room(&mut self) -> Result<()> {
        if self.watches.len() >= WATCHES_MAX {
            self.watches.retain(|watched| !watched.may_rest());
        }
        if self.watches.len() >= WATCHES_MAX {
            return Err(Error::Exhausted {
                what: "watches of one endpoint".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn find(&mut self, key: &WatchKey) -> Option<&mut Watched> {
        self.watches
            .iter_mut()
            .find(|watched| watched.watch.subject().key() == *key)
    }

    /// What a revision did lately, with these gRPC codes as failures.
    pub(super) fn recent(
        &self,
        revision: &RevisionName,
        grpc_failure_codes: &[i32],
        now: Timestamp,
    ) -> Counts {
        self.recent
            .get(revision)
            .map_or(Counts::default(), |recent| {
                recent.total(grpc_failure_codes, now)
            })
    }

    /// From where the logs are looked at.
    pub(super) fn view(&self, watch: &Watch, lease: std::time::Duration) -> View {
        View {
            stale_after: watch.policy().stale_after,
            lease,
            reported: self.reported,
            watched_since: watch.opened(),
            lost: self.lost,
            last_loss: self.last_loss,
        }
    }

    /// Replaces the watch of the same key, or adds one.
    pub(super) fn put(&mut self, watch: Watch, now: Timestamp) -> &mut Watched {
        let key = watch.subject().key();
        let position = match self
            .watches
            .iter()
            .position(|watched| watched.watch.subject().key() == key)
        {
            Some(position) => {
                let old = &mut self.watches[position];
                (old.watch, old.said, old.deciding, old.starving) = (watch, None, false, None);
                position
            }
            None => {
                self.watches.push(Watched {
                    watch,
                    dirty: true,
                    deciding: false,
                    streams: 0,
                    idle_since: now,
                    starving: None,
                    said: None,
                    reports: channel::channel(None).0,
                });
                self.watches.len() - 1
            }
        };
        let watched = &mut self.watches[position];
        watched.dirty = true;
        watched
    }

    /// What is to be written of the watches that have changed.
    pub(super) fn take_dirty(&mut self) -> Vec<WatchState> {
        let changed = self.watches.iter_mut().filter(|watched| watched.dirty);
        changed
            .map(|watched| {
                watched.dirty = false;
                watched.watch.state()
            })
            .collect()
    }

    pub(super) fn observe(
        &mut self,
        revision: &RevisionName,
        generation: i64,
        outcome: Outcome,
        now: Timestamp,
    ) {
        for watched in &mut self.watches {
            if watched.watch.observe(revision, outcome, generation, now) {
                watched.dirty = true;
            }
        }
        if !self.recent.contains_key(revision) {
            if self.recent.len() == RECENT_REVISIONS_MAX {
                self.recent
                    .retain(|_, recent| recent.total(&[], now).observations > 0);
            }
            if self.recent.len() < RECENT_REVISIONS_MAX {
                self.recent.insert(revision.clone(), History::default());
            }
        }
        if let Some(recent) = self.recent.get_mut(revision) {
            recent.observe(outcome, now);
        }
    }

    /// Whether a watch that somebody holds open last said that nothing can be measured.
    pub(super) fn is_unmeasurable(&self) -> bool {
        let followed = self.watches.iter().filter(|watched| watched.streams > 0);
        let mut said = followed.filter_map(|watched| watched.said);
        said.any(|code| code.health() == Health::Unmeasurable)
    }

    /// Somebody reports observations.
    pub(super) fn note_reported(&mut self, now: Timestamp) {
        self.reported = Some(now);
    }

    /// Takes in what another replica's book holds; what was counted before is left out, and what is missing is lost.
    /// Returns how many were counted.
    pub(super) fn take_in(&mut self, replica: &str, excerpt: Excerpt, now: Timestamp) -> u64 {
        let known = self.positions.get(replica).copied();
        let end = excerpt.end();
        let (runs, loss) = excerpt.after(known);
        match loss {
            Loss::None => {}
            Loss::Counted(count) => {
                self.lost = self.lost.saturating_add(count);
                self.last_loss = Some(now);
            }
            Loss::Uncounted => self.last_loss = Some(now),
        }
        let further = known.is_none_or(|known| known.book != end.book || known.number < end.number);
        if further {
            self.positions.insert(replica.to_owned(), end);
            self.moved = true;
        }
        self.heard.insert(replica.to_owned());
        let mut counted = 0;
        for run in runs {
            for _ in 0..run.count {
                self.observe(&run.revision, run.generation, run.outcome, now);
            }
            counted += run.count;
        }
        counted
    }

    /// The books of these replicas are gone for ever.
    pub(super) fn forget_positions(&mut self, gone: &HashSet<String>) {
        let before = self.positions.len();
        self.positions.retain(|replica, _| !gone.contains(replica));
        self.heard.retain(|replica| !gone.contains(replica));
        self.moved |= self.positions.len() != before;
    }

    /// Judges no longer: whoever follows a watch is told that it is gone.
    pub(super) fn leave(&mut self) {
        self.gone = true;
        self.watches.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_of_a_replica_that_is_gone_is_written_no_more() {
        let mut state = CellState::default();
        for replica in ["a", "b"] {
            let nothing = Excerpt {
                book: 1,
                first: 7,
                runs: Vec::new(),
            };
            state.take_in(replica, nothing, Timestamp(0));
        }
        state.moved = false;
        state.forget_positions(&HashSet::from(["c".to_owned()]));
        assert!(!state.moved, "nothing has changed");
        state.forget_positions(&HashSet::from(["a".to_owned()]));
        assert!(state.moved, "it is to be written");
        assert_eq!(state.positions.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(state.heard, HashSet::from(["b".to_owned()]));
    }
}
