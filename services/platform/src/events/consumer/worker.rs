//! The loop of one consumer: every delivery to its effect or to the dead letters.

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Consumer, ConsumerOptions, metrics::Instruments, stale::Stale};
use crate::{
    Error, Result,
    clock::SharedClock,
    db::Db,
    events::{
        Delivery, Event, EventBus, Malformed, Position, Received, Subscription,
        dead_letters::{self, Failure, fit, replay},
        inbox::{self, Admission},
        trace,
    },
};

/// An event that was tried this often is said to be stuck, and again each time after as many attempts.
const STUCK_EVERY: u32 = 5;

pub(super) struct Worker {
    db: Db,
    consumer: Arc<dyn Consumer>,
    clock: SharedClock,
    shutdown: CancellationToken,
    options: ConsumerOptions,
    instruments: Instruments,
    stale: Stale,
    /// The bus, as telemetry calls it.
    system: &'static str,
}

/// Why an attempt failed.
enum Failed {
    /// The handler says so of the event.
    Handler(Error),
    /// The database did not begin, admit or commit; nothing is known about the event.
    Storage(Error),
}

impl Failed {
    fn error(&self) -> &Error {
        match self {
            Failed::Handler(error) | Failed::Storage(error) => error,
        }
    }

    /// Whether it tells of the event. Two transactions that met in the database say nothing about either.
    fn is_attempt(&self) -> bool {
        match self {
            Failed::Handler(error) => !is_contended(error),
            Failed::Storage(error) => !error.is_transient(),
        }
    }
}

fn is_contended(error: &Error) -> bool {
    // The reason, because another service may have answered with it.
    error.reason() == "STORAGE_CONTENDED"
}

impl Worker {
    pub(super) fn new(
        db: Db,
        consumer: Arc<dyn Consumer>,
        clock: SharedClock,
        shutdown: CancellationToken,
        options: ConsumerOptions,
        system: &'static str,
    ) -> Self {
        Self {
            instruments: Instruments::new(consumer.group()),
            stale: Stale::default(),
            db,
            consumer,
            clock,
            shutdown,
            options,
            system,
        }
    }

    /// Reads and settles until the shutdown. After a failure of the bus it subscribes again.
    pub(super) async fn run(&self, bus: &dyn EventBus) {
        let (group, topics) = (self.consumer.group(), self.consumer.topics());
        let mut failures = 0;
        while !self.shutdown.is_cancelled() {
            let outcome = match bus.subscribe(group, topics).await {
                Ok(mut subscription) => self.consume(subscription.as_mut(), &mut failures).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                failures += 1;
                tracing::warn!(group, %error, failures, "event bus failed, subscribing again");
                let wait = self.backoff(failures).min(self.options.backoff_max);
                self.pause(wait).await;
            }
        }
    }

