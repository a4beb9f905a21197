//! The relay: publishes what the outbox holds.
//!
//! It reads a batch of rows that are not published, publishes them in their order, and then marks exactly
//! those. A crash in between publishes them again, and so does a second relay that read the same rows
//! before it learned that it must not: every relay sends a key's events in their order and leaves none
//! out, so the first arrival of each is in order, and consumers' inboxes drop the others.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{RelayOptions, batch, metrics::Backlog, retention};
use crate::{
    Error, Result,
    clock::{SharedClock, Timestamp},
    db::Db,
    error,
    events::EventBus,
    lease::Lease,
    tasks::{Nudge, Tasks},
};

/// Batches that one run publishes at most; the rest waits for the next run.
const BATCHES_PER_RUN: usize = 64;
/// How often old rows are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How often what waits is counted.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// How often the outbox is looked at without a nudge: what a crash left behind, and what another
/// replica wrote.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The waits after failures: each twice as long as the one before.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A batch that is being published when the relay is told to stop gets this long to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What marking excludes: itself, and those who write anything.
const MARKING: &str = "outbox relay";

/// Publishes a database's outbox to the bus. Clones share their state.
#[derive(Clone)]
pub struct Relay {
    db: Db,
    bus: Arc<dyn EventBus>,
    clock: SharedClock,
    options: RelayOptions,
    backlog: Backlog,
    collected_at: Arc<Mutex<Option<Timestamp>>>,
}

impl Relay {
    /// A relay with the default options.
    pub fn new(db: Db, bus: Arc<dyn EventBus>, clock: SharedClock) -> Self {
        Self::with_options(db, bus, clock, RelayOptions::default())
    }

    /// A relay with the options given.
    pub fn with_options(
        db: Db,
        bus: Arc<dyn EventBus>,
        clock: SharedClock,
        options: RelayOptions,
    ) -> Self {
        Self {
            backlog: Backlog::new(db.source()),
            db,
            bus,
            clock,
            options,
            collected_at: Arc::default(),
        }
    }

    /// Runs the relay as a supervised background task while `lease` is held: of several replicas, one
    /// publishes. Each of them measures what waits, so that it is also seen when none publishes.
    pub fn spawn_while(self, tasks: &Tasks, lease: Lease) {
        let relay = self.clone();
        tasks.every("outbox backlog", MEASURE_EVERY, Nudge::new(), move || {
            let relay = relay.clone();
            async move { relay.backlog.measure(&relay.db, relay.clock.now()).await }
        });
        tasks.spawn_while("outbox relay", lease, move |token| {
            let relay = self.clone();
            async move { relay.run(token).await }
        });
    }

    /// Publishes on each commit with events, and once a second, until `stop`. While the bus or the
    /// database fails it waits, longer each time; the outbox keeps what comes.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        let nudge = self.db.outbox_nudge();
        let mut failures: u32 = 0;
        while !stop.is_cancelled() {
            match self.run_until(&stop).await {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "outbox is published again");
                    }
                    failures = 0;
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = nudge.nudged() => {}
                        () = tokio::time::sleep(POLL_EVERY) => {}
                    }
                }
                Err(_) if stop.is_cancelled() => {}
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let wait = backoff(failures);
                    let error = error::chain(&error);
                    tracing::warn!(error, failures, ?wait, "outbox not published, trying again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes what waits, in order, and marks it published; deletes what is past its retention.
    pub async fn run_once(&self) -> Result<()> {
        self.run_until(&CancellationToken::new()).await
    }

    async fn run_until(&self, stop: &CancellationToken) -> Result<()> {
        let published = self.publish_waiting(stop).await;
        // Also while the bus is away: what is not published is never too old.
        published.and(self.collect_when_due().await)
    }

    async fn publish_waiting(&self, stop: &CancellationToken) -> Result<()> {
        for _ in 0..BATCHES_PER_RUN {
            if stop.is_cancelled() || !self.publish_batch(stop).await? {
                break;
            }
        }
        Ok(())
    }

    /// Publishes one batch; whether there may be more.
    async fn publish_batch(&self, stop: &CancellationToken) -> Result<bool> {
        let batch = batch::waiting(&self.db, self.options.batch_max).await?;
        if batch.events.is_empty() {
            return Ok(false);
        }
        let given_up = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            biased;
            published = self.bus.publish(&batch.events) => published?,
            () = given_up => {
                return Err(Error::OutcomeUnknown { what: "publish: the relay was stopped".to_owned() });
            }
        }
        let mut tx = self.db.begin_for(MARKING).await?;
        batch::mark(&mut tx, &batch.positions, self.clock.now()).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn collect_when_due(&self) -> Result<()> {
        let now = self.clock.now();
        let mut collected_at = self.collected_at.lock().await;
        if collected_at.is_some_and(|at| now.since(at) < COLLECT_EVERY) {
            return Ok(());
        }
        *collected_at = Some(now);
        if !retention::collect(&self.db, &self.options, now).await? {
            // More is left: the next run goes on.
            *collected_at = None;
        }
        Ok(())
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF_MAX)
}
