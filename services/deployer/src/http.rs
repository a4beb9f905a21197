//! The status of an endpoint as JSON over plain HTTP, for scripts and dashboards that speak no gRPC:
//! `GET /model-status/{environment}/{endpoint}`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use slipway_platform::Error;
use slipway_platform::names::{EndpointName, EnvironmentName};

use crate::domain::resources::VerdictSummary;
use crate::service::{Mode, RevisionStatus, Service, Status};
use crate::xds::Applied;

/// The routes of the deployer's plain HTTP.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/model-status/{environment}/{endpoint}", get(model_status))
        .with_state(service)
}

async fn model_status(
    State(service): State<Arc<Service>>,
    Path((environment, endpoint)): Path<(String, String)>,
) -> Response {
    let name = EnvironmentName::new(&environment)
        .and_then(|environment| EndpointName::new(&environment, &endpoint));
    let status = match name {
        Ok(name) => service.status(&name).await,
        Err(error) => Err(Error::invalid("path", error.to_string())),
    };
    match status {
        Ok(status) => Json(write(&status)).into_response(),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &Error) -> Response {
    let status = match error {
        Error::NotFound { .. } => StatusCode::NOT_FOUND,
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        Error::Unavailable { .. } | Error::Exhausted { .. } => StatusCode::SERVICE_UNAVAILABLE,
        other => {
            tracing::error!(error = %other, "status not known");
            return (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(json!({"error": "internal error"})),
            )
                .into_response();
        }
    };
    (
        status,
        Json(json!({"error": error.to_string(), "reason": error.reason()})),
    )
        .into_response()
}

fn write(status: &Status) -> Value {
    let good = status.last_known_good.as_ref();
    json!({
        "endpoint": status.endpoint.to_string(),
        "deployment_mode": mode(status.mode),
        "current_model": status.current.as_ref().is_some_and(|current| current.percent > 0 || current.ready),
        "canary_model": status.canary.is_some(),
        "current_version": status.current.as_ref().map(revision),
        "canary_version": status.canary.as_ref().map(revision),
        "canary_elapsed_minutes": status.canary_elapsed.map(|elapsed| elapsed.as_secs_f64() / 60.0),
        "ready_for_promotion": status.ready_for_promotion,
        "promotion_countdown_seconds": status.promotion_countdown.as_secs_f64(),
        "traffic": traffic(status),
        "rollout": status.rollout.as_ref().map(rollout),
        "last_known_good": good.map(|(name, _)| name.id()),
        "last_known_good_warm": good.is_some_and(|(_, warm)| *warm),
        "applied": applied(&status.applied, status.traffic.generation),
        "verdict": status.verdict.as_ref().map(verdict),
        "blocks": status.blocks.iter().map(|block| json!({
            "version": block.version.to_string(),
            "revision": block.revision.id(),
            "reason": block.reason,
            "since": block.created_at.to_string(),
        })).collect::<Vec<_>>(),
        "alerts": status.alerts,
        "notes": status.notes,
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Empty => "empty",
        Mode::Production => "production",
        Mode::Canary => "canary",
        Mode::RollingBack => "rolling_back",
        Mode::Pinned => "pinned",
    }
}

fn revision(status: &RevisionStatus) -> Value {
    json!({
        "version": status.facts.version.number(),
        "name": status.facts.version.to_string(),
        "revision": status.name.id(),
        "timestamp": status.created_at.to_string(),
        "traffic_weight": f64::from(status.percent) / 100.0,
        "ready": status.ready,
        "metrics": status.facts.training_metrics,
        "addresses": status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "digest_verified": status.facts.digest_verified,
    })
}

fn traffic(status: &Status) -> Value {
    let revision = |number: u32| {
        slipway_platform::names::RevisionName::new(&status.endpoint, number)
            .map_or_else(|_| String::new(), |name| name.id())
    };
    json!({
        "generation": status.traffic.generation,
        "targets": status.traffic.traffic.targets().iter().map(|target| json!({
            "revision": revision(target.revision.0),
            "percent": target.percent,
        })).collect::<Vec<_>>(),
        "reason": status.traffic.reason,
        "since": status.traffic.decided_at.to_string(),
        "pin": status.traffic.pin.as_ref().map(|pin| json!({
            "reason": pin.reason,
            "by": pin.by,
            "expires": pin.expires_at.to_string(),
        })),
    })
}

fn rollout(row: &crate::store::rollouts::RolloutRow) -> Value {
    let why = row.rollout.phase.why();
    json!({
        "name": row.name.to_string(),
        "phase": row.rollout.phase.name(),
        "step": row.rollout.step_index(),
        "steps": row.rollout.plan.strategy.steps.len(),
        "strategy": row.rollout.plan.strategy.name,
        "why": why.as_ref().map(|(code, _)| code),
        "reason": why.map(|(_, words)| words),
        "started": row.created_at.to_string(),
        "deadline": row.rollout.deadline.map(|deadline| deadline.to_string()),
        "ended": row.ended_at.map(|ended| ended.to_string()),
    })
}

fn applied(applied: &Applied, generation: i64) -> Value {
    let (state, proxies, at) = match applied {
        Applied::Unapplied => ("unapplied", &[][..], None),
        Applied::Waiting(proxies) => ("waiting", proxies.as_slice(), None),
        Applied::Applied { at } => ("applied", &[][..], Some(at.to_string())),
        Applied::AppliedExcept(proxies) => ("applied_except", proxies.as_slice(), None),
    };
    json!({"state": state, "generation": generation, "proxies": proxies, "at": at})
}

fn verdict(summary: &VerdictSummary) -> Value {
    json!({
        "verdict": summary.verdict.name(),
        "text": summary.text,
        "candidate_observations": summary.candidate.0,
        "candidate_failures": summary.candidate.1,
        "stable_observations": summary.stable.0,
        "stable_failures": summary.stable.1,
        "observations_needed": summary.needed,
        "time": summary.time.to_string(),
    })
}
