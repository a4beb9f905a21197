//! Every watch in memory, and the judging of each observation as it arrives.
//!
//! There is no queue between a log stream and its judgement: the task that reads the stream judges, so a detector
//! that is too slow stops reading, the transport's flow control fills up, and the proxy drops and says so. One lock
//! per endpoint; the lock of the log streams is taken last and never held across another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    names::{EndpointName, RevisionName},
};
use slipway_statistics::sequential::Counts;
use tokio::sync::{mpsc, watch as channel};

use super::decide::Work;
use super::id_window::IdWindow;
use super::report::Report;
use crate::config::{Judgement, millis};
use crate::domain::logs::{AccessLogs, Problem, View};
use crate::domain::outcome::Outcome;
use crate::domain::policy::Policy;
use crate::domain::recent::Recent;
use crate::domain::subject::WatchKey;
use crate::domain::verdict::Code;
use crate::domain::watch::{Watch, WatchState};

/// What served an observation.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The revision.
    pub revision: RevisionName,
}

/// One observation.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What served.
    pub place: Arc<Place>,
    /// The traffic generation that it was served under; 0: not known.
    pub generation: i64,
    /// What it says.
    pub outcome: Outcome,
}

/// What became of reported observations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reported {
    /// Counted.
    pub accepted: i64,
    /// Seen before.
    pub duplicates: i64,
    /// Of an endpoint or revision that nothing watches.
    pub unwatched: i64,
}

/// All watches.
pub struct Engine {
    settings: Judgement,
    logs: Mutex<AccessLogs>,
    cells: RwLock<HashMap<EndpointName, Arc<Cell>>>,
    ids: Mutex<IdWindow>,
    work: mpsc::Sender<Work>,
}

/// The watches of one endpoint.
pub struct Cell {
    pub(super) endpoint: EndpointName,
    state: Mutex<CellState>,
}

/// What a cell's lock guards.
#[derive(Default)]
pub(super) struct CellState {
    pub(super) watches: Vec<Watched>,
    recent: HashMap<RevisionName, Recent>,
    reported: Option<Timestamp>,
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
    starving: Option<(Timestamp, bool)>,
    said: Option<Code>,
    pub(super) reports: channel::Sender<Option<Arc<Report>>>,
}

