//! Events: written with the state they tell of, delivered at least once, and given their effect once.
//!
//! A state change and its events are one transaction ([`outbox`]). A relay publishes them to the
//! configured [`bus`] in the order in which they committed: Apache [`kafka`], or the embedded durable [`log`]
//! in one file ([`config`] says which). A [`consumer`] handles each event in a transaction with its [`inbox`]
//! row, so a duplicate or an older event has no second effect; what cannot be handled is kept among the
//! [`dead_letters`] with the reason, and told of on the dead-letter topic. Clients without the bus watch
//! events over gRPC ([`service`]).
//!
//! Invariants: no event without its state change and no state change without its event; per topic and key
//! the order of publication is the order of commits; a crash anywhere repeats deliveries, never loses one.

pub mod bus;
pub mod catalog;
pub mod config;
pub mod consumer;
pub mod dead_letters;
pub mod event;
pub mod inbox;
pub mod kafka;
pub mod log;
pub mod outbox;
pub mod service;
mod trace;

pub use bus::{BusHealth, Delivery, EventBus, Malformed, Position, Received, Subscription};
pub use catalog::{DEAD_LETTER_TOPIC, EventData};
pub use consumer::Consumer;
pub use event::Event;
pub use kafka::KafkaBus;
pub use log::EmbeddedLog;
pub use outbox::Relay;

#[cfg(test)]
mod tests;
