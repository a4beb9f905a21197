//! The event bus: what the outbox publishes to and consumers read from.
//!
//! The contract is what a Kafka topic with consumer groups gives, and no more: order per topic and key,
//! delivery at least once, offsets that are committed after the effect.

use async_trait::async_trait;

use crate::{Result, events::Event};

/// Where a delivery stands; opaque to consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic it was read from.
    pub topic: String,
    /// The partition; 0 where the bus has none.
    pub partition: i32,
    /// The offset within the partition.
    pub offset: i64,
}

/// An event and the position to commit once it had its effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What was delivered.
    pub event: Event,
    /// What to commit.
    pub position: Position,
}

/// A durable, ordered stream of events by topic.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Appends in order; returns when all are durable. After an error any prefix may have been appended,
    /// so the caller publishes all of them again.
    async fn publish(&self, events: &[Event]) -> Result<()>;

    /// Joins a consumer group. A group that was never seen starts at the oldest event kept.
    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>>;
}

/// One consumer's place in its group.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next event. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Delivery>;

    /// Makes durable that everything up to this delivery of its topic and partition had its effect.
    async fn commit(&mut self, delivery: &Delivery) -> Result<()>;
}
