//! Pending: waiting for its turn, then for the gate. To Provisioning when the gate lets it in; to Failed when
//! it is refused, aborted, superseded, or the deadline passes.

use std::sync::Arc;

use slipway_platform::clock::Timestamp;

use super::command::Command;
use super::event::RolloutEvent as E;
use super::moves::{Draft, unchanged};
use super::state::{Gate, Kind, Pending, Phase, Plan, Rollout};
use super::why::FailWhy;
use super::{Rejected, Step};
use crate::domain::serving::Serving;
use crate::domain::traffic::Revision;

/// A new rollout of `candidate`, waiting for its turn.
pub fn begin(serving: &Serving, candidate: Revision, plan: Plan, now: Timestamp) -> Rollout {
    let deadline = now + plan.deadlines.pending;
    Rollout {
        kind: Kind::Release,
        candidate,
        stable: serving
            .serving_stable()
            .filter(|stable| *stable != candidate),
        plan: Arc::new(plan),
        generation: serving.generation,
        carried: false,
        pinned: serving.pin.is_some(),
        waivers: Vec::new(),
        rollback: None,
        phase: Phase::Pending(Pending { gate: Gate::Queued }),
        phase_since: now,
        deadline: Some(deadline),
    }
}

pub(super) fn on(
    rollout: &Rollout,
    pending: Pending,
    event: &E,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    match event {
        E::TurnCame {
            stable,
            generation,
            pinned,
        } => match pending.gate {
            Gate::Queued => {
                draft.rollout.stable = stable.filter(|stable| *stable != rollout.candidate);
                draft.rollout.generation = *generation;
                draft.rollout.pinned = *pinned;
                draft.ask_gate();
                draft.done()
            }
            Gate::Asked => Err(Rejected::Stale),
        },
        E::GatePassed => match pending.gate {
            Gate::Asked => {
                draft.provision();
                draft.done()
            }
            Gate::Queued => Err(Rejected::Stale),
        },
        E::GateRefused { code, reason } => match pending.gate {
            Gate::Asked => {
                refuse(
                    &mut draft,
                    FailWhy::Refused {
                        code: code.clone(),
                        reason: reason.clone(),
                    },
                );
                draft.done()
            }
            Gate::Queued => Err(Rejected::Stale),
        },
        E::Tick if rollout.deadline.is_some_and(|deadline| now >= deadline) => {
            refuse(&mut draft, FailWhy::PendingExpired);
            draft.done()
        }
        E::Tick => unchanged(rollout),
        E::Abort {
            reason,
            to: _,
            unpin: _,
        } => {
            refuse(
                &mut draft,
                FailWhy::Aborted {
                    reason: reason.clone(),
                },
            );
            draft.done()
        }
        E::Superseded => {
            refuse(&mut draft, FailWhy::Superseded);
            draft.done()
        }
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
            draft.done()
        }
        E::PinReleased => {
            draft.rollout.pinned = false;
            draft.done()
        }
        E::Pause { .. } => Err(Rejected::NotPausable),
        E::Resume => Err(Rejected::NotPaused),
        E::Promote { .. } => Err(Rejected::NotPromotable),
        E::Provisioned { .. }
        | E::ProvisionFailed { .. }
        | E::HealthPassed { .. }
        | E::HealthFailed { .. }
        | E::TrafficDecided { .. }
        | E::TrafficConflict { .. }
        | E::TrafficApplied { .. }
        | E::TrafficUnapplied
        | E::Judged { .. }
        | E::StableAtFault { .. }
        | E::RevisionLost { .. } => Err(Rejected::Stale),
    }
}

/// Nothing was started, so nothing is stopped.
fn refuse(draft: &mut Draft, why: FailWhy) {
    draft.fail(why);
    draft
        .commands
        .retain(|command| !matches!(command, Command::StopRevision { .. } | Command::CloseWatch));
}
