//! Soaking: the candidate has all traffic and is watched, while the old stable stays warm. To Succeeded when
//! the soak is over and the last step's demand is still met; to Paused at its deadline; to RollingBack on
//! DEGRADED, an abort, or the candidate's death.

use slipway_platform::clock::Timestamp;

use super::command::{Command, PageCode};
use super::event::{Fault, RolloutEvent as E, Verdict};
use super::moves::{Draft, by_person, unchanged};
use super::stage::{Outcome, Progress, Stage};
use super::state::{PausedFrom, Phase, Rollout, Soaking, WaivedBy};
use super::why::{PauseWhy, RollbackWhy};
use super::{Rejected, Step};

pub(super) fn on(
    rollout: &Rollout,
    soaking: &Soaking,
    event: &E,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    let from = PausedFrom::Soaking(*soaking);
    match event {
        E::TrafficDecided { generation } => match soaking.stage.progress {
            Progress::Requested => {
                draft.rollout.generation = *generation;
                draft.rollout.carried = true;
                let stage = Stage {
                    progress: Progress::Decided {
                        generation: *generation,
                    },
                    ..soaking.stage
                };
                draft.keep(Phase::Soaking(Soaking { stage, ..*soaking }));
                draft.command(Command::OpenWatch);
            }
            Progress::Decided { .. } | Progress::Applied { .. } => return Err(Rejected::Stale),
        },
        E::TrafficConflict { current } => {
            draft.rollout.generation = *current;
            draft.pause(
                PauseWhy::TrafficChanged,
                from.with_stage(Stage::requested()),
            );
        }
        E::TrafficApplied { generation, except } if except.is_empty() => {
            let stage = soaking
                .stage
                .applied(*generation, now)
                .ok_or(Rejected::Stale)?;
            if !stage.armed {
                draft.rollout.deadline = Some(now + rollout.demand_of_soak().deadline);
            }
            return evaluate(
                draft,
                Soaking {
                    stage: Stage {
                        armed: true,
                        ..stage
                    },
                    ..*soaking
                },
            );
        }
        E::TrafficApplied { .. } | E::TrafficUnapplied => {
            let stage = soaking.stage.unapplied().ok_or(Rejected::Stale)?;
            draft.keep(Phase::Soaking(Soaking { stage, ..*soaking }));
        }
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
                let fault = Fault::Degraded {
                    decision: decision.clone(),
                    text: text.clone(),
                };
                draft.leave(RollbackWhy::Fault(fault));
                return draft.done();
            }
            let stage = soaking
                .stage
                .heard(*verdict, *generation)
                .ok_or(Rejected::Stale)?;
            return evaluate(draft, Soaking { stage, ..*soaking });
        }
        E::Tick => return evaluate(draft, *soaking),
        E::RevisionLost { revision } if *revision == rollout.candidate => {
            draft.leave(RollbackWhy::Fault(Fault::RevisionLost));
        }
        E::RevisionLost { revision } if Some(*revision) == rollout.stable => {
            draft.command(Command::Page(PageCode::RevisionLost));
        }
        E::Abort { reason, to, unpin } => return draft.abort(reason, *to, *unpin),
        E::Superseded => draft.leave(RollbackWhy::Superseded),
        E::Pause { reason } => draft.pause(
            PauseWhy::Requested {
                reason: reason.clone(),
            },
            from,
        ),
        E::Promote { full: _, reason } => return promote(draft, soaking, reason),
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
            draft.pause(PauseWhy::Pinned, from.with_stage(Stage::requested()));
        }
        // Stable carries nothing here, so there is nothing to hold for.
        E::StableAtFault { .. } | E::PinReleased => return unchanged(rollout),
        E::Resume => return Err(Rejected::NotPaused),
        E::TurnCame { .. }
        | E::GatePassed
        | E::GateRefused { .. }
        | E::Provisioned { .. }
        | E::ProvisionFailed { .. }
        | E::HealthPassed { .. }
        | E::HealthFailed { .. }
        | E::RevisionLost { .. } => return Err(Rejected::Stale),
    }
    draft.done()
}

/// Keeps what is known of the soak, and ends it when its demand is met or its time is over.
fn evaluate(mut draft: Draft, soaking: Soaking) -> Result<Step, Rejected> {
    let demand = draft.rollout.demand_of_soak();
    let deadline = draft.rollout.deadline.unwrap_or(draft.now);
    draft.keep(Phase::Soaking(soaking));
    if soaking.forced && soaking.stage.applied_since().is_some() {
        draft.succeed(&soaking.stage);
        return draft.done();
    }
    match soaking.stage.judge(&demand, deadline, draft.now) {
        Outcome::Wait => {}
        Outcome::Advance { waived } => {
            if waived {
                draft.waive(None, WaivedBy::Strategy, soaking.stage.verdict());
            }
            draft.succeed(&soaking.stage);
        }
        Outcome::Extend => {
            let stage = Stage {
                extensions: soaking.stage.extensions + 1,
                ..soaking.stage
            };
            draft.keep(Phase::Soaking(Soaking { stage, ..soaking }));
            draft.rollout.deadline = Some(draft.now + draft.rollout.plan.deadlines.soaking);
        }
        Outcome::Pause(why) => draft.pause(why, PausedFrom::Soaking(soaking)),
        Outcome::RollBack => draft.leave(RollbackWhy::Insufficient),
    }
    draft.done()
}

/// A person ends the soak. Traffic that proxies have not accepted ends nothing.
pub(super) fn promote(mut draft: Draft, soaking: &Soaking, reason: &str) -> Result<Step, Rejected> {
    if soaking.stage.applied_since().is_none() {
        return Err(Rejected::Unapplied);
    }
    draft.waive(None, by_person(reason), soaking.stage.verdict());
    draft.succeed(&soaking.stage);
    draft.done()
}