    async fn consume(&self, subscription: &mut dyn Subscription, failures: &mut u32) -> Result<()> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                delivery = subscription.next() => delivery?,
            };
            *failures = 0;
            let delivery = readable(delivery);
            let settled = match &delivery.received {
                Received::Event(event) => self.settle(event, &delivery).await,
                Received::Malformed(message) => self.settle_malformed(message, &delivery).await,
            };
            if !settled {
                return Ok(());
            }
            subscription.commit(&delivery).await?;
        }
    }

    /// Brings the event to its effect or to the dead letters; false when the shutdown came first.
    async fn settle(&self, event: &Event, delivery: &Delivery) -> bool {
        // Tries are all that was done; attempts are those that say something about the event.
        let (mut tries, mut attempts) = (0, 0);
        // What the attempts took, with the waits after them.
        let mut spent = Duration::ZERO;
        loop {
            tries += 1;
            let begun = Instant::now();
            let span = trace::processing(self.system, self.consumer.group(), event);
            let failed = match self.attempt(event).instrument(span.clone()).await {
                Ok(()) => return true,
                Err(failed) => failed,
            };
            let longest = if failed.is_attempt() {
                self.options.backoff_max
            } else {
                self.options.storage_backoff_max
            };
            let wait = self.backoff(tries).min(longest);
            if failed.is_attempt() {
                attempts += 1;
                spent += begun.elapsed() + wait;
            }
            let error = failed.error();
            let is_lasting = matches!(&failed, Failed::Handler(error) if error.is_permanent());
            let is_enough = attempts >= self.options.attempts_max || spent >= self.options.patience;
            if is_lasting || is_enough {
                span.in_scope(
                    || tracing::error!(%error, attempts, "event not handled, is a dead letter now"),
                );
                let failure = self.failure(error.to_string(), attempts);
                match self
                    .bury(event, delivery, failure)
                    .instrument(span.clone())
                    .await
                {
                    Ok(()) => return true,
                    Err(error) => span.in_scope(
                        || tracing::warn!(%error, "dead letter not written, trying again"),
                    ),
                }
            } else {
                span.in_scope(|| self.say_retry(tries, error));
            }
            self.instruments.retried();
            if !self.pause(wait).await {
                return false;
            }
        }
    }

    /// Brings the message to the dead letters; false when the shutdown came first.
    async fn settle_malformed(&self, message: &Malformed, delivery: &Delivery) -> bool {
        let (group, position) = (self.consumer.group(), &delivery.position);
        let reason = &message.reason;
        tracing::error!(
            group,
            ?position,
            reason,
            "message is not an event, is a dead letter now"
        );
        let mut tries = 0;
        while let Err(error) = self.park(message, delivery).await {
            tries += 1;
            self.instruments.retried();
            tracing::warn!(group, ?position, %error, tries, "dead letter not written, trying again");
            let wait = self.backoff(tries).min(self.options.storage_backoff_max);
            if !self.pause(wait).await {
                return false;
            }
        }
        true
    }

    async fn attempt(&self, event: &Event) -> Result<(), Failed> {
        let group = self.consumer.group();
        let mut tx = self.db.begin().await.map_err(Failed::Storage)?;
        let admission = inbox::admit(&mut tx, group, event, self.clock.now()).await;
        let mut seen_newer = None;
        match admission.map_err(Failed::Storage)? {
            Admission::New => replay::handle(self.consumer.as_ref(), &mut tx, event)
                .await
                .map_err(Failed::Handler)?,
            Admission::Duplicate => {
                tracing::debug!("event had its effect before");
                return tx.rollback().await.map_err(Failed::Storage);
            }
            Admission::Stale { seen } => seen_newer = Some(seen),
        }
        tx.commit().await.map_err(Failed::Storage)?;
        match seen_newer {
            None => self.instruments.handled(event, self.clock.now()),
            Some(seen) => {
                self.instruments.stale();
                self.stale.say(group, event, seen);
            }
        }
        Ok(())
    }

    /// Marks the event as seen and keeps it as a dead letter, in one transaction.
    async fn bury(&self, event: &Event, delivery: &Delivery, failure: Failure<'_>) -> Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if inbox::admit(&mut tx, self.consumer.group(), event, now).await? == Admission::Duplicate {
            return tx.rollback().await;
        }
        let Delivery { received, position } = delivery;
        dead_letters::bury(&mut tx, received, position, failure, now).await?;
        tx.commit().await?;
        self.instruments.buried();
        Ok(())
    }

    /// Keeps a message that is not an event as a dead letter, once for each place that it was read from.
    async fn park(&self, message: &Malformed, delivery: &Delivery) -> Result<()> {
        let now = self.clock.now();
        let Delivery { received, position } = delivery;
        let mut tx = self.db.begin().await?;
        let (place, id) = identity(message, position);
        if !inbox::first_time(&mut tx, self.consumer.group(), &place, &id, now).await? {
            return tx.rollback().await;
        }
        let failure = self.failure(message.reason.clone(), 1);
        dead_letters::bury(&mut tx, received, position, failure, now).await?;
        tx.commit().await?;
        self.instruments.buried();
        Ok(())
    }

    fn failure(&self, reason: String, attempts: u32) -> Failure<'_> {
        Failure {
            group: self.consumer.group(),
            reason,
            attempts: i64::from(attempts),
        }
    }

    fn say_retry(&self, tries: u32, error: &Error) {
        if tries.is_multiple_of(STUCK_EVERY) {
            tracing::error!(%error, tries, "event is stuck, and all that are behind it; trying again");
        } else {
            tracing::warn!(%error, tries, "event not handled yet, trying again");
        }
    }

    /// The wait after so many tries, if there were no longest one.
    fn backoff(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        self.options.backoff_min.saturating_mul(1 << doublings)
    }

    /// Waits before the next try; false when the shutdown came.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

/// The delivery, as malformed when its event could not even be noted as seen.
fn readable(delivery: Delivery) -> Delivery {
    let unfit = delivery.event().and_then(fit::unfit);
    match unfit {
        Some(message) => Delivery {
            received: Received::Malformed(message),
            ..delivery
        },
        None => delivery,
    }
}

/// What stands for the source and the id of a message that has none: its place, with a digest, because the
/// offsets of a topic that is made anew begin again.
fn identity(message: &Malformed, position: &Position) -> (String, String) {
    let mut digest = Sha256::new();
    for (name, value) in &message.headers {
        digest.update(name);
        digest.update([0]);
        digest.update(value);
        digest.update([0]);
    }
    digest.update(&message.value);
    let place = format!("//slipway/bus/{}/{}", position.topic, position.partition);
    let id = format!("{}-{}", position.offset, hex::encode(digest.finalize()));
    (place, id)
}
