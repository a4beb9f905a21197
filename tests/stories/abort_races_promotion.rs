//! Somebody aborts while somebody else promotes.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{
    AbortRolloutRequest, LiftBlockRequest, ListBlocksRequest, PromoteRolloutRequest,
};
use slipway_tests::given::{self, ENDPOINT, EndpointPlan, step};
use slipway_tests::{Clients, Plane, Users, users, watch};
use tonic::Code;

const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn the_abort_wins_whoever_was_first() -> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    given::endpoint_without_evidence(clients, EndpointPlan::default()).await?;
    let good = given::register(clients, given::trained(Recipe::First).await?).await?;
    let stable = watch::serve(clients, &good.name).await?.candidate;
    wait_for_a_person_at_each_step(clients).await?;
    let people = Users::start(plane.gateway()?, 20, 50.0)?;
    let next = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;

    for round in 0..ROUNDS {
        let started = watch::start_rollout(clients, &next.name).await?;
        let shifting = watch::until_phase(
            clients,
            &started.name,
            Phase::Shifting,
            Duration::from_secs(30),
        )
        .await?;
        let promote = promote(clients, &shifting.name, &shifting.etag);
        let abort = abort(clients, &shifting.name);
        let (promoted, aborted) = if round % 2 == 0 {
            tokio::join!(promote, abort)
        } else {
            let (aborted, promoted) = tokio::join!(abort, promote);
            (promoted, aborted)
        };
        aborted?;
        if let Err(status) = promoted {
            let decided_on_the_past =
                matches!(status.code(), Code::Aborted | Code::FailedPrecondition);
            assert!(
                decided_on_the_past,
                "a promotion that comes too late says so: {status}"
            );
        }
        let ended = watch::until_ended(clients, &shifting.name, Duration::from_secs(30)).await?;
        assert_eq!(
            ended.phase(),
            Phase::RolledBack,
            "round {round}: {}",
            ended.reason
        );
        let status = watch::status(clients).await?;
        assert_eq!(watch::percent_of(&status, &stable), 100, "round {round}");
        lift_blocks(clients).await?;
    }
    users::nobody_was_failed(&people.stop().await)
}

async fn promote(clients: &Clients, name: &str, etag: &str) -> Result<(), tonic::Status> {
    let request = PromoteRolloutRequest {
        name: name.to_owned(),
        full: true,
        reason: "it looks good to me".to_owned(),
        etag: etag.to_owned(),
    };
    clients
        .deployer
        .clone()
        .promote_rollout(request)
        .await
        .map(drop)
}

async fn abort(clients: &Clients, name: &str) -> Result<(), tonic::Status> {
    let request = AbortRolloutRequest {
        name: name.to_owned(),
        reason: "it does not to me".to_owned(),
        ..Default::default()
    };
    clients
        .deployer
        .clone()
        .abort_rollout(request)
        .await
        .map(drop)
}

/// What was aborted is blocked on the endpoint; the next round is another try.
async fn lift_blocks(clients: &Clients) -> Result<()> {
    let mut deployer = clients.deployer.clone();
    let request = ListBlocksRequest {
        parent: ENDPOINT.to_owned(),
        ..Default::default()
    };
    for block in deployer.list_blocks(request).await?.into_inner().blocks {
        let request = LiftBlockRequest {
            name: block.name,
            reason: "the story tries again".to_owned(),
        };
        deployer.lift_block(request).await?;
    }
    Ok(())
}

async fn wait_for_a_person_at_each_step(clients: &Clients) -> Result<()> {
    use slipway_proto::deployer::v1::{GetEndpointRequest, UpdateEndpointRequest};
    let mut deployer = clients.deployer.clone();
    let request = GetEndpointRequest {
        name: ENDPOINT.to_owned(),
    };
    let mut endpoint = deployer.get_endpoint(request).await?.into_inner();
    if let Some(strategy) = &mut endpoint.strategy {
        strategy.steps = vec![
            step(10, 600, 600, OnInsufficient::Pause),
            step(100, 600, 600, OnInsufficient::Pause),
        ];
        strategy.soak = Some(given::seconds(600));
    }
    let request = UpdateEndpointRequest {
        endpoint: Some(endpoint),
        ..Default::default()
    };
    deployer.update_endpoint(request).await?;
    Ok(())
}
