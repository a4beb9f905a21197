//! The moves that several states share: each says which phase comes next, its deadline, and what is to be
//! done.

use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::command::{Command, PageCode};
use super::event::{Fault, RollbackRecord, Verdict};
use super::stage::{Progress, Stage};
use super::state::{
    Gate, Kind, Paused, PausedFrom, Pending, Phase, Retreat, RollingBack, Rollout, Shifting,
    Soaking, WaivedBy, Waiver,
};
use super::why::{FailWhy, PauseWhy, RollbackWhy};
use super::{Rejected, Step};
use crate::domain::traffic::Revision;

/// A step that is being put together.
pub(super) struct Draft {
    pub rollout: Rollout,
    pub commands: Vec<Command>,
    pub now: Timestamp,
}

impl Draft {
    pub fn of(rollout: &Rollout, now: Timestamp) -> Self {
        Self {
            rollout: rollout.clone(),
            commands: Vec::new(),
            now,
        }
    }

    pub fn done(self) -> Result<Step, Rejected> {
        Ok(Step {
            next: self.rollout,
            commands: self.commands,
        })
    }

    pub fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Moves to a phase that may last for `within`.
    pub fn enter(&mut self, phase: Phase, within: Duration) {
        self.rollout.phase = phase;
        self.rollout.phase_since = self.now;
        self.rollout.deadline = Some(self.now + within);
    }

    fn end(&mut self, phase: Phase) {
        self.rollout.phase = phase;
        self.rollout.phase_since = self.now;
        self.rollout.deadline = None;
    }

    /// Changes what is known in the present phase, and nothing else.
    pub fn keep(&mut self, phase: Phase) {
        self.rollout.phase = phase;
    }

    /// The turn has come: the gate is asked.
    pub fn ask_gate(&mut self) {
        let within = self.rollout.plan.deadlines.pending;
        self.enter(Phase::Pending(Pending { gate: Gate::Asked }), within);
        self.command(Command::AskGate {
            revision: self.rollout.candidate,
        });
    }

    pub fn provision(&mut self) {
        self.enter(
            Phase::Provisioning,
            self.rollout.plan.deadlines.provisioning,
        );
        self.command(Command::Provision {
            revision: self.rollout.candidate,
        });
    }

    pub fn check(&mut self) {
        self.enter(Phase::Checking, self.rollout.plan.deadlines.checking);
        self.command(Command::CheckHealth {
            revision: self.rollout.candidate,
        });
    }

    /// Asks for the traffic of a step, unless a pin holds.
    pub fn shift(&mut self, step: usize) {
        let shifting = Shifting {
            step,
            stage: Stage::requested(),
        };
        if self.rollout.pinned {
            return self.pause(PauseWhy::Pinned, PausedFrom::Shifting(shifting));
        }
        self.enter(
            Phase::Shifting(shifting),
            self.rollout.demand_of(step).deadline,
        );
        self.command(Command::SetTraffic {
            expected: self.rollout.generation,
            traffic: self.rollout.traffic_of(step),
        });
    }

    /// Goes on after a step that is through: to the next one, or to the soak.
    pub fn after_step(&mut self, shifting: &Shifting) {
        if shifting.step + 1 < self.rollout.plan.strategy.steps.len() {
            self.shift(shifting.step + 1);
        } else {
            self.soak(shifting.stage, false);
        }
    }

    /// The soak goes on with the traffic of the last step, which is at 100 %, and with what is known of it.
    pub fn soak(&mut self, last: Stage, forced: bool) {
        let progress = match last.progress {
            Progress::Applied { generation, .. } => Progress::Applied {
                generation,
                since: self.now,
            },
            Progress::Requested | Progress::Decided { .. } => last.progress,
        };
        let stage = Stage {
            progress,
            extensions: 0,
            armed: true,
            ..last
        };
        self.enter(
            Phase::Soaking(Soaking { stage, forced }),
            self.rollout.demand_of_soak().deadline,
        );
    }

    /// Asks for all traffic anew, for a soak.
    pub fn request_soak(&mut self, forced: bool) {
        let soaking = Soaking {
            stage: Stage::requested(),
            forced,
        };
        if self.rollout.pinned {
            return self.pause(PauseWhy::Pinned, PausedFrom::Soaking(soaking));
        }
        self.enter(
            Phase::Soaking(soaking),
            self.rollout.demand_of_soak().deadline,
        );
        let last = self.rollout.plan.strategy.steps.len().saturating_sub(1);
        self.command(Command::SetTraffic {
            expected: self.rollout.generation,
            traffic: self.rollout.traffic_of(last),
        });
    }

    /// A person said "to the end": all traffic, and success as soon as every proxy has it.
    pub fn finish(&mut self, stage: Stage, at_full_traffic: bool) {
        if !at_full_traffic {
            return self.request_soak(true);
        }
        if stage.applied_since().is_some() {
            self.succeed(&stage);
        } else {
            self.soak(stage, true);
        }
    }

    pub fn succeed(&mut self, stage: &Stage) {
        let candidate = self.rollout.candidate;
        let judged = stage.verdict() == Verdict::Healthy;
        self.end(Phase::Succeeded);
        self.command(Command::MakeStable {
            revision: candidate,
            judged,
        });
        self.command(Command::CloseWatch);
        if let Some(old) = self.rollout.stable.filter(|old| *old != candidate) {
            self.command(Command::StopRevision {
                revision: old,
                after: self.rollout.plan.rollback_window,
            });
        }
        self.command(Command::MoveChampion {
            revision: candidate,
        });
    }

