//! A candidate that hardly anybody asks: not enough evidence is not good news.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{AbortRolloutRequest, Step};
use slipway_tests::given::{self, EndpointPlan, all_at_once, step};
use slipway_tests::{Clients, Plane, Users, users, watch};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn the_step_pauses_when_its_deadline_is_over() -> Result<()> {
    let (plane, people, rollout) = candidate_with_hardly_any_traffic(OnInsufficient::Pause).await?;
    let paused = watch::until_phase(plane.clients(), &rollout, Phase::Paused, DEADLINE).await?;
    assert_eq!(
        (paused.why.as_str(), paused.paused_from()),
        ("insufficient", Phase::Shifting),
        "{}",
        paused.reason
    );
    assert!(paused.waivers.is_empty());
    let status = watch::status(plane.clients()).await?;
    assert_eq!(
        watch::percent_of(&status, &paused.candidate),
        10,
        "it neither goes on nor back"
    );

    let request = AbortRolloutRequest {
        name: rollout.clone(),
        reason: "nobody asks it".to_owned(),
        ..Default::default()
    };
    plane
        .clients()
        .deployer
        .clone()
        .abort_rollout(request)
        .await?;
    watch::until_phase(plane.clients(), &rollout, Phase::RolledBack, DEADLINE).await?;
    users::nobody_was_failed(&people.stop().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_step_rolls_back_where_it_says_so() -> Result<()> {
    let (plane, people, rollout) =
        candidate_with_hardly_any_traffic(OnInsufficient::Rollback).await?;
    let ended = watch::until_phase(plane.clients(), &rollout, Phase::RolledBack, DEADLINE).await?;
    let status = watch::status(plane.clients()).await?;
    assert_eq!(watch::percent_of(&status, &ended.stable), 100);
    users::nobody_was_failed(&people.stop().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_promotes_all_the_same_says_that_it_was_a_waiver() -> Result<()> {
    let (plane, people, rollout) =
        candidate_with_hardly_any_traffic(OnInsufficient::Promote).await?;
    let ended = watch::until_phase(plane.clients(), &rollout, Phase::Succeeded, DEADLINE).await?;
    assert!(!ended.waivers.is_empty(), "{ended:?}");
    users::nobody_was_failed(&people.stop().await)
}

/// Two requests a second in all, and a tenth of them for the candidate.
async fn candidate_with_hardly_any_traffic(
    on_insufficient: OnInsufficient,
) -> Result<(Plane, Users, String)> {
    let plane = Plane::start().await?;
    let clients = plane.clients();
    given::endpoint_without_evidence(clients, EndpointPlan::default()).await?;
    let good = given::register(clients, given::trained(Recipe::First).await?).await?;
    watch::serve(clients, &good.name).await?;
    let people = Users::start(plane.gateway()?, 10, 2.0)?;
    let next = given::register(clients, given::trained(Recipe::AllFeatures).await?).await?;
    let mut steps = vec![step(10, 1, 4, on_insufficient)];
    steps.extend(all_at_once());
    let rollout = start_with(clients, &next.name, steps).await?;
    Ok((plane, people, rollout))
}

async fn start_with(clients: &Clients, version: &str, steps: Vec<Step>) -> Result<String> {
    use slipway_proto::deployer::v1::{StartRolloutRequest, Strategy};
    let request = StartRolloutRequest {
        endpoint: given::ENDPOINT.to_owned(),
        version: version.to_owned(),
        strategy: Some(Strategy {
            name: "story".to_owned(),
            steps,
            soak: Some(given::seconds(0)),
            drain: Some(given::seconds(1)),
        }),
        ..Default::default()
    };
    Ok(clients
        .deployer
        .clone()
        .start_rollout(request)
        .await?
        .into_inner()
        .name)
}
