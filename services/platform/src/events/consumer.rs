//! Consumers: one event, one transaction, one effect.
//!
//! Per event: begin, admit through the inbox, handle, commit, then commit the position on the bus. A
//! passing failure rolls back and tries the same event again, so order is kept; a lasting one, or too many
//! attempts, puts the event with its reason on the dead-letter topic and goes on. A panic counts as an
//! internal error: one event must not keep all later ones from being handled.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Error, Result,
    clock::SharedClock,
    db::{Db, Tx},
    events::{
        DEAD_LETTER_TOPIC, Delivery, Event, EventBus, Subscription,
        inbox::{self, Admission},
        outbox::{self, Outgoing},
    },
    tasks::panic_text,
    telemetry,
};

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
    /// Attempts until an event goes to the dead-letter topic.
    pub attempts_max: u32,
    /// The first wait; each further one is twice as long.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            attempts_max: 20,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(30),
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
    let worker = Worker {
        db,
        consumer,
        clock,
        shutdown,
        options,
    };
    let mut failures = 0;
    while !worker.shutdown.is_cancelled() {
        let subscription = bus
            .subscribe(worker.consumer.group(), worker.consumer.topics())
            .await;
        let outcome = match subscription {
            Ok(mut subscription) => worker.consume(subscription.as_mut(), &mut failures).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            failures += 1;
            tracing::warn!(group = worker.consumer.group(), %error, failures, "event bus failed, subscribing again");
            worker.pause(failures).await;
        }
    }
    Ok(())
}

struct Worker {
    db: Db,
    consumer: Arc<dyn Consumer>,
    clock: SharedClock,
    shutdown: CancellationToken,
    options: ConsumerOptions,
}

impl Worker {
    async fn consume(&self, subscription: &mut dyn Subscription, failures: &mut u32) -> Result<()> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(()),
                delivery = subscription.next() => delivery?,
            };
            *failures = 0;
            if !self.settle(&delivery).await {
                return Ok(());
            }
            subscription.commit(&delivery).await?;
        }
    }

    /// Brings the event to its effect or to the dead-letter topic; false when the shutdown came first.
    async fn settle(&self, delivery: &Delivery) -> bool {
        let event = &delivery.event;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let span = tracing::info_span!(
                "event", group = self.consumer.group(), r#type = %event.r#type, id = %event.id, subject = %event.subject
            );
            telemetry::set_parent(&span, event.traceparent.as_deref());
            let error = match self.attempt(event).instrument(span.clone()).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            if error.is_permanent() || attempt >= self.options.attempts_max {
                span.in_scope(|| tracing::error!(%error, attempt, "event not handled, put on the dead-letter topic"));
                match self.bury(event, &error).instrument(span.clone()).await {
                    Ok(()) => return true,
                    Err(error) => span.in_scope(
                        || tracing::warn!(%error, "dead letter not written, trying again"),
                    ),
                }
            } else {
                span.in_scope(
                    || tracing::warn!(%error, attempt, "event not handled yet, trying again"),
                );
            }
            if self.shutdown.is_cancelled() {
                return false;
            }
            self.pause(attempt).await;
            if self.shutdown.is_cancelled() {
                return false;
            }
        }
    }

    async fn attempt(&self, event: &Event) -> Result<()> {
        let mut tx = self.db.begin().await?;
        match inbox::admit(&mut tx, self.consumer.group(), event, self.clock.now()).await? {
            Admission::New => self.handle(&mut tx, event).await?,
            Admission::Duplicate => {
                tracing::debug!("event had its effect before");
                return tx.rollback().await;
            }
            Admission::Stale { seen } => {
                tracing::debug!(sequence = event.sequence, seen, key = %event.key, "event is older than one seen, dropped");
            }
        }
        tx.commit().await
    }

    /// What a panic leaves half done is in `tx`, and rolled back with it.
    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        AssertUnwindSafe(self.consumer.handle(tx, event))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| {
                let text = panic_text(panic);
                Err(Error::internal(
                    "event handler",
                    format!("panicked: {text}"),
                ))
            })
    }

    /// Marks the event as seen and publishes it with its reason, in one transaction.
    async fn bury(&self, event: &Event, error: &Error) -> Result<()> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if inbox::admit(&mut tx, self.consumer.group(), event, now).await? == Admission::Duplicate {
            return tx.rollback().await;
        }
        let data = dead_letter(self.consumer.group(), event, error)?;
        let id = Uuid::now_v7().to_string();
        let letter = Outgoing {
            id: &id,
            r#type: "io.slipway.event.dead.v1",
            topic: DEAD_LETTER_TOPIC,
            key: &event.key,
            subject: &event.subject,
            data,
        };
        outbox::append(&mut tx, now, letter).await?;
        tx.commit().await
    }

    async fn pause(&self, attempt: u32) {
        let doubled = self
            .options
            .backoff_min
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(doubled.min(self.options.backoff_max)) => {}
        }
    }
}

fn dead_letter(group: &str, event: &Event, error: &Error) -> Result<Vec<u8>> {
    let letter = serde_json::json!({
        "group": group,
        "reason": error.to_string(),
        "id": event.id,
        "source": event.source,
        "type": event.r#type,
        "topic": event.topic,
        "key": event.key,
        "sequence": event.sequence,
        "subject": event.subject,
        "time": event.time.to_string(),
        "data": String::from_utf8_lossy(&event.data),
    });
    serde_json::to_vec(&letter).map_err(|e| Error::internal("dead letter", e))
}
