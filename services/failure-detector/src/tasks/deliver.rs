//! Sends what is due in the queue of notifications, and keeps what came of it.
//!
//! Channels are served side by side, the notifications of one channel in order: a channel that does not answer
//! delays nobody but itself, and gets one attempt per round.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use slipway_platform::{Result, names::ChannelName};

use crate::delivery::{Outcome, Sender};
use crate::domain::channel::next_attempt;
use crate::service::FailureDetector;
use crate::store::{
    channels, deliveries,
    deliveries::{Delivery, State},
};

/// Notifications taken up in one round.
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
        let due = deliveries::due(&mut reader, self.detector.now(), ROUND_MAX).await?;
        drop(reader);
        let full = i64::try_from(due.len()).is_ok_and(|count| count == ROUND_MAX);
        let mut by_channel: BTreeMap<ChannelName, Vec<Delivery>> = BTreeMap::new();
        for delivery in due {
            by_channel
                .entry(delivery.channel.clone())
                .or_default()
                .push(delivery);
        }
        let concurrency = self.detector.config().notifications.concurrency_max;
        let results: Vec<Result<()>> = stream::iter(by_channel)
            .map(|(channel, waiting)| self.serve(channel, waiting))
            .buffer_unordered(concurrency)
            .collect()
            .await;
        if full {
            self.detector.deliveries_nudge().notify();
        }
        results.into_iter().collect()
    }

    async fn serve(&self, name: ChannelName, waiting: Vec<Delivery>) -> Result<()> {
        let mut reader = self.detector.db().read().await?;
        let channel = channels::get(&mut reader, &name).await?;
        drop(reader);
        let Some(mut channel) = channel.filter(|channel| channel.disabled.is_none()) else {
            let mut tx = self.detector.db().begin().await?;
            deliveries::give_up_all(&mut tx, &name, "the channel is switched off").await?;
            return tx.commit().await;
        };
        for mut delivery in waiting {
            let now = self.detector.now();
            let outcome = self
                .sender
                .send(&channel, &delivery.id, &delivery.notification, now)
                .await;
            delivery.attempts += 1;
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
                    deliveries::give_up_all(&mut tx, &name, reason).await?;
                    tracing::warn!(channel = %name, "channel switched off: {reason}");
                }
                Outcome::Failed(reason) => self.note_failure(&mut delivery, reason),
            }
            deliveries::save_attempt(&mut tx, &delivery).await?;
            tx.commit().await?;
            if !go_on {
                break;
            }
        }
        Ok(())
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
