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
use tokio::sync::{mpsc, watch as channel};

use super::cell::{Cell, CellState, Watched};
use super::decide::Work;
use super::id_window::IdWindow;
use super::judges;
use super::report::Report;
use crate::config::{Judgement, millis};
use crate::domain::books::{Books, Excerpt, Position};
use crate::domain::logs::{Fleet, Problem};
use crate::domain::outcome::Outcome;
use crate::domain::subject::WatchKey;
use crate::domain::watch::{Watch, WatchState};
use crate::metrics;

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
    logs: Mutex<Fleet>,
    cells: RwLock<HashMap<EndpointName, Arc<Cell>>>,
    ids: Mutex<IdWindow>,
    work: mpsc::Sender<Work>,
    ledger: Option<Ledger>,
}

/// The books for other replicas.
pub struct Ledger {
    books: Mutex<Books>,
    written: channel::Sender<()>,
}

impl Ledger {
    /// The books, for short changes.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// Changes when something is written.
    pub fn written(&self) -> channel::Receiver<()> {
        self.written.subscribe()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// `books`: how many runs are kept for other replicas; none: there are no others.
    pub(super) fn new(settings: Judgement, work: mpsc::Sender<Work>, books: Option<usize>) -> Self {
        let ids = Mutex::new(IdWindow::new(settings.observation_ids_max));
        let fleet = match books {
            Some(_) => Fleet::shared(),
            None => Fleet::alone(),
        };
        Self {
            settings,
            logs: Mutex::new(fleet),
            cells: RwLock::default(),
            ids,
            work,
            ledger: books.map(|runs_max| Ledger {
                books: Mutex::new(Books::new(runs_max)),
                written: channel::channel(()).0,
            }),
        }
    }

    /// What is known of the log streams; for short changes.
    pub fn logs(&self) -> MutexGuard<'_, Fleet> {
        lock(&self.logs)
    }

    /// The books for other replicas; none: there are no others.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The cell of an endpoint, made when it is missing, of a replica that has its database to itself.
    pub(super) fn cell(&self, endpoint: &EndpointName) -> Result<Arc<Cell>> {
        if let Some(cell) = self.existing(endpoint) {
            return Ok(cell);
        }
        let cell = Arc::new(Cell::new(endpoint.clone(), None));
        self.adopt(&cell)
    }

    /// Begins to use a cell, unless the endpoint has one already; gives the one in use.
    pub(super) fn adopt(&self, cell: &Arc<Cell>) -> Result<Arc<Cell>> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.len() >= self.settings.endpoints_max && !cells.contains_key(&cell.endpoint) {
            return Err(Error::Exhausted {
                what: "endpoints watched at once".to_owned(),
            });
        }
        let used = cells
            .entry(cell.endpoint.clone())
            .or_insert_with(|| cell.clone());
        Ok(used.clone())
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

