//! Shifting: a step of the strategy has the traffic, or is getting it. To the next step, and after the last
//! one to Soaking, when the step's demand is met; to Paused at its deadline or when a person says so; to
//! RollingBack on DEGRADED, an abort, or the candidate's death.

use slipway_platform::clock::Timestamp;

use super::command::{Command, PageCode};
use super::event::{Fault, RolloutEvent as E, Verdict};
use super::moves::{Draft, by_person, unchanged};
use super::stage::{Outcome, Progress, Stage};
use super::state::{PausedFrom, Phase, Rollout, Shifting, WaivedBy};
use super::why::{PauseWhy, RollbackWhy};
use super::{Rejected, Step};

pub(super) fn on(
    rollout: &Rollout,
    shifting: &Shifting,
    event: &E,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    let from = PausedFrom::Shifting(*shifting);
    match event {
        E::TrafficDecided { generation } => match shifting.stage.progress {
            Progress::Requested => {
                draft.rollout.generation = *generation;
                draft.rollout.carried = true;
                let stage = Stage {
                    progress: Progress::Decided {
                        generation: *generation,
                    },
                    ..shifting.stage
                };
                draft.keep(Phase::Shifting(Shifting { stage, ..*shifting }));
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
            let stage = shifting
                .stage
                .applied(*generation, now)
                .ok_or(Rejected::Stale)?;
            if !stage.armed {
                draft.rollout.deadline = Some(now + rollout.demand_of(shifting.step).deadline);
            }
            return evaluate(
                draft,
                Shifting {
                    stage: Stage {
                        armed: true,
                        ..stage
                    },
                    ..*shifting
                },
            );
        }
        E::TrafficApplied { .. } | E::TrafficUnapplied => {
            let stage = shifting.stage.unapplied().ok_or(Rejected::Stale)?;
            draft.keep(Phase::Shifting(Shifting { stage, ..*shifting }));
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
            let stage = shifting
                .stage
                .heard(*verdict, *generation)
                .ok_or(Rejected::Stale)?;
            return evaluate(draft, Shifting { stage, ..*shifting });
        }
        E::Tick => return evaluate(draft, *shifting),
        E::StableAtFault { .. } => draft.pause(PauseWhy::StableAtFault, from),
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
        E::Promote { full, reason } => return promote(draft, shifting, *full, reason),
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
            draft.pause(PauseWhy::Pinned, from.with_stage(Stage::requested()));
        }
        E::PinReleased => return unchanged(rollout),
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

/// Keeps what is known of the step, and moves on when its demand is met or its time is over.
fn evaluate(mut draft: Draft, shifting: Shifting) -> Result<Step, Rejected> {
    let demand = draft.rollout.demand_of(shifting.step);
    let deadline = draft.rollout.deadline.unwrap_or(draft.now);
    draft.keep(Phase::Shifting(shifting));
    match shifting.stage.judge(&demand, deadline, draft.now) {
        Outcome::Wait => {}
        Outcome::Advance { waived } => {
            if waived {
                draft.waive(
                    Some(shifting.step),
                    WaivedBy::Strategy,
                    shifting.stage.verdict(),
                );
            }
            draft.after_step(&shifting);
        }
        Outcome::Extend => {
            let stage = Stage {
                extensions: shifting.stage.extensions + 1,
                ..shifting.stage
            };
            draft.keep(Phase::Shifting(Shifting { stage, ..shifting }));
            draft.rollout.deadline = Some(draft.now + demand.deadline);
        }
        Outcome::Pause(why) => draft.pause(why, PausedFrom::Shifting(shifting)),
        Outcome::RollBack => draft.leave(RollbackWhy::Insufficient),
    }
    draft.done()
}

/// A person moves it on. Traffic that proxies have not accepted is not moved further.
pub(super) fn promote(
    mut draft: Draft,
    shifting: &Shifting,
    full: bool,
    reason: &str,
) -> Result<Step, Rejected> {
    if shifting.stage.applied_since().is_none() {
        return Err(Rejected::Unapplied);
    }
    draft.waive(
        Some(shifting.step),
        by_person(reason),
        shifting.stage.verdict(),
    );
    if full {
        let last = shifting.step + 1 >= draft.rollout.plan.strategy.steps.len();
        draft.finish(shifting.stage, last);
    } else {
        draft.after_step(shifting);
    }
    draft.done()
}
