//! Consumers: one event, one transaction, one effect.
//!
//! Per event: begin, admit through the inbox, handle, commit, then commit the position on the bus. A
//! passing failure rolls back and tries the same event again, so order is kept; a lasting one, or too many
//! attempts by the handler, makes the event a dead letter with its reason, and the next one has its turn.
//! Failures of the database are no attempts: they are waited out. A panic counts as an internal error: one
//! event must not keep all later ones from being handled.
//!
//! Invariant: a position is committed only after its event had its effect, had it before, or is a dead
//! letter in the database.

mod metrics;
mod stale;
mod worker;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    Result,
    clock::SharedClock,
    db::{Db, Tx},
    events::{Event, EventBus},
};
use worker::Worker;

/// What a service does on events of some topics.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The consumer group, `evaluator.versions`; offsets and inbox rows belong to it.
    fn group(&self) -> &'static str;

    /// The topics it reads.
    fn topics(&self) -> &'static [&'static str];

    /// Has the event's effect, inside `tx` only; types it does not know it accepts without effect.
    /// `Invalid`, `NotFound`, `AlreadyExists` and `Precondition` are lasting failures; others are tried again.
    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()>;
}

/// How failures are tried again.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Attempts of the handler until an event becomes a dead letter.
    pub attempts_max: u32,
    /// The first wait; each further one is twice as long.
    pub backoff_min: Duration,
    /// The longest wait after a failure of the handler.
    pub backoff_max: Duration,
    /// The longest that the handler's attempts on one event and the waits between them take in all; then it
    /// becomes a dead letter, however few they were. Below the time after which Kafka takes a silent consumer for
    /// lost and gives the event to another.
    pub patience: Duration,
    /// The longest wait after a failure of the database, which says nothing about the event.
    pub storage_backoff_max: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            attempts_max: 20,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(20),
            patience: Duration::from_secs(240),
            storage_backoff_max: Duration::from_secs(2),
        }
    }
}

/// Runs `consumer` until `shutdown`; the event in hand is finished first. Failures of the bus and of the
/// database are waited out.
pub async fn run(
    db: Db,
    bus: Arc<dyn EventBus>,
    consumer: Arc<dyn Consumer>,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> Result<()> {
    run_with(
        db,
        bus,
        consumer,
        clock,
        shutdown,
        ConsumerOptions::default(),
    )
    .await
}

/// [`run`] with other options.
pub async fn run_with(
    db: Db,
    bus: Arc<dyn EventBus>,
    consumer: Arc<dyn Consumer>,
    clock: SharedClock,
    shutdown: CancellationToken,
    options: ConsumerOptions,
) -> Result<()> {
    let worker = Worker::new(db, consumer, clock, shutdown, options, bus.system());
    worker.run(bus.as_ref()).await;
    Ok(())
}
