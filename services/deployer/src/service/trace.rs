//! The spans in which rollouts are moved: each in the trace of what began the rollout, so that one trace runs
//! from the event or call to the proxies' acceptance. What a person does stays in the trace of their call.

use slipway_platform::telemetry;
use tracing::Span;

use super::decision::Cause;
use crate::domain::rollout::RolloutEvent;
use crate::store::rollouts::RolloutRow;

/// Where the trace's id is in a `traceparent`.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// The span in which a rollout hears an event.
pub fn of(row: &RolloutRow, event: &RolloutEvent, cause: &Cause) -> Span {
    let is_there = telemetry::current_traceparent()
        .is_some_and(|current| current.get(TRACE_ID) == row.traceparent.get(TRACE_ID));
    if cause.actor.kind == "user" || row.traceparent.is_empty() || is_there {
        return made(Span::current().id(), row, event);
    }
    let span = made(None, row, event);
    telemetry::set_parent(&span, Some(&row.traceparent));
    span
}

fn made(parent: Option<tracing::Id>, row: &RolloutRow, event: &RolloutEvent) -> Span {
    let (rollout, endpoint) = (row.name.to_string(), row.endpoint().to_string());
    match event {
        RolloutEvent::TrafficApplied { generation, .. } => {
            tracing::info_span!(parent: parent, "traffic applied", rollout, endpoint, generation)
        }
        RolloutEvent::Judged {
            generation,
            verdict,
            ..
        } => {
            let verdict = verdict.name();
            tracing::info_span!(parent: parent, "verdict heard", rollout, endpoint, generation, verdict)
        }
        RolloutEvent::Tick => {
            tracing::info_span!(parent: parent, "rollout tick", rollout, endpoint)
        }
        RolloutEvent::TurnCame { .. }
        | RolloutEvent::GatePassed
        | RolloutEvent::GateRefused { .. }
        | RolloutEvent::Provisioned { .. }
        | RolloutEvent::ProvisionFailed { .. }
        | RolloutEvent::HealthPassed { .. }
        | RolloutEvent::HealthFailed { .. }
        | RolloutEvent::TrafficDecided { .. }
        | RolloutEvent::TrafficConflict { .. }
        | RolloutEvent::TrafficUnapplied
        | RolloutEvent::StableAtFault { .. }
        | RolloutEvent::RevisionLost { .. }
        | RolloutEvent::Abort { .. }
        | RolloutEvent::Pause { .. }
        | RolloutEvent::Resume
        | RolloutEvent::Promote { .. }
        | RolloutEvent::Superseded
        | RolloutEvent::PinSet { .. }
        | RolloutEvent::PinReleased => {
            tracing::info_span!(parent: parent, "rollout moved", rollout, endpoint)
        }
    }
}
