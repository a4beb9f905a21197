//! What this replica's proxies report of endpoints that another replica judges, kept until that one has stored it.
//!
//! One book per endpoint. Its observations are numbered without a gap, equal ones that follow each other are one
//! run, and a reader names the number from which it wants them. So a stream that broke, and a replica that takes
//! over, go on exactly where the stored evidence ends: nothing is counted twice, and what had to be dropped is
//! missing by number. All books share their room; the largest one pays for it when it is full.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName};

use super::outcome::Outcome;

/// When there is no room, the largest book loses one run in so many: to look for it costs as much as many writings.
const DROPPED_PART: usize = 16;

/// A place in a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Names the book within the run of its replica; never 0.
    pub book: u64,
    /// The number of the next observation.
    pub number: u64,
}

/// Equal observations, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What served.
    pub revision: RevisionName,
    /// The traffic generation; 0: not known.
    pub generation: i64,
    /// What they say.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

/// A part of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// Names the book.
    pub book: u64,
    /// The number of the first observation.
    pub first: u64,
    /// The observations.
    pub runs: Vec<Run>,
}

impl Excerpt {
    /// The place after it.
    pub fn end(&self) -> Position {
        let count: u64 = self.runs.iter().map(|run| run.count).sum();
        Position {
            book: self.book,
            number: self.first + count,
        }
    }

    /// What of it is new to a reader who has everything before `known`, and what that reader will never get.
    pub fn after(mut self, known: Option<Position>) -> (Vec<Run>, Loss) {
        let Some(known) = known else {
            return (self.runs, Loss::None);
        };
        if known.book != self.book {
            return (self.runs, Loss::Uncounted);
        }
        if self.first > known.number {
            return (self.runs, Loss::Counted(self.first - known.number));
        }
        let mut seen = known.number - self.first;
        self.runs.retain_mut(|run| {
            let repeated = seen.min(run.count);
            seen -= repeated;
            run.count -= repeated;
            run.count > 0
        });
        (self.runs, Loss::None)
    }
}

/// Observations that a reader will never get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// There are none.
    None,
    /// So many.
    Counted(u64),
    /// The book that was read is gone, and nobody knows how many it held.
    Uncounted,
}

/// The books of one replica.
#[derive(Debug)]
pub struct Books {
    books: HashMap<EndpointName, Book>,
    opened: u64,
    runs: usize,
    runs_max: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Book {
    id: u64,
    /// The number of the first observation in `runs`; those of `runs` follow without a gap.
    first: u64,
    next: u64,
    runs: VecDeque<Run>,
    readers: u32,
    unread_since: Timestamp,
}

impl Books {
    /// No books; all together will hold at most so many runs.
    pub fn new(runs_max: usize) -> Self {
        Self {
            books: HashMap::new(),
            opened: 0,
            runs: 0,
            runs_max,
            dropped: 0,
        }
    }

    /// Writes an observation down; false when nobody wants it.
    pub fn record(
        &mut self,
        endpoint: &EndpointName,
        revision: &RevisionName,
        generation: i64,
        outcome: Outcome,
    ) -> bool {
        let Some(book) = self.books.get_mut(endpoint) else {
            return false;
        };
        book.next += 1;
        if let Some(last) = book.runs.back_mut()
            && last.outcome == outcome
            && last.generation == generation
            && last.revision == *revision
        {
            last.count += 1;
            return true;
        }
        book.runs.push_back(Run {
            revision: revision.clone(),
            generation,
            outcome,
            count: 1,
        });
        self.runs += 1;
        if self.runs > self.runs_max {
            self.make_room();
        }
        true
    }

    /// How many observations were dropped since this was last asked, for want of room.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// A reader wants what follows `from`, or what comes from now on. Returns where its reading begins.
    pub fn open(&mut self, endpoint: &EndpointName, from: Option<Position>) -> Position {
        let opened = &mut self.opened;
        let book = self.books.entry(endpoint.clone()).or_insert_with(|| {
            *opened += 1;
            Book {
                id: *opened,
                first: 0,
                next: 0,
                runs: VecDeque::new(),
                readers: 0,
                unread_since: Timestamp(0),
            }
        });
        book.readers += 1;
        let number = match from {
            None => book.next,
            Some(from) if from.book == book.id => from.number.clamp(book.first, book.next),
            Some(_) => book.first,
        };
        Position {
            book: book.id,
            number,
        }
    }

