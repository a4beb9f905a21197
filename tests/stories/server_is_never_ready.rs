//! A model server that starts and never says that it is ready.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::{GetEndpointRequest, UpdateEndpointRequest, run_spec};
use slipway_tests::given::{self, ENDPOINT, EndpointPlan};
use slipway_tests::{Clients, Plane, Users, servers, until, users, watch};

#[tokio::test(flavor = "multi_thread")]
async fn the_rollout_fails_at_its_deadline_and_nobody_notices() -> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    let plan = EndpointPlan {
        provisioning_seconds: 3,
        ..EndpointPlan::default()
    };
    given::endpoint_without_evidence(clients, plan).await?;
    let good = given::register(clients, given::trained(Recipe::First).await?).await?;
    let stable = watch::serve(clients, &good.name).await?.candidate;
    let people = Users::start(plane.gateway()?, 20, 50.0)?;
    people.more(20).await?;

    never_ready_from_now_on(clients).await?;
    let next = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;
    let started = watch::start_rollout(clients, &next.name).await?;
    let ended = watch::until_ended(clients, &started.name, Duration::from_secs(30)).await?;
    assert_eq!(ended.phase(), Phase::Failed, "{}", ended.reason);
    assert!(
        !ended.why.is_empty() && !ended.reason.is_empty(),
        "{ended:?}"
    );

    let status = watch::status(clients).await?;
    assert_eq!(watch::percent_of(&status, &stable), 100);
    until(
        "the end of the process that was never ready",
        watch::SOON,
        async || {
            Ok(servers::of_revision(plane.data_dir(), &ended.candidate)
                .is_empty()
                .then_some(()))
        },
    )
    .await?;
    people.more(20).await?;
    let seen = people.stop().await;
    users::nobody_was_failed(&seen)?;
    assert_eq!(
        users::of_revision(&seen, &ended.candidate).requests,
        0,
        "it never had traffic"
    );
    Ok(())
}

/// Changes how later revisions run; the stable one stays as it is.
async fn never_ready_from_now_on(clients: &Clients) -> Result<()> {
    let mut deployer = clients.deployer.clone();
    let request = GetEndpointRequest {
        name: ENDPOINT.to_owned(),
    };
    let mut endpoint = deployer.get_endpoint(request).await?.into_inner();
    if let Some(run_spec::Driver::Process(process)) =
        endpoint.run.as_mut().and_then(|run| run.driver.as_mut())
    {
        process.command.push("--never-ready".to_owned());
    }
    let request = UpdateEndpointRequest {
        endpoint: Some(endpoint),
        ..Default::default()
    };
    deployer.update_endpoint(request).await?;
    Ok(())
}
