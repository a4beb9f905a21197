//! What a rollout is: its plan, where it is, and what it has seen so far. Stored as it is here.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use super::event::{Fault, RollbackRecord, Verdict};
use super::stage::Stage;
use super::why::{FailWhy, PauseWhy, RollbackWhy};
use crate::domain::strategy::Strategy;
use crate::domain::time;
use crate::domain::traffic::Revision;

/// What it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Moves traffic to a candidate.
    Release,
    /// Moves traffic from the revision at fault, its `candidate`, back to its `stable`.
    Rollback,
}

/// How long each phase may take.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deadlines {
    /// Waiting for its turn and for the gate.
    #[serde(with = "time::millis")]
    pub pending: Duration,
    /// Starting the candidate.
    #[serde(with = "time::millis")]
    pub provisioning: Duration,
    /// Until the candidate answers.
    #[serde(with = "time::millis")]
    pub checking: Duration,
    /// A step, when the step does not say.
    #[serde(with = "time::millis")]
    pub step: Duration,
    /// Soaking, beyond the soak itself.
    #[serde(with = "time::millis")]
    pub soaking: Duration,
    /// Paused, then rolled back.
    #[serde(with = "time::millis")]
    pub paused: Duration,
    /// Rolling back, then stalled and armed again.
    #[serde(with = "time::millis")]
    pub rolling_back: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            pending: minutes(24 * 60),
            provisioning: minutes(10),
            checking: minutes(5),
            step: minutes(60),
            soaking: minutes(60),
            paused: minutes(24 * 60),
            rolling_back: minutes(1),
        }
    }
}

/// What was agreed when it was asked for; it does not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// How traffic is moved.
    pub strategy: Strategy,
    /// How long phases may take.
    pub deadlines: Deadlines,
    /// How long the old stable stays warm after success.
    #[serde(with = "time::millis")]
    pub rollback_window: Duration,
}

/// A rollout of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// What it is for.
    pub kind: Kind,
    /// The revision that is moved to, or, in a rollback, away from.
    pub candidate: Revision,
    /// What serves otherwise; `None`: the endpoint's first rollout.
    pub stable: Option<Revision>,
    /// What was agreed.
    #[serde(with = "shared")]
    pub plan: Arc<Plan>,
    /// The newest traffic generation that it knows of; forward commands are compare-and-set on it.
    pub generation: i64,
    /// Whether the candidate was ever given traffic by it.
    pub carried: bool,
    /// Whether a person's pin is in force on the endpoint.
    pub pinned: bool,
    /// What was waived so far.
    pub waivers: Vec<Waiver>,
    /// The rollback that it is in, or that ended it.
    pub rollback: Option<RollbackRecord>,
    /// Where it is.
    pub phase: Phase,
    /// Since when.
    #[serde(with = "time::micros")]
    pub phase_since: Timestamp,
    /// When the phase expires; `None` if and only if it has ended.
    #[serde(with = "time::optional_micros")]
    pub deadline: Option<Timestamp>,
}

/// Where a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting to begin.
    Pending(Pending),
    /// The candidate is being started.
    Provisioning,
    /// The candidate's health is being checked.
    Checking,
    /// Traffic is being moved, step by step.
    Shifting(Shifting),
    /// The candidate has all traffic and is watched.
    Soaking(Soaking),
    /// Held.
    Paused(Paused),
    /// Traffic is being put back.
    RollingBack(RollingBack),
    /// The candidate is the new stable.
    Succeeded,
    /// Traffic was put back.
    RolledBack { why: RollbackWhy },
    /// It ended without success, and traffic was not touched, or there was nothing to put back.
    Failed { why: FailWhy },
}

/// What a rollout that has not begun waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// Its turn, or the gate's answer.
    pub gate: Gate,
}

/// Whether the gate has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Not before its turn comes.
    Queued,
    /// Asked, not yet answered.
    Asked,
}

/// A step under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shifting {
    /// Index into the strategy's steps.
    pub step: usize,
    /// Its traffic and what was seen of it.
    pub stage: Stage,
}

/// The soak under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Soaking {
    /// Its traffic and what was seen of it.
    pub stage: Stage,
    /// Whether a person asked for the end: no hold and no evidence, but every proxy's acceptance.
    pub forced: bool,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Paused {
    /// Why it is held.
    pub why: PauseWhy,
    /// What resuming goes back to.
    pub from: PausedFrom,
    /// A finding that a pin kept from being acted upon.
    pub withheld: Option<Fault>,
}

/// What a hold goes back to. Traffic goes on being observed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedFrom {
    /// Starting the candidate.
    Provisioning,
    /// Checking it.
    Checking,
    /// A step.
    Shifting(Shifting),
    /// The soak.
    Soaking(Soaking),
}

/// Traffic on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RollingBack {
    /// Why.
    pub why: RollbackWhy,
    /// What gets the traffic; `None`: nothing is there to get it.
    pub restore: Option<Revision>,
    /// How far it is.
    pub retreat: Retreat,
    /// Whether it has run out its time and people were paged.
    pub stalled: bool,
}

/// How far a rollback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retreat {
    /// What is restored must be started first.
    Starting,
    /// It runs; it must answer first.
    Checking,
    /// Withdrawal was asked for.
    Requested,
    /// The endpoint has this generation; not every proxy has accepted it.
    Decided { generation: i64 },
}

/// A move forward without the evidence that a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waiver {
    /// The step, or `None` for the soak.
    pub step: Option<usize>,
    /// Who waived.
    pub by: WaivedBy,
    /// What was known instead.
    pub verdict: Verdict,
}

/// Who waived.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaivedBy {
    /// The strategy says so.
    Strategy,
    /// A person said so.
    Person { reason: String },
}

/// A plan is written as it is, and shared by the copies of a rollout that a decision makes.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Plan;

    pub fn serialize<S: Serializer>(plan: &Arc<Plan>, serializer: S) -> Result<S::Ok, S::Error> {
        plan.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Plan>, D::Error> {
        Plan::deserialize(deserializer).map(Arc::new)
    }
}