    /// Holds, and tells people unless one of them asked for it.
    pub fn pause(&mut self, why: PauseWhy, from: PausedFrom) {
        let page = match why {
            PauseWhy::Requested { .. } | PauseWhy::Pinned => None,
            PauseWhy::StableAtFault => Some(PageCode::StableAtFault),
            PauseWhy::Insufficient
            | PauseWhy::Unmeasurable
            | PauseWhy::Unapplied
            | PauseWhy::TrafficChanged => Some(PageCode::RolloutPaused),
        };
        self.enter(
            Phase::Paused(Paused {
                why,
                from,
                withheld: None,
            }),
            self.rollout.plan.deadlines.paused,
        );
        if let Some(page) = page {
            self.command(Command::Page(page));
        }
    }

    /// Ends without success before the candidate had traffic.
    pub fn fail(&mut self, why: FailWhy) {
        self.end(Phase::Failed { why });
        self.command(Command::CloseWatch);
        self.command(Command::StopRevision {
            revision: self.rollout.candidate,
            after: Duration::ZERO,
        });
    }

    /// Takes the traffic from the candidate: in this transaction, at any generation.
    pub fn roll_back(&mut self, why: RollbackWhy, restore: Option<Revision>) {
        self.rollout.rollback = Some(RollbackRecord {
            decided_at: self.now,
            applied_at: None,
            not_applied_on: Vec::new(),
            cold: false,
        });
        if why.blocks() {
            self.command(Command::Block {
                revision: self.rollout.candidate,
            });
        }
        if restore.is_none() {
            self.command(Command::Page(PageCode::NoLastKnownGood));
        }
        self.command(Command::CloseWatch);
        self.withdraw(why, restore, self.rollout.candidate);
    }

    pub fn withdraw(&mut self, why: RollbackWhy, restore: Option<Revision>, at_fault: Revision) {
        let back = RollingBack {
            why,
            restore,
            retreat: Retreat::Requested,
            stalled: false,
        };
        self.enter(
            Phase::RollingBack(back),
            self.rollout.plan.deadlines.rolling_back,
        );
        self.command(Command::WithdrawTraffic { at_fault, restore });
    }

    /// Puts traffic back if the candidate ever had any, and otherwise ends without having touched it.
    pub fn leave(&mut self, why: RollbackWhy) {
        if self.rollout.carried {
            return self.roll_back(why, self.rollout.stable);
        }
        self.fail(match why {
            RollbackWhy::Fault(Fault::RevisionLost) => FailWhy::RevisionLost,
            RollbackWhy::Aborted { reason } => FailWhy::Aborted { reason },
            RollbackWhy::Superseded => FailWhy::Superseded,
            RollbackWhy::Fault(Fault::Degraded { .. })
            | RollbackWhy::Insufficient
            | RollbackWhy::PauseExpired => FailWhy::PauseExpired,
        });
    }

    /// A person's abort of a rollout that has traffic; a pin stands in its way unless they say `unpin`.
    pub fn abort(
        mut self,
        reason: &str,
        to: Option<Revision>,
        unpin: bool,
    ) -> Result<Step, Rejected> {
        if self.rollout.pinned {
            if !unpin {
                return Err(Rejected::Pinned);
            }
            self.rollout.pinned = false;
            self.command(Command::Unpin);
        }
        let why = RollbackWhy::Aborted {
            reason: reason.to_owned(),
        };
        if self.rollout.carried {
            self.roll_back(why, to.or(self.rollout.stable));
        } else {
            self.leave(why);
        }
        self.done()
    }

    /// The rollback is complete.
    pub fn rolled_back(&mut self, back: &RollingBack, except: &[String]) {
        let now = self.now;
        if let Some(record) = &mut self.rollout.rollback {
            record.applied_at = Some(now);
            record.not_applied_on = except.to_vec();
        }
        self.end(match back.restore {
            Some(_) => Phase::RolledBack {
                why: back.why.clone(),
            },
            None => Phase::Failed {
                why: FailWhy::NoLastKnownGood {
                    because: back.why.clone(),
                },
            },
        });
        self.command(Command::AnnounceRollback);
        let candidate = self.rollout.candidate;
        self.command(Command::StopRevision {
            revision: candidate,
            after: self.rollout.plan.strategy.drain,
        });
        if let (Kind::Rollback, Some(restored)) = (self.rollout.kind, back.restore) {
            self.command(Command::MoveChampion { revision: restored });
        }
    }

    pub fn waive(&mut self, step: Option<usize>, by: WaivedBy, verdict: Verdict) {
        self.rollout.waivers.push(Waiver { step, by, verdict });
    }
}

/// A person's reason as a waiver.
pub(super) fn by_person(reason: &str) -> WaivedBy {
    WaivedBy::Person {
        reason: reason.to_owned(),
    }
}

/// Nothing changes, and that is right: the event was expected and says nothing new.
pub(super) fn unchanged(rollout: &Rollout) -> Result<Step, Rejected> {
    Ok(Step {
        next: rollout.clone(),
        commands: Vec::new(),
    })
}
