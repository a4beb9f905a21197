//! Why a rollout is paused, goes back, or has failed: a stable word, and the same in words and numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Fault;

/// Why it is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseWhy {
    /// A person asked for it.
    Requested { reason: String },
    /// There was not enough evidence in time.
    Insufficient,
    /// It could not be measured in time.
    Unmeasurable,
    /// Proxies did not accept the traffic in time.
    Unapplied,
    /// Somebody else changed the endpoint's traffic.
    TrafficChanged,
    /// A person pinned the endpoint's traffic.
    Pinned,
    /// Stable itself was called DEGRADED.
    StableAtFault,
}

/// Why traffic goes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackWhy {
    /// The failure-detector said DEGRADED, or the candidate died.
    Fault(Fault),
    /// Somebody asked for it.
    Aborted { reason: String },
    /// A step that says `rollback` had not enough evidence in time.
    Insufficient,
    /// It was paused for too long.
    PauseExpired,
    /// A newer rollout took its place.
    Superseded,
}

/// Why there is no success.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailWhy {
    /// Its turn did not come, or the gate did not answer, in time.
    PendingExpired,
    /// The version has not the evidence that the environment asks for, or may not be released.
    Refused { code: String, reason: String },
    /// The candidate could not be started.
    ProvisionFailed { reason: String },
    /// It was not started in time.
    ProvisioningExpired,
    /// The candidate does not answer.
    CheckFailed { reason: String },
    /// It did not answer in time.
    CheckingExpired,
    /// The candidate died before it had traffic.
    RevisionLost,
    /// Somebody asked for it before it had traffic.
    Aborted { reason: String },
    /// It was paused for too long before it had traffic.
    PauseExpired,
    /// A newer rollout took its place before it had traffic.
    Superseded,
    /// Traffic was taken away, and there was nothing to give it to.
    NoLastKnownGood { because: RollbackWhy },
}

impl PauseWhy {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            PauseWhy::Requested { .. } => "requested",
            PauseWhy::Insufficient => "insufficient",
            PauseWhy::Unmeasurable => "unmeasurable",
            PauseWhy::Unapplied => "unapplied",
            PauseWhy::TrafficChanged => "traffic_changed",
            PauseWhy::Pinned => "pinned",
            PauseWhy::StableAtFault => "stable_at_fault",
        }
    }
}

impl RollbackWhy {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            RollbackWhy::Fault(Fault::Degraded { .. }) => "degraded",
            RollbackWhy::Fault(Fault::RevisionLost) => "revision_lost",
            RollbackWhy::Aborted { .. } => "aborted",
            RollbackWhy::Insufficient => "insufficient",
            RollbackWhy::PauseExpired => "pause_expired",
            RollbackWhy::Superseded => "superseded",
        }
    }

    /// The decision of the failure-detector, if that is why.
    pub fn decision(&self) -> Option<&str> {
        match self {
            RollbackWhy::Fault(Fault::Degraded { decision, .. }) => Some(decision),
            RollbackWhy::Fault(Fault::RevisionLost)
            | RollbackWhy::Aborted { .. }
            | RollbackWhy::Insufficient
            | RollbackWhy::PauseExpired
            | RollbackWhy::Superseded => None,
        }
    }

    /// Whether what goes back is blocked on the endpoint. A superseded candidate did nothing wrong.
    pub fn blocks(&self) -> bool {
        match self {
            RollbackWhy::Fault(_)
            | RollbackWhy::Aborted { .. }
            | RollbackWhy::Insufficient
            | RollbackWhy::PauseExpired => true,
            RollbackWhy::Superseded => false,
        }
    }
}

impl FailWhy {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            FailWhy::PendingExpired => "pending_expired",
            FailWhy::Refused { .. } => "refused",
            FailWhy::ProvisionFailed { .. } => "provision_failed",
            FailWhy::ProvisioningExpired => "provisioning_expired",
            FailWhy::CheckFailed { .. } => "check_failed",
            FailWhy::CheckingExpired => "checking_expired",
            FailWhy::RevisionLost => "revision_lost",
            FailWhy::Aborted { .. } => "aborted",
            FailWhy::PauseExpired => "pause_expired",
            FailWhy::Superseded => "superseded",
            FailWhy::NoLastKnownGood { .. } => "no_last_known_good",
        }
    }
}

impl fmt::Display for PauseWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PauseWhy::Requested { reason } => write!(f, "held by a person: {reason}"),
            PauseWhy::Insufficient => f.write_str("not enough evidence by the deadline"),
            PauseWhy::Unmeasurable => {
                f.write_str("what is served could not be measured by the deadline")
            }
            PauseWhy::Unapplied => {
                f.write_str("not every proxy accepted the traffic by the deadline")
            }
            PauseWhy::TrafficChanged => {
                f.write_str("the endpoint's traffic was changed by somebody else")
            }
            PauseWhy::Pinned => f.write_str("a person pinned the endpoint's traffic"),
            PauseWhy::StableAtFault => {
                f.write_str("the stable revision itself was called degraded")
            }
        }
    }
}

impl fmt::Display for RollbackWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RollbackWhy::Fault(Fault::Degraded { text, .. }) => write!(f, "degraded: {text}"),
            RollbackWhy::Fault(Fault::RevisionLost) => f.write_str("the revision died"),
            RollbackWhy::Aborted { reason } => write!(f, "aborted: {reason}"),
            RollbackWhy::Insufficient => {
                f.write_str("not enough evidence by the deadline, and the step says rollback")
            }
            RollbackWhy::PauseExpired => f.write_str("paused for too long"),
            RollbackWhy::Superseded => f.write_str("a newer rollout took its place"),
        }
    }
}

impl fmt::Display for FailWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailWhy::PendingExpired => f.write_str("it did not come to begin in time"),
            FailWhy::Refused { reason, .. } => write!(f, "refused: {reason}"),
            FailWhy::ProvisionFailed { reason } => {
                write!(f, "the candidate could not be started: {reason}")
            }
            FailWhy::ProvisioningExpired => f.write_str("the candidate was not started in time"),
            FailWhy::CheckFailed { reason } => write!(f, "the candidate does not answer: {reason}"),
            FailWhy::CheckingExpired => f.write_str("the candidate did not become ready in time"),
            FailWhy::RevisionLost => f.write_str("the candidate died before it had traffic"),
            FailWhy::Aborted { reason } => write!(f, "aborted before it had traffic: {reason}"),
            FailWhy::PauseExpired => f.write_str("paused for too long before it had traffic"),
            FailWhy::Superseded => {
                f.write_str("a newer rollout took its place before it had traffic")
            }
            FailWhy::NoLastKnownGood { because } => {
                write!(f, "{because}; there is no last known good")
            }
        }
    }
}
