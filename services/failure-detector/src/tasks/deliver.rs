//! Sends what is due in the queue of notifications, and keeps what came of it.
//!
//! Each round takes up every channel for which something is due, several side by side, the notifications of one
//! channel in order. A channel that does not take one gets no other in that round, and one that takes them slowly
//! goes on in the next, so what piles up for one keeps nobody else's waiting for long.

use std::time::Instant;

use futures::{StreamExt, stream};
use slipway_platform::{Result, names::ChannelName};

use crate::config::millis;
use crate::delivery::{Outcome, Sender};
use crate::domain::channel::next_attempt;
use crate::metrics;
use crate::service::FailureDetector;
use crate::store::{
    channels, deliveries,
    deliveries::{Delivery, State},
};

/// Channels, and notifications of each, taken up in one round.
const CHANNELS_MAX: i64 = 1_000;
const ROUND_MAX: i64 = 64;

/// Works on the queue.
#[derive(Clone)]
pub struct Deliverer {
    detector: FailureDetector,
    sender: Sender,
}

impl Deliverer {
    /// Works on the queue of this detector.
    pub fn new(detector: FailureDetector, sender: Sender) -> Self {
        Self { detector, sender }
    }

    /// One round.
    pub async fn run_once(&self) -> Result<()> {
        let mut reader = self.detector.db().read().await?;
        let now = self.detector.now();
        let due = deliveries::due_channels(&mut reader, now, CHANNELS_MAX).await?;
        drop(reader);
        let concurrency = self.detector.config().notifications.concurrency_max;
        let served: Vec<Result<bool>> = stream::iter(due)
            .map(|channel| self.serve(channel))
            .buffer_unordered(concurrency)
            .collect()
            .await;
        if served.iter().any(|more| matches!(more, Ok(true))) {
            self.detector.deliveries_nudge().notify();
        }
        served.into_iter().try_for_each(|served| served.map(drop))
    }

    /// Sends what is due for a channel until it does not take one. True when all was taken and more may be due.
    async fn serve(&self, name: ChannelName) -> Result<bool> {
        let mut reader = self.detector.db().read().await?;
        let channel = channels::get(&mut reader, &name).await?;
        let now = self.detector.now();
        let waiting = deliveries::due(&mut reader, &name, now, ROUND_MAX).await?;
        drop(reader);
        let Some(mut channel) = channel.filter(|channel| channel.disabled.is_none()) else {
            let mut tx = self.detector.db().begin().await?;
            deliveries::give_up_all(&mut tx, &name, "the channel is switched off").await?;
            tx.commit().await?;
            return Ok(false);
        };
        let patience = millis(self.detector.config().notifications.timeout_ms);
        let began = Instant::now();
        let full = i64::try_from(waiting.len()).is_ok_and(|count| count == ROUND_MAX);
        for mut delivery in waiting {
            let now = self.detector.now();
            let outcome = self
                .sender
                .send(&channel, &delivery.id, &delivery.notification, now)
                .await;
            delivery.attempts += 1;
            metrics::delivered(match outcome {
                Outcome::Taken => "ok",
                Outcome::Gone | Outcome::Failed(_) => "failed",
            });
            let mut tx = self.detector.db().begin().await?;
            let mut go_on = false;
            match outcome {
                Outcome::Taken => {
                    go_on = true;
                    (delivery.state, delivery.last_error) = (State::Delivered, String::new());
                    tracing::info!(channel = %name, delivery = delivery.id, "notification delivered");
                }
                Outcome::Gone => {
                    let reason = "the receiver answered 410 Gone";
                    (delivery.state, delivery.last_error) = (State::GaveUp, reason.to_owned());
                    channel.disabled = Some(reason.to_owned());
                    channel.updated = now;
                    channels::save(&mut tx, channel.clone()).await?;
                    deliveries::save_attempt(&mut tx, &delivery).await?;
                    deliveries::give_up_all(&mut tx, &name, reason).await?;
                    tracing::warn!(channel = %name, "channel switched off: {reason}");
                }
                Outcome::Failed(reason) => self.note_failure(&mut delivery, reason),
            }
            deliveries::save_attempt(&mut tx, &delivery).await?;
            tx.commit().await?;
            if !go_on {
                return Ok(false);
            }
            if began.elapsed() >= patience {
                return Ok(true);
            }
        }
        Ok(full)
    }

    fn note_failure(&self, delivery: &mut Delivery, reason: String) {
        let waits = &self.detector.config().notifications.waits_ms;
        let (id, channel) = (&delivery.id, &delivery.channel);
        match next_attempt(delivery.attempts, waits, self.detector.now()) {
            Some(due) => {
                tracing::warn!(%channel, delivery = id, reason, next = %due, "notification not delivered yet");
                delivery.due = due;
            }
            None => {
                tracing::error!(%channel, delivery = id, reason, "notification given up");
                delivery.state = State::GaveUp;
            }
        }
        delivery.last_error = reason;
    }
}
