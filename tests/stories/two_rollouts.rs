//! Two rollouts on one endpoint at once.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::AbortRolloutRequest;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_tests::given::{self, EndpointPlan, step};
use slipway_tests::{Plane, Users, users, watch};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_begin_together_one_goes_on_and_a_third_is_refused_while_it_has_traffic()
-> Result<()> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    given::endpoint_without_evidence(clients, EndpointPlan::default()).await?;
    let good = given::register(clients, given::trained(Recipe::First).await?).await?;
    let stable = watch::serve(clients, &good.name).await?.candidate;
    let people = Users::start(plane.gateway()?, 20, 20.0)?;
    hold_at_ten_percent(clients).await?;

    let two = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;
    let three = given::register(clients, given::trained(Recipe::MisjoinedLabels).await?).await?;
    let (first, second) = tokio::join!(
        watch::start_rollout(clients, &two.name),
        watch::start_rollout(clients, &three.name)
    );
    let started: Vec<_> = [first, second].into_iter().flatten().collect();
    assert!(!started.is_empty(), "one of them at least begins");

    // Whichever came second has superseded the first before it had traffic, or was refused.
    let shifting = slipway_tests::until(
        "one rollout with traffic",
        Duration::from_secs(30),
        async || {
            let all = watch::rollouts(clients).await?;
            let active: Vec<_> = all
                .into_iter()
                .filter(|one| !watch::has_ended(one))
                .collect();
            assert!(active.len() <= 2, "{active:?}");
            Ok(active
                .into_iter()
                .find(|one| one.phase() == Phase::Shifting))
        },
    )
    .await?;
    let status = watch::status(clients).await?;
    assert_eq!(
        watch::percent_of(&status, &stable) + watch::percent_of(&status, &shifting.candidate),
        100
    );
    for other in started.iter().filter(|one| one.name != shifting.name) {
        let other = watch::until_ended(clients, &other.name, Duration::from_secs(10)).await?;
        assert_eq!(other.phase(), Phase::Failed, "{}", other.reason);
        assert_eq!(
            watch::percent_of(&watch::status(clients).await?, &other.candidate),
            0
        );
    }

    let four = given::register(clients, given::trained(Recipe::Banded).await?).await?;
    let refused = watch::start_rollout(clients, &four.name).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(
        watch::rollout(clients, &shifting.name).await?.phase(),
        Phase::Shifting,
        "it goes on undisturbed"
    );

    let request = AbortRolloutRequest {
        name: shifting.name.clone(),
        ..Default::default()
    };
    clients.deployer.clone().abort_rollout(request).await?;
    watch::until_phase(
        clients,
        &shifting.name,
        Phase::RolledBack,
        Duration::from_secs(20),
    )
    .await?;
    assert_eq!(
        watch::percent_of(&watch::status(clients).await?, &stable),
        100
    );
    users::nobody_was_failed(&people.stop().await)
}

/// From now on rollouts stop at their first step until somebody decides.
async fn hold_at_ten_percent(clients: &slipway_tests::Clients) -> Result<()> {
    use slipway_proto::deployer::v1::{GetEndpointRequest, UpdateEndpointRequest};
    let mut deployer = clients.deployer.clone();
    let request = GetEndpointRequest {
        name: given::ENDPOINT.to_owned(),
    };
    let mut endpoint = deployer.get_endpoint(request).await?.into_inner();
    if let Some(strategy) = &mut endpoint.strategy {
        strategy.steps = vec![
            step(10, 600, 600, OnInsufficient::Pause),
            step(100, 600, 600, OnInsufficient::Pause),
        ];
    }
    let request = UpdateEndpointRequest {
        endpoint: Some(endpoint),
        ..Default::default()
    };
    deployer.update_endpoint(request).await?;
    Ok(())
}
