//! Notification channels.

use slipway_platform::{
    Error, Result, etag,
    names::{ChannelName, EnvironmentName},
    paging::Page,
    requests,
};

use super::FailureDetector;
use crate::domain::channel::{Channel, Target};
use crate::domain::notification::Notification;
use crate::store::{self, deliveries::Delivery};

/// A channel as it is wished for.
#[derive(Debug, Clone)]
pub struct ChannelWish {
    /// Its name.
    pub name: ChannelName,
    /// Whose news it gets.
    pub environment: Option<EnvironmentName>,
    /// How people are told; empty secrets keep the stored ones.
    pub target: Target,
    /// Whether it is to be switched off, and why.
    pub disabled: Option<String>,
    /// The generation that the channel must have, if any.
    pub expected: Option<i64>,
    /// Identifies the request among its retries.
    pub request_id: String,
    /// What the request asked for.
    pub fingerprint: Vec<u8>,
}

const APPLY: &str = "ApplyChannel";
/// What a channel takes in an answer beside the reason why it is switched off: its name and a shortened address.
const CHANNEL_BYTES: usize = 1_024;
/// What a delivery takes in an answer beside its texts: names and times.
const DELIVERY_BYTES: usize = 512;

impl FailureDetector {
    /// Creates or changes a channel. `check` looks at the target once it is complete.
    pub async fn apply_channel(
        &self,
        wish: ChannelWish,
        check: impl FnOnce(&Target) -> Result<()> + Send,
    ) -> Result<Channel> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        // The answer holds no secrets, so only that it happened is recorded, and the channel is read again.
        let replayed =
            requests::replay::<()>(&mut tx, APPLY, &wish.request_id, &wish.fingerprint).await?;
        let stored = store::channels::get(&mut tx, &wish.name).await?;
        if replayed.is_some() {
            // A retry that comes after the channel was removed must not bring it back.
            return stored.ok_or_else(|| Error::not_found("channel", &wish.name));
        }
        let target = wish
            .target
            .or_stored(stored.as_ref().map(|stored| &stored.target));
        check(&target)?;
        let channel = Channel {
            name: wish.name,
            environment: wish.environment,
            target,
            disabled: wish.disabled,
            updated: now,
            generation: stored.as_ref().map_or(1, |stored| stored.generation),
        };
        let saved = match &stored {
            Some(stored) => {
                etag::check(wish.expected, stored.generation, &channel.name.to_string())?;
                store::channels::save(&mut tx, channel).await?
            }
            None => {
                etag::check(wish.expected, 0, &channel.name.to_string())?;
                if store::channels::count(&mut tx).await? >= self.config().limits.channels_max {
                    return Err(Error::Exhausted {
                        what: "notification channels".to_owned(),
                    });
                }
                store::channels::insert(&mut tx, &channel).await?;
                channel
            }
        };
        if let Some(reason) = &saved.disabled {
            store::deliveries::give_up_all(&mut tx, &saved.name, reason).await?;
        }
        requests::record(
            &mut tx,
            APPLY,
            &wish.request_id,
            &wish.fingerprint,
            &(),
            now,
        )
        .await?;
        tx.commit().await?;
        tracing::info!(channel = %saved.name, disabled = saved.disabled.is_some(), "channel applied");
        Ok(saved)
    }

    /// Lists channels by name.
    pub async fn channels(&self, page: &Page) -> Result<(Vec<Channel>, String)> {
        let mut reader = self.db().read().await?;
        let channels =
            store::channels::list(&mut reader, page.after().unwrap_or_default(), page.limit())
                .await?;
        let bytes =
            |channel: &Channel| CHANNEL_BYTES + channel.disabled.as_ref().map_or(0, String::len);
        Ok(page.cut_to_fit(channels, bytes, |channel| channel.name.id().to_owned()))
    }

    /// Removes a channel and what waits for it.
    pub async fn delete_channel(&self, name: &ChannelName) -> Result<()> {
        let mut tx = self.db().begin().await?;
        if !store::channels::delete(&mut tx, name).await? {
            return Err(Error::not_found("channel", name));
        }
        store::deliveries::delete_all(&mut tx, name).await?;
        tx.commit().await?;
        tracing::info!(channel = %name, "channel removed");
        Ok(())
    }

    /// Queues a test notification.
    pub async fn test_channel(&self, name: &ChannelName) -> Result<Delivery> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let stored = store::channels::get(&mut tx, name).await?;
        let channel = stored.ok_or_else(|| Error::not_found("channel", name))?;
        if let Some(reason) = &channel.disabled {
            let description = format!("the channel is switched off: {reason}");
            return Err(Error::precondition("CHANNEL_DISABLED", name, description));
        }
        let notification = Notification::test(&name.to_string(), now);
        let delivery = self
            .enqueue_for(&mut tx, &channel, &notification, now)
            .await?;
        tx.commit().await?;
        self.inner.deliveries.notify();
        Ok(delivery)
    }

    /// Lists deliveries, newest first.
    pub async fn deliveries(
        &self,
        channel: Option<&ChannelName>,
        page: &Page,
    ) -> Result<(Vec<Delivery>, String)> {
        let mut reader = self.db().read().await?;
        let rows =
            store::deliveries::list(&mut reader, channel, page.after(), page.limit()).await?;
        let bytes = |delivery: &Delivery| {
            DELIVERY_BYTES + delivery.notification.title.len() + delivery.last_error.len()
        };
        Ok(page.cut_to_fit(rows, bytes, |delivery| delivery.id.clone()))
    }
}
