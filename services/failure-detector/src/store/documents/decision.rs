//! Decisions.

use prost::Message;
use slipway_platform::clock::Timestamp;

use super::judgement::{FindingMessage, InputsMessage, finding, inputs};
use super::{Document, named, present, text};
use crate::domain::subject::Subject;
use crate::domain::verdict::Inputs;
use crate::domain::watch::Decision;
use crate::store::Corrupt;

#[derive(Clone, PartialEq, Message)]
pub struct SubjectMessage {
    #[prost(string, tag = "1")]
    endpoint: String,
    #[prost(string, tag = "2")]
    rollout: String,
    #[prost(string, tag = "3")]
    candidate: String,
    #[prost(string, tag = "4")]
    stable: String,
}

impl From<&Subject> for SubjectMessage {
    fn from(subject: &Subject) -> Self {
        Self {
            endpoint: subject.endpoint.to_string(),
            rollout: text(&subject.rollout),
            candidate: subject.candidate.to_string(),
            stable: text(&subject.stable),
        }
    }
}

pub(super) fn subject(message: SubjectMessage) -> Result<Subject, Corrupt> {
    Ok(Subject {
        endpoint: message.endpoint.parse()?,
        rollout: named(&message.rollout)?,
        candidate: message.candidate.parse()?,
        stable: named(&message.stable)?,
    })
}

/// A decision with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDecision {
    /// What was judged.
    pub subject: Subject,
    /// What it rests on.
    pub inputs: Inputs,
    /// What was decided.
    pub decision: Decision,
}

#[derive(Clone, PartialEq, Message)]
pub struct DecisionMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    alert: String,
    #[prost(message, optional, tag = "3")]
    finding: Option<FindingMessage>,
    #[prost(int64, tag = "4")]
    time: i64,
}

impl From<&Decision> for DecisionMessage {
    fn from(decision: &Decision) -> Self {
        Self {
            id: decision.id.clone(),
            alert: decision.alert.clone(),
            finding: Some((&decision.finding).into()),
            time: decision.time.0,
        }
    }
}

pub(super) fn decision(message: DecisionMessage) -> Result<Decision, Corrupt> {
    Ok(Decision {
        id: message.id,
        alert: message.alert,
        finding: finding(present(message.finding, "finding")?)?,
        time: Timestamp(message.time),
    })
}

#[derive(Clone, PartialEq, Message)]
pub struct StoredDecisionMessage {
    #[prost(message, optional, tag = "1")]
    subject: Option<SubjectMessage>,
    #[prost(message, optional, tag = "2")]
    inputs: Option<InputsMessage>,
    #[prost(message, optional, tag = "3")]
    decision: Option<DecisionMessage>,
}

impl Document for StoredDecision {
    type Message = StoredDecisionMessage;

    fn to_message(&self) -> StoredDecisionMessage {
        StoredDecisionMessage {
            subject: Some((&self.subject).into()),
            inputs: Some((&self.inputs).into()),
            decision: Some((&self.decision).into()),
        }
    }

    fn from_message(message: StoredDecisionMessage) -> Result<Self, Corrupt> {
        Ok(Self {
            subject: subject(present(message.subject, "subject")?)?,
            inputs: inputs(present(message.inputs, "inputs")?)?,
            decision: decision(present(message.decision, "decision")?)?,
        })
    }
}
