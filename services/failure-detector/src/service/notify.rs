//! Queuing notifications, in the transaction of what they tell.

use slipway_platform::{Result, clock::Timestamp, db::Tx, names::EnvironmentName};
use uuid::Uuid;

use super::FailureDetector;
use crate::domain::channel::{Channel, next_attempt};
use crate::domain::notification::Notification;
use crate::store::{
    self,
    deliveries::{Delivery, State},
};

impl FailureDetector {
    /// Queues a notification for every channel that wants news of the environment.
    pub(super) async fn enqueue(
        &self,
        tx: &mut Tx,
        notification: &Notification,
        environment: Option<&EnvironmentName>,
        now: Timestamp,
    ) -> Result<()> {
        let channels = store::channels::list(tx, "", self.config().limits.channels_max).await?;
        for channel in channels.iter().filter(|channel| channel.wants(environment)) {
            self.enqueue_for(tx, channel, notification, now).await?;
        }
        Ok(())
    }

    /// Queues a notification for one channel. A full queue gives it up at once, visibly.
    pub(super) async fn enqueue_for(
        &self,
        tx: &mut Tx,
        channel: &Channel,
        notification: &Notification,
        now: Timestamp,
    ) -> Result<Delivery> {
        let settings = &self.config().notifications;
        let full = store::deliveries::queued(tx, &channel.name).await? >= settings.queue_max;
        let (state, last_error) = if full {
            tracing::error!(channel = %channel.name, title = notification.title, "queue is full, notification given up");
            (State::GaveUp, "the channel's queue is full".to_owned())
        } else {
            (State::Queued, String::new())
        };
        let delivery = Delivery {
            id: Uuid::now_v7().to_string(),
            channel: channel.name.clone(),
            notification: notification.clone(),
            state,
            attempts: 0,
            last_error,
            created: now,
            due: next_attempt(0, &settings.waits_ms, now).unwrap_or(now),
        };
        store::deliveries::insert(tx, &delivery).await?;
        Ok(delivery)
    }
}
