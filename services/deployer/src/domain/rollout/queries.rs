//! What can be asked of a rollout: where it is, what it waits for, and what its steps demand.

use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::stage::{Progress, Stage};
use super::state::{Paused, PausedFrom, Phase, Retreat, RollingBack, Rollout, Shifting, Soaking};
use super::why::FailWhy;
use crate::domain::strategy::{Demand, OnInsufficient};
use crate::domain::traffic::Traffic;

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
            Phase::Paused(paused) => {
                matches!(paused.from, PausedFrom::Provisioning | PausedFrom::Checking)
            }
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
            Phase::Paused(Paused {
                from: PausedFrom::Shifting(shifting),
                ..
            }) => shifting.step,
            Phase::Soaking(_)
            | Phase::Paused(Paused {
                from: PausedFrom::Soaking(_),
                ..
            })
            | Phase::Succeeded => last,
            Phase::Paused(Paused {
                from: PausedFrom::Provisioning | PausedFrom::Checking,
                ..
            })
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
        if self.stable.is_some() {
            0
        } else {
            self.plan.strategy.steps.len().saturating_sub(1)
        }
    }

    /// The traffic that a step asks for.
    pub fn traffic_of(&self, step: usize) -> Traffic {
        let percent = self
            .plan
            .strategy
            .steps
            .get(step)
            .map_or(100, |step| step.percent);
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
        let deadline = if step.deadline.is_zero() {
            default
        } else {
            step.deadline
        };
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
        Demand {
            hold: soak,
            deadline: soak + self.plan.deadlines.soaking,
            ..last
        }
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
            .and_then(|demand| {
                self.phase
                    .stage()?
                    .applied_since()
                    .map(|since| since + demand.hold)
            })
            // A hold that ends at this very moment is ticked at once: nothing else may come.
            .filter(|end| *end >= now);
        Some(hold_end.map_or(deadline, |end| end.min(deadline)))
    }

    /// The traffic generation whose acceptance by proxies it waits for, or watches.
    pub fn awaited_generation(&self) -> Option<i64> {
        match &self.phase {
            Phase::RollingBack(RollingBack {
                retreat: Retreat::Decided { generation },
                ..
            }) => Some(*generation),
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
        stage
            .generation()
            .or(self.carried.then_some(self.generation))
    }

    /// The decision of the failure-detector that it goes, or went, back on.
    pub fn decision(&self) -> Option<&str> {
        match &self.phase {
            Phase::RollingBack(back) => back.why.decision(),
            Phase::RolledBack { why } => why.decision(),
            Phase::Failed {
                why: FailWhy::NoLastKnownGood { because },
            } => because.decision(),
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
        self.phase
            .stage()
            .is_some_and(|stage| matches!(stage.progress, Progress::Applied { .. }))
    }
}
