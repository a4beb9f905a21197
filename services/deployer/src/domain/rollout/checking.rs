//! Checking: the candidate runs and must answer. To Shifting when it does; to Failed when it will not, or not
//! in time. Traffic is not touched.

use slipway_platform::clock::Timestamp;

use super::command::Command;
use super::event::{Fault, RolloutEvent as E};
use super::moves::{Draft, unchanged};
use super::state::{PausedFrom, Rollout};
use super::why::{FailWhy, PauseWhy, RollbackWhy};
use super::{Rejected, Step};

pub(super) fn on(rollout: &Rollout, event: &E, now: Timestamp) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    match event {
        E::HealthPassed { revision } if *revision == rollout.candidate => {
            draft.shift(rollout.first_step());
            draft.command(Command::OpenWatch);
        }
        E::HealthFailed { revision, reason } if *revision == rollout.candidate => {
            draft.fail(FailWhy::CheckFailed {
                reason: reason.clone(),
            });
        }
        E::Tick if rollout.deadline.is_some_and(|deadline| now >= deadline) => {
            draft.fail(FailWhy::CheckingExpired);
        }
        E::Tick => return unchanged(rollout),
        E::RevisionLost { revision } if *revision == rollout.candidate => {
            draft.leave(RollbackWhy::Fault(Fault::RevisionLost));
        }
        E::Abort {
            reason,
            to: _,
            unpin: _,
        } => draft.fail(FailWhy::Aborted {
            reason: reason.clone(),
        }),
        E::Superseded => draft.leave(RollbackWhy::Superseded),
        E::Pause { reason } => {
            draft.pause(
                PauseWhy::Requested {
                    reason: reason.clone(),
                },
                PausedFrom::Checking,
            );
        }
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
        }
        E::PinReleased => draft.rollout.pinned = false,
        E::Resume => return Err(Rejected::NotPaused),
        E::Promote { .. } => return Err(Rejected::NotPromotable),
        E::TurnCame { .. }
        | E::GatePassed
        | E::GateRefused { .. }
        | E::Provisioned { .. }
        | E::ProvisionFailed { .. }
        | E::HealthPassed { .. }
        | E::HealthFailed { .. }
        | E::TrafficDecided { .. }
        | E::TrafficConflict { .. }
        | E::TrafficApplied { .. }
        | E::TrafficUnapplied
        | E::Judged { .. }
        | E::StableAtFault { .. }
        | E::RevisionLost { .. } => return Err(Rejected::Stale),
    }
    draft.done()
}
