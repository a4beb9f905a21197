//! What a rollout is: its plan, where it is, and what it has seen so far. Stored as it is here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use super::event::{Fault, RollbackRecord, Verdict};
use super::stage::{Progress, Stage};
use super::why::{FailWhy, PauseWhy, RollbackWhy};
use crate::domain::strategy::{Demand, OnInsufficient, Strategy};
use crate::domain::time;
use crate::domain::traffic::{Revision, Traffic};

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
    pub plan: Plan,
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

impl Phase {
    /// As events and APIs write it.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Pending(_) => "PENDING",
            Phase::Provisioning => "PROVISIONING",
            Phase::Checking => "CHECKING",
            Phase::Shifting(_) => "SHIFTING",
            Phase::Soaking(_) => "SOAKING",
            Phase::Paused(_) => "PAUSED",
            Phase::RollingBack(_) => "ROLLING_BACK",
            Phase::Succeeded => "SUCCEEDED",
            Phase::RolledBack { .. } => "ROLLED_BACK",
            Phase::Failed { .. } => "FAILED",
        }
    }

    /// Whether it is an end.
    pub fn ended(&self) -> bool {
        match self {
            Phase::Succeeded | Phase::RolledBack { .. } | Phase::Failed { .. } => true,
            Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::Shifting(_)
            | Phase::Soaking(_)
            | Phase::Paused(_)
            | Phase::RollingBack(_) => false,
        }
    }

    /// The stage under way, or held.
    pub fn stage(&self) -> Option<&Stage> {
        match self {
            Phase::Shifting(shifting) => Some(&shifting.stage),
            Phase::Soaking(soaking) => Some(&soaking.stage),
            Phase::Paused(paused) => paused.from.stage(),
            Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// Why it is here: the stable word and the words, when there is something to say.
    pub fn why(&self) -> Option<(&'static str, String)> {
        match self {
            Phase::Paused(paused) => Some((paused.why.code(), paused.why.to_string())),
            Phase::RollingBack(back) => Some((back.why.code(), back.why.to_string())),
            Phase::RolledBack { why } => Some((why.code(), why.to_string())),
            Phase::Failed { why } => Some((why.code(), why.to_string())),
            Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::Shifting(_)
            | Phase::Soaking(_)
            | Phase::Succeeded => None,
        }
    }
}

impl PausedFrom {
    /// The stage that is held, if it has traffic.
    pub fn stage(&self) -> Option<&Stage> {
        match self {
            PausedFrom::Provisioning | PausedFrom::Checking => None,
            PausedFrom::Shifting(shifting) => Some(&shifting.stage),
            PausedFrom::Soaking(soaking) => Some(&soaking.stage),
        }
    }

    /// The same, with another stage.
    pub(super) fn with_stage(self, stage: Stage) -> Self {
        match self {
            PausedFrom::Provisioning | PausedFrom::Checking => self,
            PausedFrom::Shifting(shifting) => PausedFrom::Shifting(Shifting { stage, ..shifting }),
            PausedFrom::Soaking(soaking) => PausedFrom::Soaking(Soaking { stage, ..soaking }),
        }
    }

    /// The phase that it goes back to, as events and APIs write it.
    pub fn name(&self) -> &'static str {
        match self {
            PausedFrom::Provisioning => "PROVISIONING",
            PausedFrom::Checking => "CHECKING",
            PausedFrom::Shifting(_) => "SHIFTING",
            PausedFrom::Soaking(_) => "SOAKING",
        }
    }
}

