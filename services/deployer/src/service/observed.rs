//! What a rollout hears of the proxies.

use crate::domain::rollout::{Phase, Rollout, RolloutEvent};
use crate::xds::Applied;

/// What a rollout has not heard yet of the generation that it waits for. A rollback goes by the proxies that are
/// connected; what moves forward waits for the ones that were lost, too.
pub fn observed(rollout: &Rollout, generation: i64, applied: Applied) -> Option<RolloutEvent> {
    let going_back = matches!(rollout.phase, Phase::RollingBack(_));
    match applied {
        Applied::Applied { .. } if !rollout.is_applied() => Some(RolloutEvent::TrafficApplied {
            generation,
            except: Vec::new(),
        }),
        Applied::AppliedExcept(except) if going_back => {
            Some(RolloutEvent::TrafficApplied { generation, except })
        }
        Applied::AppliedExcept(_) | Applied::Waiting(_) | Applied::Unapplied
            if rollout.is_applied() =>
        {
            Some(RolloutEvent::TrafficUnapplied)
        }
        Applied::Applied { .. }
        | Applied::AppliedExcept(_)
        | Applied::Waiting(_)
        | Applied::Unapplied => None,
    }
}
