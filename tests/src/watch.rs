//! What goes on: rollouts, traffic, evaluations.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::{
    Applied, EndpointStatus, GetEndpointStatusRequest, GetRolloutRequest, ListRolloutsRequest,
    Rollout, StartRolloutRequest, applied,
};
use slipway_proto::evaluator::v1::{Evaluation, ListEvaluationsRequest, evaluation};
use tonic::Status;

use crate::given::{ENDPOINT, WORKSPACE};
use crate::{Clients, until};

/// An evaluation of a few hundred rows takes less.
const EVALUATION_DEADLINE: Duration = Duration::from_secs(30);
/// What is to follow at once follows within this time.
pub const SOON: Duration = Duration::from_secs(60);

/// Starts a rollout of a version on the story's endpoint.
pub async fn start_rollout(clients: &Clients, version: &str) -> Result<Rollout, Status> {
    let request = StartRolloutRequest {
        endpoint: ENDPOINT.to_owned(),
        version: version.to_owned(),
        reason: "the story asks for it".to_owned(),
        ..Default::default()
    };
    Ok(clients
        .deployer
        .clone()
        .start_rollout(request)
        .await?
        .into_inner())
}

/// A rollout as it is now.
pub async fn rollout(clients: &Clients, name: &str) -> Result<Rollout> {
    let request = GetRolloutRequest {
        name: name.to_owned(),
    };
    Ok(clients
        .deployer
        .clone()
        .get_rollout(request)
        .await?
        .into_inner())
}

/// Every rollout of the story's endpoint, newest first.
pub async fn rollouts(clients: &Clients) -> Result<Vec<Rollout>> {
    let request = ListRolloutsRequest {
        parent: ENDPOINT.to_owned(),
        page_size: 100,
        ..Default::default()
    };
    Ok(clients
        .deployer
        .clone()
        .list_rollouts(request)
        .await?
        .into_inner()
        .rollouts)
}

/// What the story's endpoint serves now.
pub async fn status(clients: &Clients) -> Result<EndpointStatus> {
    let request = GetEndpointStatusRequest {
        name: ENDPOINT.to_owned(),
    };
    Ok(clients
        .deployer
        .clone()
        .get_endpoint_status(request)
        .await?
        .into_inner())
}

/// Whether nothing can happen to a rollout any more.
pub fn has_ended(rollout: &Rollout) -> bool {
    match rollout.phase() {
        Phase::Succeeded | Phase::RolledBack | Phase::Failed => true,
        Phase::Unspecified
        | Phase::Pending
        | Phase::Provisioning
        | Phase::Checking
        | Phase::Shifting
        | Phase::Soaking
        | Phase::Paused
        | Phase::RollingBack => false,
    }
}

/// Waits until a rollout is in this phase; one that ends otherwise is an error that says how.
pub async fn until_phase(
    clients: &Clients,
    name: &str,
    phase: Phase,
    deadline: Duration,
) -> Result<Rollout> {
    let what = format!("the phase {} of {name}", phase.as_str_name());
    until(&what, deadline, async || {
        let rollout = rollout(clients, name).await?;
        if rollout.phase() == phase {
            return Ok(Some(rollout));
        }
        if has_ended(&rollout) {
            bail!(
                "it ended as {} ({}: {})",
                rollout.phase().as_str_name(),
                rollout.why,
                rollout.reason
            );
        }
        Ok(None)
    })
    .await
}

/// Waits until a rollout has ended, however that may be.
pub async fn until_ended(clients: &Clients, name: &str, deadline: Duration) -> Result<Rollout> {
    until(&format!("the end of {name}"), deadline, async || {
        Ok(Some(rollout(clients, name).await?).filter(has_ended))
    })
    .await
}

/// Rolls a version out and waits until it serves. Gives the rollout.
pub async fn serve(clients: &Clients, version: &str) -> Result<Rollout> {
    let started = start_rollout(clients, version)
        .await
        .context("starting the rollout")?;
    let ended = until_phase(
        clients,
        &started.name,
        Phase::Succeeded,
        Duration::from_secs(60),
    )
    .await?;
    until_applied(clients).await?;
    Ok(ended)
}

/// Waits until every proxy has accepted the present traffic.
pub async fn until_applied(clients: &Clients) -> Result<Applied> {
    until("the traffic to be applied", SOON, async || {
        let applied = status(clients).await?.applied;
        Ok(applied.filter(|applied| applied.state() == applied::State::Applied))
    })
    .await
}

/// The percentage of the traffic that a revision has.
pub fn percent_of(status: &EndpointStatus, revision: &str) -> i32 {
    let targets = status.traffic.iter().flat_map(|traffic| &traffic.targets);
    targets
        .filter(|target| target.revision == revision)
        .map(|target| target.percent)
        .sum()
}

/// Every evaluation of a version.
pub async fn evaluations(clients: &Clients, version: &str) -> Result<Vec<Evaluation>> {
    let request = ListEvaluationsRequest {
        parent: WORKSPACE.to_owned(),
        filter: format!("version = \"{version}\""),
        page_size: 100,
        ..Default::default()
    };
    Ok(clients
        .evaluator
        .clone()
        .list_evaluations(request)
        .await?
        .into_inner()
        .evaluations)
}

/// Waits until the evaluation that a version gets by itself has a verdict.
pub async fn evaluated(clients: &Clients, version: &str) -> Result<Evaluation> {
    until(
        &format!("the evaluation of {version}"),
        EVALUATION_DEADLINE,
        async || {
            let all = evaluations(clients, version).await?;
            Ok(all
                .into_iter()
                .find(|one| one.state() == evaluation::State::Completed))
        },
    )
    .await
}
