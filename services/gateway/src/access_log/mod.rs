//! What was served, reported by Envoy's gRPC Access Log Service.
//!
//! One [`Record`] per request goes through a bounded queue to the client task, which sends batches.
//! Serving never waits for the log: a record that finds the queue full is dropped and counted. Each
//! record has a sequence number from a counter that dropped ones take part in, and the first entry of
//! every batch carries [`TAG_SEQUENCE`], [`TAG_DROPPED`] and [`TAG_BOOT`], so that the receiver can
//! tell "nothing was served" from "something is missing".

mod client;
mod entry;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

pub use client::{Client, ClientSettings};
pub use record::{Details, Flag, Flags, Record, RequestFacts, Ticket};

/// The tag of a batch's first entry that holds that entry's sequence number.
pub const TAG_SEQUENCE: &str = "slipway-sequence";
/// The tag of a batch's first entry that holds how many records were dropped since the start.
pub const TAG_DROPPED: &str = "slipway-dropped";
/// The tag of a batch's first entry that names the process, within which the other two count.
pub const TAG_BOOT: &str = "slipway-boot";

/// A record and its place in the sequence.
#[derive(Debug)]
pub struct Numbered {
    /// Counts every record of this process from 1, dropped ones included.
    pub sequence: u64,
    /// What was served.
    pub record: Record,
}

/// Where records are put. Clones put them into the same queue.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<mpsc::Sender<Box<Numbered>>>,
    counts: Arc<Counts>,
}

/// How many records there were.
#[derive(Debug, Default)]
pub struct Counts {
    /// Held while a record gets its number and its place in the queue: were they two steps, a batch could end
    /// between them, and the receiver would take a late record for a lost one.
    sequence: Mutex<u64>,
    dropped: AtomicU64,
}

impl Counts {
    /// Records so far, dropped ones included.
    pub fn records(&self) -> u64 {
        *self.lock()
    }

    /// Records that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A number is whole whatever happened to its last holder.
        self.sequence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// A log whose queue holds `capacity` records, and the queue's other end.
    pub fn bounded(capacity: usize) -> (Self, mpsc::Receiver<Box<Numbered>>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (
            Self {
                queue: Some(sender),
                counts: Arc::default(),
            },
            receiver,
        )
    }

    /// A log that keeps nothing.
    pub fn disabled() -> Self {
        Self {
            queue: None,
            counts: Arc::default(),
        }
    }

    /// How many records there were.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Puts a record into the queue, or drops and counts it.
    pub fn put(&self, record: Record) {
        let Some(queue) = &self.queue else { return };
        let mut last = self.counts.lock();
        *last += 1;
        let sequence = *last;
        let numbered = Box::new(Numbered { sequence, record });
        if queue.try_send(numbered).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
