//! The control plane dies in the middle of a rollout, while the gateway runs apart from it.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_tests::given::{self, EndpointPlan, step};
use slipway_tests::{Gateway, Plane, Users, servers, until, users, watch};

/// The gateway goes on alone for so many requests.
const REQUESTS_WITHOUT_CONTROL_PLANE: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_and_after_the_restart_the_rollout_ends_with_its_servers_adopted()
-> Result<()> {
    let mut plane = Plane::starting().without_gateway().start().await?;
    let mut gateway = Gateway::start(&plane, "apart").await?;
    let plan = EndpointPlan::with(
        vec![
            step(25, 3, 60, OnInsufficient::Rollback),
            step(50, 3, 60, OnInsufficient::Rollback),
            step(100, 1, 60, OnInsufficient::Rollback),
        ],
        2,
    );
    given::endpoint_without_evidence(plane.clients(), plan).await?;
    let good = given::register(plane.clients(), given::trained(Recipe::First).await?).await?;
    let stable = first_rollout(&plane, &good.name, gateway.address()).await?;

    let people = Users::start(gateway.address(), 100, 100.0)?;
    people.more(50).await?;
    let next = given::register(plane.clients(), given::trained(Recipe::AllFeatures).await?).await?;
    let rollout = watch::start_rollout(plane.clients(), &next.name).await?;
    let shifting = watch::until_phase(
        plane.clients(),
        &rollout.name,
        Phase::Shifting,
        Duration::from_secs(30),
    )
    .await?;
    watch::until_applied(plane.clients()).await?;
    people.more(20).await?;

    let before = servers::running(plane.data_dir());
    assert_eq!(before.len(), 2, "stable and candidate: {before:?}");
    plane.kill().await?;
    people.more(REQUESTS_WITHOUT_CONTROL_PLANE).await?;
    assert_eq!(
        servers::running(plane.data_dir()),
        before,
        "the model servers outlive the control plane"
    );
    plane.restart().await?;

    let ended =
        watch::until_ended(plane.clients(), &rollout.name, Duration::from_secs(120)).await?;
    assert!(
        matches!(ended.phase(), Phase::Succeeded | Phase::RolledBack),
        "{ended:?}"
    );
    let serving = if ended.phase() == Phase::Succeeded {
        &ended.candidate
    } else {
        &stable
    };
    assert_eq!(
        watch::percent_of(&watch::status(plane.clients()).await?, serving),
        100
    );
    let adopted = servers::of_revision(plane.data_dir(), serving);
    assert_eq!(adopted.len(), 1, "{adopted:?}");
    assert!(
        adopted.is_subset(&before),
        "the server is the one from before: {adopted:?}, {before:?}"
    );
    people.more(50).await?;
    let seen = people.stop().await;
    users::nobody_was_failed(&seen)?;
    let of_candidate = users::of_revision(&seen, &shifting.candidate);
    assert!(
        of_candidate.requests > 0,
        "the candidate had its share: {seen:?}"
    );
    gateway.stop().await
}

/// The endpoint's first rollout, with users who give it its evidence. What they see before it serves does
/// not count.
async fn first_rollout(plane: &Plane, version: &str, gateway: &str) -> Result<String> {
    let people = Users::start(gateway, 50, 100.0)?;
    let rollout = watch::serve(plane.clients(), version).await?;
    people.stop().await;
    Ok(rollout.candidate)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_candidate_starts_it_goes_on_with_one_server_per_revision() -> Result<()> {
    let mut plane = Plane::starting().without_gateway().start().await?;
    let gateway = Gateway::start(&plane, "apart").await?;
    let plan = EndpointPlan {
        server_options: vec!["--ready-after-ms".to_owned(), "1500".to_owned()],
        ..EndpointPlan::default()
    };
    given::endpoint_without_evidence(plane.clients(), plan).await?;
    let good = given::register(plane.clients(), given::trained(Recipe::First).await?).await?;
    let stable = watch::serve(plane.clients(), &good.name).await?.candidate;
    let people = Users::start(gateway.address(), 50, 50.0)?;
    people.more(20).await?;

    let next = given::register(plane.clients(), given::trained(Recipe::AllFeatures).await?).await?;
    let rollout = watch::start_rollout(plane.clients(), &next.name).await?;
    let candidate = rollout.candidate;
    until("the candidate's process", watch::SOON, async || {
        Ok((!servers::of_revision(plane.data_dir(), &candidate).is_empty()).then_some(()))
    })
    .await?;
    plane.kill().await?;
    people.more(20).await?;
    plane.restart().await?;

    let ended = watch::until_ended(plane.clients(), &rollout.name, Duration::from_secs(60)).await?;
    assert_eq!(ended.phase(), Phase::Succeeded, "{}", ended.reason);
    for revision in [&stable, &candidate] {
        let servers = servers::of_revision(plane.data_dir(), revision);
        assert_eq!(
            servers.len(),
            1,
            "the candidate serves and stable is warm: {servers:?}"
        );
    }
    people.more(20).await?;
    users::nobody_was_failed(&people.stop().await)
}