    /// A reader leaves; without one, the book is kept for a while.
    pub fn close(&mut self, endpoint: &EndpointName, id: u64, now: Timestamp) {
        let book = self.books.get_mut(endpoint).filter(|book| book.id == id);
        if let Some(book) = book {
            book.readers = book.readers.saturating_sub(1);
            book.unread_since = now;
        }
    }

    /// A reader leaves for good, since it has stopped judging.
    pub fn finish(&mut self, endpoint: &EndpointName, id: u64, now: Timestamp) {
        self.close(endpoint, id, now);
        let unread = |book: &Book| book.id == id && book.readers == 0;
        if self.books.get(endpoint).is_some_and(unread) {
            self.remove(endpoint);
        }
    }

    /// At most `runs` runs from `from` on; `None` when there is nothing.
    pub fn read(&self, endpoint: &EndpointName, from: Position, runs: usize) -> Option<Excerpt> {
        let book = self.books.get(endpoint)?;
        if book.id == from.book && from.number >= book.next {
            return None;
        }
        Some(book.excerpt(from, runs))
    }

    /// Everything before `position` is stored.
    pub fn stored(&mut self, endpoint: &EndpointName, position: Position) {
        let book = self.books.get_mut(endpoint);
        let Some(book) = book.filter(|book| book.id == position.book) else {
            return;
        };
        while book
            .runs
            .front()
            .is_some_and(|run| book.first + run.count <= position.number)
        {
            self.runs -= book.drop_first();
        }
    }

    /// This replica judges the endpoint itself from now on: closes the book, and gives what follows `from`.
    pub fn take(&mut self, endpoint: &EndpointName, from: Option<Position>) -> Option<Excerpt> {
        let book = self.remove(endpoint)?;
        Some(book.excerpt(from?, usize::MAX))
    }

    /// Forgets the books that nobody has read for so long.
    pub fn forget(&mut self, unread: Duration, now: Timestamp) {
        let old = |book: &Book| book.readers == 0 && now.since(book.unread_since) > unread;
        let old: Vec<EndpointName> = self
            .books
            .iter()
            .filter(|(_, book)| old(book))
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        for endpoint in old {
            self.remove(&endpoint);
        }
    }

    /// Drops the oldest of the largest book, so that an endpoint with much to say costs no other one anything.
    fn make_room(&mut self) {
        let largest = self.books.values_mut().max_by_key(|book| book.runs.len());
        let Some(book) = largest else {
            return;
        };
        let before = book.first;
        for _ in 0..book.runs.len().div_ceil(DROPPED_PART) {
            self.runs -= book.drop_first();
        }
        self.dropped += book.first - before;
    }

    fn remove(&mut self, endpoint: &EndpointName) -> Option<Book> {
        let book = self.books.remove(endpoint)?;
        self.runs -= book.runs.len();
        Some(book)
    }
}

impl Book {
    /// Drops the first run; returns how many were dropped.
    fn drop_first(&mut self) -> usize {
        let dropped = self.runs.pop_front();
        self.first += dropped.as_ref().map_or(0, |run| run.count);
        usize::from(dropped.is_some())
    }

    fn excerpt(&self, from: Position, runs_max: usize) -> Excerpt {
        let first = if from.book == self.id {
            from.number.clamp(self.first, self.next)
        } else {
            self.first
        };
        let mut before = first - self.first;
        let mut runs = Vec::new();
        for run in &self.runs {
            let skipped = before.min(run.count);
            before -= skipped;
            if run.count > skipped {
                runs.push(Run {
                    count: run.count - skipped,
                    ..run.clone()
                });
            }
            if runs.len() >= runs_max {
                break;
            }
        }
        Excerpt {
            book: self.id,
            first,
            runs,
        }
    }
}

#[cfg(test)]
mod tests;
