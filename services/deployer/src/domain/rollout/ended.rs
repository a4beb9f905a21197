//! Succeeded, RolledBack and Failed are ends: nothing changes them. An abort after success is a rollback of
//! the endpoint, which begins a record of its own.

use super::event::RolloutEvent as E;
use super::{Rejected, Step};

pub(super) fn on(event: &E) -> Result<Step, Rejected> {
    match event {
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
        | E::RevisionLost { .. }
        | E::Tick
        | E::Abort { .. }
        | E::Pause { .. }
        | E::Resume
        | E::Promote { .. }
        | E::Superseded
        | E::PinSet { .. }
        | E::PinReleased => Err(Rejected::Ended),
    }
}
