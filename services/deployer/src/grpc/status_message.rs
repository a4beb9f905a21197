//! The status of an endpoint as a message.

use slipway_platform::error::Result;
use slipway_proto::deployer::v1 as proto;
use slipway_proto::deployer::v1::applied::State;
use slipway_proto::deployer::v1::endpoint_status::DeploymentMode;

use super::{fields, overview, rollout_message, traffic};
use crate::service::{Mode, RevisionStatus, Status};
use crate::xds::Applied;

/// The status as a message.
pub fn write(status: &Status) -> Result<proto::EndpointStatus> {
    let good = status.last_known_good.as_ref();
    Ok(proto::EndpointStatus {
        name: status.endpoint.to_string(),
        deployment_mode: mode(status.mode).into(),
        current_model: status
            .current
            .as_ref()
            .is_some_and(|current| current.percent > 0 || current.ready),
        canary_model: status.canary.is_some(),
        current_version: status.current.as_ref().map(revision),
        canary_version: status.canary.as_ref().map(revision),
        canary_elapsed_minutes: status
            .canary_elapsed
            .map_or(0.0, |elapsed| elapsed.as_secs_f64() / 60.0),
        ready_for_promotion: status.ready_for_promotion,
        promotion_countdown_seconds: status.promotion_countdown.as_secs_f64(),
        traffic: Some(traffic::write(&status.traffic)?),
        rollout: status
            .rollout
            .as_ref()
            .map(rollout_message::write)
            .transpose()?,
        last_known_good: good.map(|(name, _)| name.to_string()).unwrap_or_default(),
        last_known_good_warm: good.is_some_and(|(_, warm)| *warm),
        applied: Some(applied(&status.applied, status.traffic.generation)),
        verdict: status.verdict.as_ref().map(rollout_message::verdict),
        blocks: status.blocks.iter().map(overview::write_block).collect(),
        alerts: status.alerts.clone(),
        notes: status.notes.clone(),
    })
}

fn mode(mode: Mode) -> DeploymentMode {
    match mode {
        Mode::Empty => DeploymentMode::Empty,
        Mode::Production => DeploymentMode::Production,
        Mode::Canary => DeploymentMode::Canary,
        Mode::RollingBack => DeploymentMode::RollingBack,
        Mode::Pinned => DeploymentMode::Pinned,
    }
}

fn revision(status: &RevisionStatus) -> proto::RevisionStatus {
    proto::RevisionStatus {
        revision: status.name.to_string(),
        version: status.facts.version.to_string(),
        version_number: i64::try_from(status.facts.version.number()).unwrap_or(i64::MAX),
        timestamp: fields::time(status.created_at),
        traffic_percent: f64::from(status.percent),
        ready: status.ready,
        metrics: status.facts.training_metrics.clone().into_iter().collect(),
        addresses: status.addresses.iter().map(ToString::to_string).collect(),
        digest_verified: status.facts.digest_verified,
    }
}

fn applied(applied: &Applied, generation: i64) -> proto::Applied {
    let (state, proxies, time) = match applied {
        Applied::Unapplied => (State::Unapplied, Vec::new(), None),
        Applied::Waiting(proxies) => (State::Waiting, proxies.clone(), None),
        Applied::Applied { at } => (State::Applied, Vec::new(), fields::time(*at)),
        Applied::AppliedExcept(proxies) => (State::AppliedExcept, proxies.clone(), None),
    };
    proto::Applied {
        state: state.into(),
        generation,
        proxies,
        time,
    }
}
