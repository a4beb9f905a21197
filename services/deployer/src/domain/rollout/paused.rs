//! Paused: held by a person, a pin, or for want of evidence; what serves goes on serving and being watched.
//! Back to where it was by a person; to RollingBack on DEGRADED, an abort, the candidate's death, or when it
//! was held for too long. Under a pin automation only notes what it would have done, and pages.

use slipway_platform::clock::Timestamp;

use super::command::{Command, PageCode};
use super::event::{Fault, RolloutEvent as E, Verdict};
use super::moves::{Draft, unchanged};
use super::stage::{Progress, Stage};
use super::state::{Paused, PausedFrom, Phase, Rollout, Shifting, Soaking};
use super::why::{PauseWhy, RollbackWhy};
use super::{Rejected, Step, shifting, soaking};

pub(super) fn on(
    rollout: &Rollout,
    paused: &Paused,
    event: &E,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    match event {
        E::Resume if rollout.pinned => return Err(Rejected::Pinned),
        E::Resume => resume(&mut draft, &paused.from),
        E::Promote { .. } if rollout.pinned => return Err(Rejected::Pinned),
        E::Promote { full, reason } => {
            return match &paused.from {
                PausedFrom::Provisioning | PausedFrom::Checking => Err(Rejected::NotPromotable),
                PausedFrom::Shifting(held) => shifting::promote(draft, held, *full, reason),
                PausedFrom::Soaking(held) => soaking::promote(draft, held, reason),
            };
        }
        E::Tick if rollout.deadline.is_none_or(|deadline| now < deadline) => {
            return unchanged(rollout);
        }
        E::Tick if rollout.pinned => {
            draft.rollout.deadline = Some(now + rollout.plan.deadlines.paused);
            draft.command(Command::Page(PageCode::RollbackWithheld));
        }
        E::Tick => draft.leave(RollbackWhy::PauseExpired),
        E::Judged {
            revision,
            generation,
            verdict,
            decision,
            text,
        } => {
            if *revision != rollout.candidate || !rollout.carried {
                return Err(Rejected::Stale);
            }
            if *verdict == Verdict::Degraded {
                return fault(
                    draft,
                    paused,
                    Fault::Degraded {
                        decision: decision.clone(),
                        text: text.clone(),
                    },
                );
            }
            let stage = held_stage(paused)?
                .heard(*verdict, *generation)
                .ok_or(Rejected::Stale)?;
            keep_stage(&mut draft, paused, stage);
        }
        E::RevisionLost { revision } if *revision == rollout.candidate => {
            return fault(draft, paused, Fault::RevisionLost);
        }
        E::RevisionLost { revision } if Some(*revision) == rollout.stable => {
            draft.command(Command::Page(PageCode::RevisionLost));
        }
        E::TrafficApplied { generation, except } if except.is_empty() => {
            let stage = held_stage(paused)?
                .applied(*generation, now)
                .ok_or(Rejected::Stale)?;
            keep_stage(&mut draft, paused, stage);
        }
        E::TrafficApplied { .. } | E::TrafficUnapplied => {
            let stage = held_stage(paused)?.unapplied().ok_or(Rejected::Stale)?;
            keep_stage(&mut draft, paused, stage);
        }
        // Without traffic of its own, it touches nothing that is pinned.
        E::Abort { reason, .. } if !rollout.carried => {
            draft.leave(RollbackWhy::Aborted {
                reason: reason.clone(),
            });
        }
        E::Abort { reason, to, unpin } => return draft.abort(reason, *to, *unpin),
        E::Superseded if rollout.pinned && rollout.carried => return Err(Rejected::Pinned),
        E::Superseded => draft.leave(RollbackWhy::Superseded),
        E::StableAtFault { .. } => match paused.why {
            PauseWhy::StableAtFault => return unchanged(rollout),
            PauseWhy::Requested { .. }
            | PauseWhy::Insufficient
            | PauseWhy::Unmeasurable
            | PauseWhy::Unapplied
            | PauseWhy::TrafficChanged
            | PauseWhy::Pinned => draft.command(Command::Page(PageCode::StableAtFault)),
        },
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
            let from = paused.from.with_stage(Stage::requested());
            draft.keep(Phase::Paused(Paused {
                why: PauseWhy::Pinned,
                from,
                withheld: paused.withheld.clone(),
            }));
        }
        E::PinReleased => {
            draft.rollout.pinned = false;
            if let Some(fault) = paused.withheld.clone() {
                draft.leave(RollbackWhy::Fault(fault));
            }
        }
        E::Pause { .. } => return Err(Rejected::NotPausable),
        E::TurnCame { .. }
        | E::GatePassed
        | E::GateRefused { .. }
        | E::Provisioned { .. }
        | E::ProvisionFailed { .. }
        | E::HealthPassed { .. }
        | E::HealthFailed { .. }
        | E::TrafficDecided { .. }
        | E::TrafficConflict { .. }
        | E::RevisionLost { .. } => return Err(Rejected::Stale),
    }
    draft.done()
}

/// A finding against the candidate: acted upon, or under a pin withheld and told once.
fn fault(mut draft: Draft, paused: &Paused, fault: Fault) -> Result<Step, Rejected> {
    if !draft.rollout.pinned {
        draft.leave(RollbackWhy::Fault(fault));
        return draft.done();
    }
    if paused.withheld.is_some() {
        return unchanged(&draft.rollout);
    }
    draft.keep(Phase::Paused(Paused {
        withheld: Some(fault),
        ..paused.clone()
    }));
    draft.command(Command::Page(PageCode::RollbackWithheld));
    draft.done()
}

fn held_stage(paused: &Paused) -> Result<Stage, Rejected> {
    paused.from.stage().copied().ok_or(Rejected::Stale)
}

fn keep_stage(draft: &mut Draft, paused: &Paused, stage: Stage) {
    draft.keep(Phase::Paused(Paused {
        from: paused.from.with_stage(stage),
        ..paused.clone()
    }));
}

/// Goes back to where it was. Its clock begins anew; its traffic is asked for again only if somebody changed it.
fn resume(draft: &mut Draft, from: &PausedFrom) {
    draft.command(Command::OpenWatch);
    match from {
        PausedFrom::Provisioning => draft.provision(),
        PausedFrom::Checking => draft.check(),
        PausedFrom::Shifting(held) => match restarted(&held.stage, draft.now) {
            Some(stage) => {
                let within = draft.rollout.demand_of(held.step).deadline;
                draft.enter(Phase::Shifting(Shifting { stage, ..*held }), within);
            }
            None => draft.shift(held.step),
        },
        PausedFrom::Soaking(held) => match restarted(&held.stage, draft.now) {
            Some(stage) => {
                let within = draft.rollout.demand_of_soak().deadline;
                draft.enter(Phase::Soaking(Soaking { stage, ..*held }), within);
            }
            None => draft.request_soak(held.forced),
        },
    }
}

/// The stage with its hold beginning now; `None` when its traffic is not in force any more.
fn restarted(stage: &Stage, now: Timestamp) -> Option<Stage> {
    match stage.progress {
        Progress::Requested => None,
        Progress::Decided { .. } => Some(Stage {
            extensions: 0,
            armed: false,
            ..*stage
        }),
        Progress::Applied { generation, .. } => Some(Stage {
            progress: Progress::Applied {
                generation,
                since: now,
            },
            extensions: 0,
            armed: true,
            ..*stage
        }),
    }
}
