//! What can happen to a rollout: results of commands, observations, decisions of others, and people.

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use crate::domain::traffic::Revision;

/// What can be said of a revision that serves. The four are never confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Shown to be good enough.
    Healthy,
    /// Shown to be worse than allowed.
    Degraded,
    /// Not enough evidence to say either.
    Insufficient,
    /// It could not be measured.
    Unmeasurable,
}

impl Verdict {
    /// As APIs write it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Healthy => "HEALTHY",
            Verdict::Degraded => "DEGRADED",
            Verdict::Insufficient => "INSUFFICIENT",
            Verdict::Unmeasurable => "UNMEASURABLE",
        }
    }
}

/// Something that happened. Events may come twice, late, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RolloutEvent {
    /// No other rollout of the endpoint is before this one. What serves now is what it begins from.
    TurnCame {
        stable: Option<Revision>,
        generation: i64,
        pinned: bool,
    },
    /// The version has the evidence that the environment asks for.
    GatePassed,
    /// It has not.
    GateRefused { code: String, reason: String },
    /// A revision runs.
    Provisioned { revision: Revision },
    /// A revision could not be started.
    ProvisionFailed { revision: Revision, reason: String },
    /// A revision answers.
    HealthPassed { revision: Revision },
    /// A revision will not answer.
    HealthFailed { revision: Revision, reason: String },
    /// The traffic that was asked for is decided, under this generation.
    TrafficDecided { generation: i64 },
    /// The traffic that was asked for was refused: the endpoint's generation is another one.
    TrafficConflict { current: i64 },
    /// Proxies have accepted a generation; all, except these that were lost.
    TrafficApplied {
        generation: i64,
        except: Vec<String>,
    },
    /// No proxy is connected, or some have not accepted.
    TrafficUnapplied,
    /// The failure-detector's word on a revision while a generation was in force.
    Judged {
        revision: Revision,
        generation: i64,
        verdict: Verdict,
        decision: String,
        text: String,
    },
    /// Stable itself was called DEGRADED while this rollout ran.
    StableAtFault { decision: String },
    /// A revision has died.
    RevisionLost { revision: Revision },
    /// Time has passed.
    Tick,
    /// A person, or a rule for one, puts the traffic back: on `to`, or on stable. `unpin` also removes a pin.
    Abort {
        reason: String,
        to: Option<Revision>,
        unpin: bool,
    },
    /// A person holds it.
    Pause { reason: String },
    /// A person lets it go on.
    Resume,
    /// A person moves it one step on, or to its end, without waiting for a verdict.
    Promote { full: bool, reason: String },
    /// A newer rollout takes its place.
    Superseded,
    /// A person has set and pinned the traffic, which has this generation now.
    PinSet { generation: i64 },
    /// The pin was removed or has expired.
    PinReleased,
}

/// The newest verdict on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// What was said.
    pub verdict: Verdict,
    /// The generation that it was said of.
    pub generation: i64,
}

/// Why traffic goes back: the finding that a person or the audit asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The failure-detector said DEGRADED.
    Degraded { decision: String, text: String },
    /// The candidate died.
    RevisionLost,
}

/// When a rollback was decided and when it was done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// When it was decided.
    #[serde(with = "crate::domain::time::micros")]
    pub decided_at: Timestamp,
    /// When every proxy had accepted it.
    #[serde(with = "crate::domain::time::optional_micros")]
    pub applied_at: Option<Timestamp>,
    /// Proxies that it was applied without.
    pub not_applied_on: Vec<String>,
    /// Whether what was restored had to be started first.
    pub cold: bool,
}
