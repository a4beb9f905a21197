//! Releases, as a team would have them: a version is registered, and the rest happens by itself.

use std::time::Duration;

use anyhow::{Context, Result};
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{Rollout, Step};
use slipway_proto::registry::v1::GetAliasRequest;

use crate::given::{self, CHAMPION, EndpointPlan, step};
use crate::{Clients, Users, until, watch};

/// A rollout of a few seconds has ended by then, on a busy machine and after a crash or two.
pub const ENDED: Duration = Duration::from_secs(120);

/// A quarter of the traffic, then all of it, each for a second at least and with evidence.
pub fn canary() -> Vec<Step> {
    vec![
        step(25, 1, 100, OnInsufficient::Rollback),
        step(100, 1, 100, OnInsufficient::Rollback),
    ]
}

/// Everything but versions: what passes its evaluation is released by a canary.
pub async fn set_up(clients: &Clients) -> Result<()> {
    given::model(clients).await?;
    given::suite(clients).await?;
    given::environment(clients, true).await?;
    given::endpoint(clients, EndpointPlan::with(canary(), 1)).await?;
    given::rule(clients).await
}

/// Registers a version, and gives its name.
pub async fn register(clients: &Clients, recipe: Recipe) -> Result<String> {
    let files = given::trained(recipe).await?;
    Ok(given::register(clients, files).await?.name)
}

/// Waits for the rollout that the rule starts for a version.
pub async fn rollout_of(clients: &Clients, version: &str) -> Result<Rollout> {
    until(
        &format!("the rule's rollout of {version}"),
        watch::SOON * 2,
        async || {
            let rollouts = watch::rollouts(clients).await?;
            Ok(rollouts.into_iter().find(|one| one.version == version))
        },
    )
    .await
}

/// Registers a version and waits until it serves. Gives its rollout.
pub async fn released(clients: &Clients, recipe: Recipe) -> Result<Rollout> {
    let version = register(clients, recipe).await?;
    let started = rollout_of(clients, &version).await?;
    let rollout = watch::until_phase(clients, &started.name, Phase::Succeeded, ENDED)
        .await
        .with_context(|| format!("releasing {version}"))?;
    watch::until_applied(clients).await?;
    Ok(rollout)
}

/// The first release, while users ask for what is not there yet; they give it its evidence, and are not counted.
pub async fn first_release(clients: &Clients, people: Users, recipe: Recipe) -> Result<Rollout> {
    let rollout = released(clients, recipe).await?;
    people.stop().await;
    Ok(rollout)
}

/// Waits until the champion is this version.
pub async fn is_champion(clients: &Clients, version: &str) -> Result<()> {
    until(
        &format!("{version} to be the champion"),
        watch::SOON * 2,
        async || {
            let request = GetAliasRequest {
                name: CHAMPION.to_owned(),
                at: None,
            };
            let champion = clients.registry.clone().get_alias(request).await;
            let version_now = champion.ok().map(|answer| answer.into_inner().version);
            Ok(version_now.filter(|now| now == version).map(drop))
        },
    )
    .await
}
