//! Events: written with the state they tell of, delivered at least once, and given their effect once.
//!
//! A state change and its events are one transaction ([`outbox`]). A relay publishes them to the
//! configured [`bus`] in the order in which they committed; the embedded bus is a durable [`log`] in one
//! file. A [`consumer`] handles each event in a transaction with its [`inbox`] row, so a duplicate or an
//! older event has no second effect; what cannot be handled goes to the dead-letter topic with the reason.
//!
//! Invariants: no event without its state change and no state change without its event; per topic and key
//! the order of publication is the order of commits; a crash anywhere repeats deliveries, never loses one.

pub mod bus;
pub mod catalog;
pub mod consumer;
pub mod event;
pub mod inbox;
pub mod log;
pub mod outbox;

pub use bus::{Delivery, EventBus, Position, Subscription};
pub use catalog::{DEAD_LETTER_TOPIC, EventData};
pub use consumer::Consumer;
pub use event::Event;
pub use log::EmbeddedLog;
pub use outbox::Relay;

#[cfg(test)]
mod tests;