impl Rollout {
    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        self.phase.ended()
    }

    /// Whether it has not touched traffic and is before the point where it would.
    pub fn before_shifting(&self) -> bool {
        match &self.phase {
            Phase::Pending(_) | Phase::Provisioning | Phase::Checking => true,
            Phase::Paused(paused) => matches!(paused.from, PausedFrom::Provisioning | PausedFrom::Checking),
            Phase::Shifting(_)
            | Phase::Soaking(_)
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => false,
        }
    }

    /// The step that it is at, or was at last.
    pub fn step_index(&self) -> usize {
        let last = self.plan.strategy.steps.len().saturating_sub(1);
        match &self.phase {
            Phase::Shifting(shifting) => shifting.step,
            Phase::Paused(Paused { from: PausedFrom::Shifting(shifting), .. }) => shifting.step,
            Phase::Soaking(_)
            | Phase::Paused(Paused { from: PausedFrom::Soaking(_), .. })
            | Phase::Succeeded => last,
            Phase::Paused(Paused { from: PausedFrom::Provisioning | PausedFrom::Checking, .. })
            | Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::RollingBack(_)
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => 0,
        }
    }

    /// The step that it begins with. Without a stable, only 100 % is possible.
    pub fn first_step(&self) -> usize {
        if self.stable.is_some() { 0 } else { self.plan.strategy.steps.len().saturating_sub(1) }
    }

    /// The traffic that a step asks for.
    pub fn traffic_of(&self, step: usize) -> Traffic {
        let percent = self.plan.strategy.steps.get(step).map_or(100, |step| step.percent);
        Traffic::split(self.candidate, percent, self.stable)
    }

    /// What a step asks for.
    pub fn demand_of(&self, step: usize) -> Demand {
        let default = self.plan.deadlines.step;
        let Some(step) = self.plan.strategy.steps.get(step) else {
            return Demand {
                hold: Duration::ZERO,
                require_healthy: true,
                on_insufficient: OnInsufficient::Pause,
                deadline: default,
            };
        };
        let deadline = if step.deadline.is_zero() { default } else { step.deadline };
        Demand {
            hold: step.min_hold,
            require_healthy: step.require_healthy,
            on_insufficient: step.on_insufficient,
            deadline: deadline.max(step.min_hold),
        }
    }

    /// What the soak asks for: the last step's evidence, at the end of the soak.
    pub fn demand_of_soak(&self) -> Demand {
        let last = self.demand_of(self.plan.strategy.steps.len().saturating_sub(1));
        let soak = self.plan.strategy.soak;
        Demand { hold: soak, deadline: soak + self.plan.deadlines.soaking, ..last }
    }

    /// The demand of the stage under way.
    pub fn demand(&self) -> Option<Demand> {
        match &self.phase {
            Phase::Shifting(shifting) => Some(self.demand_of(shifting.step)),
            Phase::Soaking(_) => Some(self.demand_of_soak()),
            Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::Paused(_)
            | Phase::RollingBack(_)
            | Phase::Succeeded
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// When the next `Tick` may change something: the end of a hold, or the deadline.
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let deadline = self.deadline?;
        let hold_end = self
            .demand()
            .and_then(|demand| self.phase.stage()?.applied_since().map(|since| since + demand.hold))
            // A hold that ends at this very moment is ticked at once: nothing else may come.
            .filter(|end| *end >= now);
        Some(hold_end.map_or(deadline, |end| end.min(deadline)))
    }

    /// The traffic generation whose acceptance by proxies it waits for, or watches.
    pub fn awaited_generation(&self) -> Option<i64> {
        match &self.phase {
            Phase::RollingBack(RollingBack { retreat: Retreat::Decided { generation }, .. }) => Some(*generation),
            Phase::RollingBack(RollingBack {
                retreat: Retreat::Starting | Retreat::Checking | Retreat::Requested,
                ..
            }) => None,
            Phase::Shifting(_)
            | Phase::Soaking(_)
            | Phase::Paused(_)
            | Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::Succeeded
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => self.phase.stage().and_then(Stage::generation),
        }
    }

    /// The traffic generation that the candidate is judged under, while it has traffic and is not on its way
    /// back. Under a pin that is the person's, who may have given it any share.
    pub fn watched_generation(&self) -> Option<i64> {
        let stage = self.phase.stage()?;
        stage.generation().or(self.carried.then_some(self.generation))
    }

    /// The decision of the failure-detector that it goes, or went, back on.
    pub fn decision(&self) -> Option<&str> {
        match &self.phase {
            Phase::RollingBack(back) => back.why.decision(),
            Phase::RolledBack { why } => why.decision(),
            Phase::Failed { why: FailWhy::NoLastKnownGood { because } } => because.decision(),
            Phase::Failed { .. }
            | Phase::Pending(_)
            | Phase::Provisioning
            | Phase::Checking
            | Phase::Shifting(_)
            | Phase::Soaking(_)
            | Phase::Paused(_)
            | Phase::Succeeded => None,
        }
    }

    /// Whether the proxies have its present traffic, as far as it knows.
    pub fn is_applied(&self) -> bool {
        self.phase.stage().is_some_and(|stage| matches!(stage.progress, Progress::Applied { .. }))
    }
}
