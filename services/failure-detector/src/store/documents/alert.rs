//! Alerts.

use prost::Message;
use slipway_platform::clock::Timestamp;

use super::judgement::{AlphasMessage, NumbersMessage};
use super::{Document, code, named, present, text};
use crate::domain::alert::{Actor, Alert, State};
use crate::store::Corrupt;

#[derive(Clone, PartialEq, Message)]
pub struct AlertMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    revision: String,
    #[prost(string, tag = "3")]
    rollout: String,
    #[prost(string, tag = "4")]
    code: String,
    #[prost(string, tag = "5")]
    text: String,
    #[prost(string, tag = "6")]
    state: String,
    #[prost(int64, optional, tag = "7")]
    silenced_until: Option<i64>,
    #[prost(int64, tag = "8")]
    count: i64,
    #[prost(int64, tag = "9")]
    start: i64,
    #[prost(int64, tag = "10")]
    last: i64,
    #[prost(int64, optional, tag = "11")]
    end: Option<i64>,
    #[prost(string, tag = "12")]
    actor_kind: String,
    #[prost(string, tag = "13")]
    actor_name: String,
    #[prost(string, tag = "14")]
    comment: String,
    #[prost(string, tag = "15")]
    decision_id: String,
    #[prost(message, optional, tag = "16")]
    numbers: Option<NumbersMessage>,
    #[prost(message, optional, tag = "17")]
    alphas: Option<AlphasMessage>,
    #[prost(int64, tag = "18")]
    generation: i64,
}

impl Document for Alert {
    type Message = AlertMessage;

    fn to_message(&self) -> AlertMessage {
        let silenced_until = match self.state {
            State::Silenced { until } => Some(until.0),
            State::Firing | State::Acknowledged | State::Resolved => None,
        };
        AlertMessage {
            name: self.name.to_string(),
            revision: self.revision.to_string(),
            rollout: text(&self.rollout),
            code: self.code.as_str().to_owned(),
            text: self.text.clone(),
            state: self.state.as_str().to_owned(),
            silenced_until,
            count: self.count,
            start: self.start.0,
            last: self.last.0,
            end: self.end.map(|at| at.0),
            actor_kind: self.actor.kind.clone(),
            actor_name: self.actor.name.clone(),
            comment: self.comment.clone(),
            decision_id: self.decision_id.clone(),
            numbers: Some((&self.numbers).into()),
            alphas: Some(self.alphas.into()),
            generation: self.generation,
        }
    }

    fn from_message(message: AlertMessage) -> Result<Self, Corrupt> {
        let state = match (message.state.as_str(), message.silenced_until) {
            ("FIRING", _) => State::Firing,
            ("ACKNOWLEDGED", _) => State::Acknowledged,
            ("SILENCED", Some(until)) => State::Silenced {
                until: Timestamp(until),
            },
            ("RESOLVED", _) => State::Resolved,
            (other, _) => return Err(Corrupt::new(format!("unknown state {other}"))),
        };
        Ok(Self {
            name: message.name.parse()?,
            revision: message.revision.parse()?,
            rollout: named(&message.rollout)?,
            code: code(&message.code)?,
            text: message.text,
            state,
            count: message.count,
            start: Timestamp(message.start),
            last: Timestamp(message.last),
            end: message.end.map(Timestamp),
            actor: Actor {
                kind: message.actor_kind,
                name: message.actor_name,
            },
            comment: message.comment,
            decision_id: message.decision_id,
            numbers: present(message.numbers, "numbers")?.into(),
            alphas: present(message.alphas, "alphas")?.into(),
            generation: message.generation,
        })
    }
}
