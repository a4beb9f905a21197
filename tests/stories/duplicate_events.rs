//! Every event is delivered a second time, and in the wrong order.

use std::time::Duration;

use anyhow::Result;
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::registry::v1::{AliasMovement, GetAliasRequest, ListAliasHistoryRequest};
use slipway_tests::given::{self, CHAMPION, EndpointPlan};
use slipway_tests::{Clients, Plane, events, until, watch};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happens_twice() -> Result<()> {
    let mut plane = Plane::start().await?;
    {
        let clients = plane.clients();
        given::model(clients).await?;
        given::suite(clients).await?;
        given::environment(clients, true).await?;
        given::endpoint(clients, EndpointPlan::default()).await?;
        given::rule(clients).await?;
    }
    let one = is_released(&plane, Recipe::First).await?;
    let two = is_released(&plane, Recipe::AllFeatures).await?;
    let before = effects(plane.clients(), &[&one, &two]).await?;

    plane.stop().await?;
    let events = events::deliver_again_backwards(plane.data_dir()).await?;
    assert!(
        events
            .iter()
            .any(|event| event.r#type == "io.slipway.evaluation.completed.v1"),
        "{events:?}"
    );
    plane.restart().await?;

    // What comes after the repetition in the log is handled after it.
    let three = is_released(&plane, Recipe::Banded).await?;
    let after = effects(plane.clients(), &[&one, &two]).await?;
    assert_eq!(
        after.evaluations, before.evaluations,
        "no version is evaluated again"
    );
    let others: Vec<_> = after
        .rollouts
        .into_iter()
        .filter(|version| *version != three)
        .collect();
    assert_eq!(others, before.rollouts, "no version is rolled out again");
    let movements: Vec<_> = after
        .champions
        .into_iter()
        .filter(|movement| movement.version != three)
        .collect();
    assert_eq!(
        movements, before.champions,
        "the champion has not moved back and forth"
    );
    Ok(())
}

/// Everything that an event could have done twice.
struct Effects {
    /// How many evaluations each version has.
    evaluations: Vec<usize>,
    /// The versions of all rollouts, newest first.
    rollouts: Vec<String>,
    /// Every movement of the champion, newest first.
    champions: Vec<AliasMovement>,
}

async fn effects(clients: &Clients, versions: &[&String]) -> Result<Effects> {
    let mut evaluations = Vec::new();
    for version in versions {
        evaluations.push(watch::evaluations(clients, version).await?.len());
    }
    let rollouts = watch::rollouts(clients)
        .await?
        .into_iter()
        .map(|rollout| rollout.version)
        .collect();
    let request = ListAliasHistoryRequest {
        name: CHAMPION.to_owned(),
        page_size: 100,
        ..Default::default()
    };
    let champions = clients
        .registry
        .clone()
        .list_alias_history(request)
        .await?
        .into_inner()
        .movements;
    Ok(Effects {
        evaluations,
        rollouts,
        champions,
    })
}

/// Registers a version and waits until it was evaluated, rolled out and made the champion, all by itself.
async fn is_released(plane: &Plane, recipe: Recipe) -> Result<String> {
    let clients = plane.clients();
    let version = given::register(clients, given::trained(recipe).await?)
        .await?
        .name;
    watch::evaluated(clients, &version).await?;
    let rollout = until("the rule's rollout", watch::SOON, async || {
        Ok(watch::rollouts(clients)
            .await?
            .into_iter()
            .find(|one| one.version == version))
    })
    .await?;
    watch::until_phase(
        clients,
        &rollout.name,
        Phase::Succeeded,
        Duration::from_secs(60),
    )
    .await?;
    until("the new champion", watch::SOON, async || {
        let request = GetAliasRequest {
            name: CHAMPION.to_owned(),
            at: None,
        };
        let champion = clients.registry.clone().get_alias(request).await;
        Ok(champion
            .ok()
            .map(tonic::Response::into_inner)
            .filter(|alias| alias.version == version))
    })
    .await?;
    Ok(version)
}
