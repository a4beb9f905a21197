//! Watches.

use prost::Message;
use slipway_platform::clock::Timestamp;

use super::decision::{DecisionMessage, SubjectMessage, decision, subject};
use super::evidence::{CountsMessage, EvidenceMessage, counts, evidence_message, evidence_parts};
use super::judgement::{AlphasMessage, PolicyMessage, RunMessage};
use super::{Document, present};
use crate::domain::recent::{Minute, Recent};
use crate::domain::watch::WatchState;
use crate::store::Corrupt;

#[derive(Clone, PartialEq, Message)]
pub struct MinuteMessage {
    #[prost(int64, tag = "1")]
    minute: i64,
    #[prost(message, optional, tag = "2")]
    counts: Option<CountsMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchMessage {
    #[prost(message, optional, tag = "1")]
    subject: Option<SubjectMessage>,
    #[prost(message, optional, tag = "2")]
    policy: Option<PolicyMessage>,
    #[prost(message, optional, tag = "3")]
    alphas: Option<AlphasMessage>,
    #[prost(int64, tag = "4")]
    generation: i64,
    #[prost(bool, tag = "5")]
    concurrent: bool,
    #[prost(message, optional, tag = "6")]
    evidence: Option<EvidenceMessage>,
    #[prost(message, repeated, tag = "7")]
    recent: Vec<MinuteMessage>,
    #[prost(double, repeated, tag = "8")]
    statistics: Vec<f64>,
    #[prost(message, optional, tag = "9")]
    run: Option<RunMessage>,
    #[prost(bool, tag = "10")]
    history_used: bool,
    #[prost(int64, optional, tag = "11")]
    last_observation: Option<i64>,
    #[prost(int64, tag = "12")]
    opened: i64,
    #[prost(message, optional, tag = "13")]
    decision: Option<DecisionMessage>,
}

impl Document for WatchState {
    type Message = WatchMessage;

    fn to_message(&self) -> WatchMessage {
        let minute = |one: &Minute| MinuteMessage {
            minute: one.minute,
            counts: Some(one.counts.into()),
        };
        WatchMessage {
            subject: Some((&self.subject).into()),
            policy: Some((&self.policy).into()),
            alphas: Some(self.alphas.into()),
            generation: self.generation,
            concurrent: self.concurrent,
            evidence: Some(evidence_message(&self.evidence)),
            recent: self.recent.minutes().map(minute).collect(),
            statistics: self.statistics.clone(),
            run: Some(self.run.into()),
            history_used: self.history_used,
            last_observation: self.last_observation.map(|at| at.0),
            opened: self.opened.0,
            decision: self.decision.as_ref().map(Into::into),
        }
    }

    fn from_message(message: WatchMessage) -> Result<Self, Corrupt> {
        let minute = |one: MinuteMessage| Minute {
            minute: one.minute,
            counts: counts(one.counts),
        };
        Ok(Self {
            subject: subject(present(message.subject, "subject")?)?,
            policy: present(message.policy, "policy")?.into(),
            alphas: present(message.alphas, "alphas")?.into(),
            generation: message.generation,
            concurrent: message.concurrent,
            evidence: evidence_parts(message.evidence.unwrap_or_default()),
            recent: Recent::from_minutes(message.recent.into_iter().map(minute)),
            statistics: message.statistics,
            run: present(message.run, "run")?.into(),
            history_used: message.history_used,
            last_observation: message.last_observation.map(Timestamp),
            opened: Timestamp(message.opened),
            decision: message.decision.map(decision).transpose()?,
        })
    }
}