/// Revisions of one endpoint whose recent counts are kept.
const RECENT_REVISIONS_MAX: usize = 16;
/// Watches of one endpoint at once; each observation is shown to all of them.
const WATCHES_MAX: usize = 64;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cell {
    pub(super) fn lock(&self) -> MutexGuard<'_, CellState> {
        lock(&self.state)
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

    /// What a revision did lately.
    pub(super) fn recent(&self, revision: &RevisionName, now: Timestamp) -> Counts {
        self.recent
            .get(revision)
            .map_or(Counts::default(), |recent| recent.total(now))
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

    fn observe(&mut self, observation: &Observation, now: Timestamp) -> bool {
        let revision = &observation.place.revision;
        let mut judged = false;
        for watched in &mut self.watches {
            if watched
                .watch
                .observe(revision, observation.outcome, observation.generation, now)
            {
                watched.dirty = true;
                judged = true;
            }
        }
        if !self.recent.contains_key(revision) {
            if self.recent.len() == RECENT_REVISIONS_MAX {
                self.recent
                    .retain(|_, recent| recent.total(now).observations > 0);
            }
            if self.recent.len() < RECENT_REVISIONS_MAX {
                self.recent.insert(revision.clone(), Recent::default());
            }
        }
        if let Some(recent) = self.recent.get_mut(revision) {
            let failed = observation
                .outcome
                .is_failure(&Policy::DEFAULT_GRPC_FAILURE_CODES);
            recent.observe(failed, now);
        }
        judged
    }
}

impl Engine {
    pub(super) fn new(settings: Judgement, work: mpsc::Sender<Work>) -> Self {
        let ids = Mutex::new(IdWindow::new(settings.observation_ids_max));
        Self {
            settings,
            logs: Mutex::default(),
            cells: RwLock::default(),
            ids,
            work,
        }
    }

    /// What is known of the log streams; for short changes.
    pub fn logs(&self) -> MutexGuard<'_, AccessLogs> {
        lock(&self.logs)
    }

    /// The cell of an endpoint, made when it is missing.
    pub(super) fn cell(&self, endpoint: &EndpointName) -> Result<Arc<Cell>> {
        if let Some(cell) = self.existing(endpoint) {
            return Ok(cell);
        }
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= self.settings.endpoints_max && !cells.contains_key(endpoint) {
            return Err(Error::Exhausted {
                what: "endpoints watched at once".to_owned(),
            });
        }
        let cell = cells.entry(endpoint.clone()).or_insert_with(|| {
            Arc::new(Cell {
                endpoint: endpoint.clone(),
                state: Mutex::default(),
            })
        });
        Ok(cell.clone())
    }

    /// The cell of an endpoint that is watched.
    pub(super) fn existing(&self, endpoint: &EndpointName) -> Option<Arc<Cell>> {
        self.cells
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(endpoint)
            .cloned()
    }

    /// Every cell.
    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Forgets endpoints that have no watch any more.
    pub(super) fn forget_empty(&self) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds a cell is about to use it.
        cells.retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.lock().watches.is_empty());
    }

    /// Takes up a stored watch.
    pub(super) fn insert(&self, state: WatchState, now: Timestamp) -> Result<()> {
        let cell = self.cell(&state.subject.endpoint)?;
        let watch =
            Watch::resume(state).map_err(|error| Error::internal("resume a watch", error))?;
        let mut guard = cell.lock();
        if guard.find(&watch.subject().key()).is_none() {
            guard.put(watch, now);
        }
        Ok(())
    }

    /// Judges observations in the order given.
    pub fn observe(&self, observations: &[Observation], now: Timestamp) {
        let mut touched: Vec<Arc<Cell>> = Vec::new();
        let same_endpoint = |a: &Observation, b: &Observation| a.place.endpoint == b.place.endpoint;
        for run in observations.chunk_by(same_endpoint) {
            let Some(cell) = self.existing(&run[0].place.endpoint) else {
                continue;
            };
            let mut guard = cell.lock();
            for observation in run {
                guard.observe(observation, now);
            }
            drop(guard);
            if !touched.iter().any(|known| Arc::ptr_eq(known, &cell)) {
                touched.push(cell);
            }
        }
        for cell in touched {
            self.settle(&cell, now);
        }
    }

    /// Judges observations that somebody reported, with the ids that they go by.
    pub fn report(&self, reported: &[(String, Observation)], now: Timestamp) -> Reported {
        let mut answer = Reported::default();
        let mut touched: Vec<Arc<Cell>> = Vec::new();
        for (id, observation) in reported {
            let cell = self.existing(&observation.place.endpoint);
            let Some(cell) = cell.filter(|cell| cell.watches(&observation.place.revision)) else {
                answer.unwatched += 1;
                continue;
            };
            if !lock(&self.ids).first_time(&observation.place.endpoint.to_string(), id) {
                answer.duplicates += 1;
                continue;
            }
            let mut guard = cell.lock();
            guard.observe(observation, now);
            guard.reported = Some(now);
            drop(guard);
            answer.accepted += 1;
            if !touched.iter().any(|known| Arc::ptr_eq(known, &cell)) {
                touched.push(cell);
            }
        }
        for cell in touched {
            self.settle(&cell, now);
        }
        answer
    }

    /// Looks at every watch, for what only time or the log streams have changed.
    pub fn look(&self, now: Timestamp) {
        for cell in self.all() {
            self.settle(&cell, now);
        }
    }

    /// Sends off what was decided, and says what has changed.
    pub(super) fn settle(&self, cell: &Arc<Cell>, now: Timestamp) {
        let mut guard = cell.lock();
        let reported = guard.reported;
        for watched in &mut guard.watches {
            self.send_off(cell, watched, now);
            let problem = self.problem(&watched.watch, reported, now);
            let code = watched.watch.code(problem.as_ref(), now);
            self.note_starving(cell, watched, problem.as_ref(), now);
            if watched.said != Some(code) {
                watched.said = Some(code);
                let report = self.report_of(&mut watched.watch, problem.as_ref(), now);
                tracing::debug!(watch = %watched.watch.subject().key(), code = code.as_str(), "verdict changed");
                watched.reports.send_replace(Some(Arc::new(report)));
            }
        }
    }

    /// The report of a watch as it is now.
    pub(super) fn current(&self, cell: &Cell, key: &WatchKey, now: Timestamp) -> Option<Report> {
        let mut guard = cell.lock();
        let reported = guard.reported;
        let watched = guard.find(key)?;
        let problem = self.problem(&watched.watch, reported, now);
        Some(self.report_of(&mut watched.watch, problem.as_ref(), now))
    }

    /// The report of a watch that is not in memory.
    pub(super) fn at_rest(&self, mut watch: Watch, now: Timestamp) -> Report {
        let problem = self.problem(&watch, None, now);
        self.report_of(&mut watch, problem.as_ref(), now)
    }

    fn report_of(&self, watch: &mut Watch, problem: Option<&Problem>, now: Timestamp) -> Report {
        let finding = watch.finding(problem, now);
        let (streams, lost) = {
            let logs = self.logs();
            (logs.streams(), logs.lost())
        };
        let decision = watch.decision();
        Report {
            subject: watch.subject().clone(),
            policy: watch.policy().clone(),
            alphas: watch.alphas(),
            decision_id: decision
                .map(|decision| decision.id.clone())
                .unwrap_or_default(),
            alert: decision
                .map(|decision| decision.alert.clone())
                .unwrap_or_default(),
            finding,
            time: now,
            log_streams: streams,
            lost_entries: lost,
            last_observation: watch.last_observation(),
        }
    }

    fn problem(
        &self,
        watch: &Watch,
        reported: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Problem> {
        let view = View {
            stale_after: watch.policy().stale_after,
            lease: millis(self.settings.proxy_lease_ms),
            reported,
            watched_since: watch.opened(),
        };
        self.logs().problem(view, now)
    }

    fn send_off(&self, cell: &Arc<Cell>, watched: &mut Watched, now: Timestamp) {
        if watched.deciding {
            return;
        }
        let work = match watched.watch.pending(now) {
            Some(inputs) => {
                let subject = watched.watch.subject().clone();
                Work::Decide {
                    cell: cell.clone(),
                    subject,
                    inputs: Box::new(inputs),
                }
            }
            None if watched.watch.recovered() => Work::Recover {
                cell: cell.clone(),
                subject: watched.watch.subject().clone(),
            },
            None => return,
        };
        // A full channel is tried again at the next look.
        watched.deciding = self.work.try_send(work).is_ok();
    }

    fn note_starving(
        &self,
        cell: &Arc<Cell>,
        watched: &mut Watched,
        problem: Option<&Problem>,
        now: Timestamp,
    ) {
        let subject = watched.watch.subject();
        let Some(problem) = problem.filter(|_| subject.rollout.is_some() && watched.streams > 0)
        else {
            watched.starving = None;
            return;
        };
        let (since, told) = *watched.starving.get_or_insert((now, false));
        if !told && now.since(since) >= Duration::from_millis(self.settings.starved_after_ms) {
            let work = Work::Starved {
                cell: cell.clone(),
                subject: subject.clone(),
                problem: problem.clone(),
            };
            watched.starving = Some((since, self.work.try_send(work).is_ok()));
        }
    }
}

impl Cell {
    fn watches(&self, revision: &RevisionName) -> bool {
        self.lock()
            .watches
            .iter()
            .any(|watched| watched.watch.subject().arm(revision).is_some())
    }
}
