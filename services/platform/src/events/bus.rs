//! The event bus: what the outbox publishes to and consumers read from.
//!
//! The contract is what a Kafka topic with consumer groups gives, and no more: order per topic and key,
//! delivery at least once, offsets that are committed after the effect. What was read and is not an event
//! of this form is delivered too, as [`Malformed`], so that a consumer parks it before its offset moves.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{Error, Result, events::Event};

/// Where a delivery stands; opaque to consumers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The topic it was read from.
    pub topic: String,
    /// The partition; 0 where the bus has none.
    pub partition: i32,
    /// The offset within the partition.
    pub offset: i64,
}

/// What was read and the position to commit once it had its effect or is parked.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What was delivered.
    pub received: Received,
    /// What to commit.
    pub position: Position,
}

impl Delivery {
    /// The event; `None` when the message is malformed.
    pub fn event(&self) -> Option<&Event> {
        match &self.received {
            Received::Event(event) => Some(event),
            Received::Malformed(_) => None,
        }
    }

    /// The event; `Invalid` with the reason when the message is malformed. For readers that have nowhere
    /// to park it.
    pub fn into_event(self) -> Result<Event> {
        match self.received {
            Received::Event(event) => Ok(event),
            Received::Malformed(malformed) => Err(Error::invalid("message", malformed.reason)),
        }
    }
}

/// One message of a topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// An event, of a type that the reader may or may not know.
    Event(Event),
    /// Something else; it belongs on the dead-letter topic.
    Malformed(Malformed),
}

/// A message that is not a CloudEvent in the form that this product reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The topic it was read from.
    pub topic: String,
    /// Its key, as far as it is text; empty without one.
    pub key: String,
    /// Its headers as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its value as it came.
    pub value: Vec<u8>,
    /// What is wrong with it; names the attribute.
    pub reason: String,
}

/// Whether the bus can be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusHealth {
    /// It can.
    Ok,
    /// It cannot yet; what is waited for, with the setting or the address to look at.
    Waiting(String),
}

/// A durable, ordered stream of events by topic.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// What it is called in telemetry, `messaging.system`.
    fn system(&self) -> &'static str {
        "slipway"
    }

    /// Appends in order; returns when all are durable. After an error any of them may have been appended,
    /// so the caller publishes all of them again. Ends in bounded time.
    async fn publish(&self, events: &[Event]) -> Result<()>;

    /// Joins a consumer group. A group that was never seen starts at the oldest event kept.
    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>>;

    /// Whether the bus can be used, as it changes. A bus that waits still accepts calls.
    fn health(&self) -> watch::Receiver<BusHealth>;

    /// Waits at most so long until subscriptions that were dropped have committed and left their groups, so
    /// that others take over at once. Call it last, when nobody publishes any more.
    async fn close(&self, _within: Duration) {}
}

/// One consumer's place in its group.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next message. Cancel-safe: a dropped call loses nothing. After an error the
    /// subscription is of no more use: subscribe again.
    async fn next(&mut self) -> Result<Delivery>;

    /// Makes durable that everything up to this delivery of its topic and partition had its effect; a bus
    /// may do so a little later, which at worst repeats deliveries. A position of a partition that went to
    /// another member meanwhile is passed over.
    async fn commit(&mut self, delivery: &Delivery) -> Result<()>;
}
