//! The stored form of domain types: protobuf messages of this service's own, additive only.
//!
//! Messages and their fields stay here; the store's tables see [`Document`] alone.

mod alert;
mod channel;
mod decision;
mod evidence;
mod judge;
mod judgement;
mod watch;

use std::str::FromStr;

use prost::Message;
use slipway_platform::names::NameError;

use super::Corrupt;
use crate::domain::verdict::Code;
pub use decision::StoredDecision;
pub use judge::JudgeState;

/// A domain type and its stored form.
pub trait Document: Sized {
    /// The message that is stored.
    type Message: Message + Default;
    /// To be stored.
    fn to_message(&self) -> Self::Message;
    /// As it was stored.
    fn from_message(message: Self::Message) -> Result<Self, Corrupt>;

    /// The stored bytes.
    fn to_bytes(&self) -> Vec<u8> {
        self.to_message().encode_to_vec()
    }

    /// From stored bytes.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        Self::from_message(Self::Message::decode(bytes)?)
    }
}

impl From<NameError> for Corrupt {
    fn from(error: NameError) -> Self {
        Corrupt::new(error.to_string())
    }
}

fn present<T>(value: Option<T>, what: &str) -> Result<T, Corrupt> {
    value.ok_or_else(|| Corrupt::new(format!("{what} is missing")))
}

fn named<T: FromStr<Err = NameError>>(text: &str) -> Result<Option<T>, Corrupt> {
    if text.is_empty() {
        Ok(None)
    } else {
        Ok(Some(text.parse()?))
    }
}

fn text(name: &Option<impl ToString>) -> String {
    name.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn code(name: &str) -> Result<Code, Corrupt> {
    Code::parse(name).ok_or_else(|| Corrupt::new(format!("unknown reason {name}")))
}

#[cfg(test)]
mod tests;
