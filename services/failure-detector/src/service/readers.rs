//! Another replica reads what this one's proxies report.

use std::collections::{HashMap, HashSet};

use slipway_platform::{clock::Timestamp, names::EndpointName};
use tokio::sync::watch as channel;

use super::FailureDetector;
use super::engine::Ledger;
use crate::domain::books::{Excerpt, Position};
use crate::domain::logs::NodeState;

/// Runs that are read at once at most, of all books together.
const RUNS_MAX: usize = 10_000;

/// One reader, for as long as its stream is open.
pub struct BookReader {
    detector: FailureDetector,
    replica: String,
    cursors: HashMap<EndpointName, Position>,
    /// Those of which the beginning is to be said.
    begun: HashSet<EndpointName>,
    logs_seen: u64,
    ready: bool,
}

/// What a reader has not heard yet.
#[derive(Debug, Default)]
pub struct BookNews {
    /// The proxies that have changed.
    pub nodes: Vec<NodeState>,
    /// When the newest entry came.
    pub last_entry: Option<Timestamp>,
    /// What was observed.
    pub counts: Vec<(EndpointName, Excerpt)>,
    /// There is more.
    pub more: bool,
}

impl BookNews {
    /// Nothing is new.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.counts.is_empty()
    }
}

impl FailureDetector {
    /// Lets another replica read; `None` where there can be none.
    pub fn reader(&self, replica: &str) -> Option<BookReader> {
        self.engine().ledger()?;
        Some(BookReader {
            detector: self.clone(),
            replica: replica.to_owned(),
            cursors: HashMap::new(),
            begun: HashSet::new(),
            logs_seen: 0,
            ready: false,
        })
    }
}

impl BookReader {
    /// The reader has said all that it wants to begin with.
    pub fn ready(&mut self) {
        self.ready = true;
        self.detector.replicas().reader_came(&self.replica);
    }

    /// Changes when there may be something new.
    pub fn written(&self) -> channel::Receiver<()> {
        let ledger = self.detector.engine().ledger();
        ledger.map_or_else(|| channel::channel(()).1, Ledger::written)
    }

    /// It judges an endpoint, and wants what follows `from`.
    pub fn want(&mut self, endpoint: EndpointName, from: Option<Position>) {
        self.leave(&endpoint);
        let Some(ledger) = self.detector.engine().ledger() else {
            return;
        };
        let start = ledger.books().open(&endpoint, from);
        self.cursors.insert(endpoint.clone(), start);
        self.begun.insert(endpoint);
    }

    /// It has stopped judging an endpoint, and nobody else does.
    pub fn finish(&mut self, endpoint: &EndpointName) {
        let cursor = self.forget(endpoint);
        if let (Some(cursor), Some(ledger)) = (cursor, self.detector.engine().ledger()) {
            let now = self.detector.now();
            ledger.books().finish(endpoint, cursor.book, now);
        }
    }

    /// Another replica judges an endpoint.
    pub fn leave(&mut self, endpoint: &EndpointName) {
        let cursor = self.forget(endpoint);
        if let (Some(cursor), Some(ledger)) = (cursor, self.detector.engine().ledger()) {
            let now = self.detector.now();
            ledger.books().close(endpoint, cursor.book, now);
        }
    }

    /// What comes before `position` is stored.
    pub fn stored(&self, endpoint: &EndpointName, position: Position) {
        if let Some(ledger) = self.detector.engine().ledger() {
            ledger.books().stored(endpoint, position);
        }
    }

    /// What is new since the last time.
    pub fn read(&mut self) -> BookNews {
        let mut news = BookNews::default();
        {
            let mut logs = self.detector.engine().logs();
            let own = logs.own();
            (news.nodes, self.logs_seen) = own.changed_since(self.logs_seen);
            news.last_entry = own.last_entry();
        }
        let Some(ledger) = self.detector.engine().ledger() else {
            return news;
        };
        let books = ledger.books();
        let mut room = RUNS_MAX;
        for (endpoint, cursor) in &mut self.cursors {
            if room == 0 {
                news.more = true;
                break;
            }
            let excerpt = match books.read(endpoint, *cursor, room) {
                Some(excerpt) => excerpt,
                None if self.begun.contains(endpoint) => Excerpt {
                    book: cursor.book,
                    first: cursor.number,
                    runs: Vec::new(),
                },
                None => continue,
            };
            self.begun.remove(endpoint);
            room = room.saturating_sub(excerpt.runs.len());
            *cursor = excerpt.end();
            news.counts.push((endpoint.clone(), excerpt));
        }
        news.more |= room == 0;
        news
    }

    fn forget(&mut self, endpoint: &EndpointName) -> Option<Position> {
        self.begun.remove(endpoint);
        self.cursors.remove(endpoint)
    }
}

impl Drop for BookReader {
    fn drop(&mut self) {
        if self.ready {
            self.detector.replicas().reader_left(&self.replica);
        }
        let now = self.detector.now();
        if let Some(ledger) = self.detector.engine().ledger() {
            let mut books = ledger.books();
            for (endpoint, cursor) in &self.cursors {
                books.close(endpoint, cursor.book, now);
            }
        }
    }
}
