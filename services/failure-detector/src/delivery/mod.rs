//! Sending a notification over the network: its form on the wire, and one attempt with bounded time and size.

mod client;
mod secrets;
mod target;
mod teams;
mod webhook;

pub use client::{Outcome, Sender};
pub use target::{check, shown_url};