    /// Endpoints that have no watch any more.
    pub(super) fn empty(&self) -> Vec<EndpointName> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let empty = cells.values().filter(|cell| cell.lock().watches.is_empty());
        empty.map(|cell| cell.endpoint.clone()).collect()
    }

    /// Forgets an endpoint, and gives it, unless it has a watch or is about to have one.
    pub(super) fn forget_empty(&self, endpoint: &EndpointName) -> Option<Arc<Cell>> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.get(endpoint)?;
        // Whoever holds a cell is about to use it.
        let used = Arc::strong_count(cell) > 1 || !cell.lock().watches.is_empty();
        (!used).then(|| cells.remove(endpoint)).flatten()
    }

    /// Judges an endpoint no longer. True when `cell` was the one in use.
    pub(super) fn leave(&self, cell: &Arc<Cell>) -> bool {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let current = cells.get(&cell.endpoint);
        let was_used = current.is_some_and(|current| Arc::ptr_eq(current, cell));
        if was_used {
            cells.remove(&cell.endpoint);
        }
        drop(cells);
        cell.lock().leave();
        was_used
    }

    /// Takes up a stored watch, as it goes on after a stop.
    pub(super) fn insert(&self, cell: &Cell, state: WatchState, now: Timestamp) -> Result<()> {
        let watch = Watch::resume(state.after_a_stop())
            .map_err(|error| Error::internal("resume a watch", error))?;
        let mut guard = cell.lock();
        if guard.find(&watch.subject().key()).is_none() {
            guard.put(watch, now);
        }
        Ok(())
    }

    /// Judges observations in the order given, or writes them down for the replica that does.
    pub fn observe(&self, observations: &[Observation], now: Timestamp) {
        let mut touched: Vec<Arc<Cell>> = Vec::new();
        let same_endpoint = |a: &Observation, b: &Observation| a.place.endpoint == b.place.endpoint;
        let (mut wrote, mut dropped) = (0, 0);
        for run in observations.chunk_by(same_endpoint) {
            let endpoint = &run[0].place.endpoint;
            let cell = self.existing(endpoint).or_else(|| {
                let ledger = self.ledger.as_ref()?;
                let mut books = ledger.books();
                for observation in run {
                    let revision = &observation.place.revision;
                    let outcome = observation.outcome;
                    if !books.record(endpoint, revision, observation.generation, outcome) {
                        drop(books);
                        // Its book was closed in between, since this replica judges it now.
                        return self.existing(endpoint);
                    }
                }
                wrote += run.len();
                dropped += books.take_dropped();
                None
            });
            let Some(cell) = cell else {
                continue;
            };
            let mut guard = cell.lock();
            for observation in run {
                let revision = &observation.place.revision;
                guard.observe(revision, observation.generation, observation.outcome, now);
            }
            drop(guard);
            if !touched.iter().any(|known| Arc::ptr_eq(known, &cell)) {
                touched.push(cell);
            }
        }
        for cell in touched {
            self.settle(&cell, now);
        }
        metrics::written_down(wrote);
        metrics::dropped(dropped);
        self.wake_readers();
    }

    /// Other replicas are to hear what is new.
    pub fn wake_readers(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.written.send_replace(());
        }
    }

    /// Judges what another replica's proxies have reported.
    pub fn take_in(
        &self,
        replica: &str,
        endpoint: &EndpointName,
        excerpt: Excerpt,
        lag: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(cell) = self.existing(endpoint) else {
            return;
        };
        let counted = cell.lock().take_in(replica, excerpt, now);
        metrics::taken_in(counted, lag);
        self.settle(&cell, now);
    }

    /// The endpoints that this replica judges, and up to where it has counted the book of `replica`.
    pub fn wanted(&self, replica: &str) -> Vec<(EndpointName, Option<Position>)> {
        let cells = self.all();
        let position = |cell: &Arc<Cell>| cell.lock().positions.get(replica).copied();
        let wanted = cells.iter();
        wanted
            .map(|cell| (cell.endpoint.clone(), position(cell)))
            .collect()
    }

    /// Up to where the book of `replica` is counted; `None` when the endpoint is not judged here.
    pub fn position(&self, replica: &str, endpoint: &EndpointName) -> Option<Option<Position>> {
        let cell = self.existing(endpoint)?;
        Some(cell.lock().positions.get(replica).copied())
    }

    /// A replica can no longer be heard.
    pub fn out_of_sight(&self, replica: &str, now: Timestamp) {
        for cell in self.all() {
            cell.lock().heard.remove(replica);
        }
        self.logs().out_of_sight(replica, now);
        self.look(now);
    }

    /// Judges observations that somebody reported, with the ids that they go by. Fails when an endpoint has gone to
    /// another replica meanwhile; what was counted before is known by its id.
    pub fn report(&self, reported: &[(String, Observation)], now: Timestamp) -> Result<Reported> {
        let mut answer = Reported::default();
        metrics::observed(reported.len(), "report");
        let mut touched: Vec<Arc<Cell>> = Vec::new();
        let mut gone = None;
        for (id, observation) in reported {
            let endpoint = &observation.place.endpoint;
            let cell = self.existing(endpoint);
            if cell.is_none() && self.ledger.is_some() {
                gone = Some(judges::moved(endpoint));
                break;
            }
            let Some(cell) = cell.filter(|cell| cell.watches(&observation.place.revision)) else {
                answer.unwatched += 1;
                continue;
            };
            if !lock(&self.ids).first_time(&endpoint.to_string(), id) {
                answer.duplicates += 1;
                continue;
            }
            let mut guard = cell.lock();
            let revision = &observation.place.revision;
            guard.observe(revision, observation.generation, observation.outcome, now);
            guard.note_reported(now);
            drop(guard);
            answer.accepted += 1;
            if !touched.iter().any(|known| Arc::ptr_eq(known, &cell)) {
                touched.push(cell);
            }
        }
        for cell in touched {
            self.settle(&cell, now);
        }
        gone.map_or(Ok(answer), Err)
    }

    /// Looks at every watch, for what only time or the log streams have changed.
    pub fn look(&self, now: Timestamp) {
        {
            let mut logs = self.logs();
            logs.look(now);
            logs.forget(millis(self.settings.proxy_lease_ms), now);
        }
        for cell in self.all() {
            self.settle(&cell, now);
        }
    }

    /// Sends off what was decided, and says what has changed.
    pub(super) fn settle(&self, cell: &Arc<Cell>, now: Timestamp) {
        let mut guard = cell.lock();
        let state = &mut *guard;
        for index in 0..state.watches.len() {
            let problem = self.problem(state, &state.watches[index].watch, now);
            let lost = state.lost;
            let watched = &mut state.watches[index];
            self.send_off(cell, watched, now);
            let code = watched.watch.code(problem.as_ref(), now);
            self.note_starving(cell, watched, problem.as_ref(), now);
            if watched.said != Some(code) {
                watched.said = Some(code);
                let report = self.report_of(&mut watched.watch, problem.as_ref(), lost, now);
                tracing::debug!(watch = %watched.watch.subject().key(), code = code.as_str(), "verdict changed");
                watched.reports.send_replace(Some(Arc::new(report)));
            }
        }
    }

    /// The report of a watch as it is now.
    pub(super) fn current(&self, cell: &Cell, key: &WatchKey, now: Timestamp) -> Option<Report> {
        let mut guard = cell.lock();
        let state = &mut *guard;
        let known = |watched: &Watched| watched.watch.subject().key() == *key;
        let index = state.watches.iter().position(known)?;
        let problem = self.problem(state, &state.watches[index].watch, now);
        let watch = &mut state.watches[index].watch;
        Some(self.report_of(watch, problem.as_ref(), state.lost, now))
    }

    /// The report of a watch that is not in memory.
    pub(super) fn at_rest(&self, mut watch: Watch, now: Timestamp) -> Report {
        let problem = self.problem(&CellState::default(), &watch, now);
        self.report_of(&mut watch, problem.as_ref(), 0, now)
    }

    fn report_of(
        &self,
        watch: &mut Watch,
        problem: Option<&Problem>,
        lost_here: u64,
        now: Timestamp,
    ) -> Report {
        let finding = watch.finding(problem, now);
        let (streams, lost) = {
            let logs = self.logs();
            (logs.streams(), logs.lost().saturating_add(lost_here))
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

    fn problem(&self, state: &CellState, watch: &Watch, now: Timestamp) -> Option<Problem> {
        let view = state.view(watch, millis(self.settings.proxy_lease_ms));
        let heard = |replica: &str| state.heard.contains(replica);
        self.logs().problem(view, heard, now)
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
