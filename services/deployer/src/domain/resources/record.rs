//! What is recorded: who did what, and why.

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{BlockName, EndpointName, RevisionName, VersionName};

use crate::domain::rollout::Verdict;
use crate::domain::serving::Pin;
use crate::domain::time;
use crate::domain::traffic::Traffic;

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// `user`, `rule` or `service`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Actor {
    /// Whoever calls on loopback, where nobody is authenticated.
    pub fn local_admin() -> Self {
        Self {
            kind: "user".to_owned(),
            name: "local-admin".to_owned(),
        }
    }

    /// A rule that acted.
    pub fn rule(name: &str) -> Self {
        Self {
            kind: "rule".to_owned(),
            name: name.to_owned(),
        }
    }

    /// A part of the control plane, such as `deployer` or `failure-detector`.
    pub fn service(name: &str) -> Self {
        Self {
            kind: "service".to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One decision, in the order of decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts up.
    pub sequence: i64,
    /// When.
    pub time: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What: `rollout.start`, `traffic.set`, ….
    pub action: String,
    /// On what.
    pub resource: String,
    /// In words and numbers.
    pub text: String,
    /// The event or decision that led to it.
    pub cause: String,
}

/// "What this version is may not run on this endpoint."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name.
    pub name: BlockName,
    /// What is blocked.
    pub version_digest: String,
    /// The revision that was rolled back.
    pub revision: RevisionName,
    /// Its version.
    pub version: VersionName,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// Who set it.
    pub actor: Actor,
    /// When, by whom and why it was lifted.
    pub lifted: Option<(Timestamp, Actor, String)>,
}

/// One generation of an endpoint's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficRecord {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The generation.
    pub generation: i64,
    /// Who gets how much.
    pub traffic: Traffic,
    /// The pin that it was set with.
    pub pin: Option<Pin>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Who decided.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// The rollout that asked for it; empty: none.
    pub rollout: String,
    /// When every proxy had accepted it.
    pub applied_at: Option<Timestamp>,
}

/// What the failure-detector said last of a rollout or an endpoint, with the numbers that people look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictSummary {
    /// What it said.
    pub verdict: Verdict,
    /// In words and numbers.
    pub text: String,
    /// Observations of the candidate, and failures among them.
    pub candidate: (i64, i64),
    /// Observations of stable, and failures among them.
    pub stable: (i64, i64),
    /// How many more candidate observations are needed, at the present rates.
    pub needed: i64,
    /// When it was said.
    #[serde(with = "time::micros")]
    pub time: Timestamp,
}
