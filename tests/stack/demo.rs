//! The demo's story, told on whatever serves the users: a good version is promoted, a wrong one refused, a bad one
//! rolled back.

use anyhow::{Result, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::Verdict;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::stack::{Effects, effects, release};
use slipway_tests::{Stack, users, watch};

/// Tells it, and checks what users saw, what is stored and what was published.
pub async fn is_told(stack: &Stack) -> Result<()> {
    let clients = stack.clients();
    release::set_up(clients).await?;
    let people = stack.users(50, 100.0)?;
    let first = release::first_release(clients, people, Recipe::First).await?;

    let people = stack.users(200, 120.0)?;
    people.more(50).await?;
    let second = release::released(clients, Recipe::AllFeatures).await?;
    release::is_champion(clients, &second.version).await?;

    let third = release::register(clients, Recipe::MisjoinedLabels).await?;
    let evaluation = watch::evaluated(clients, &third).await?;
    ensure!(evaluation.verdict() == Verdict::Fail, "{evaluation:?}");

    let fourth = release::register(clients, Recipe::Banded).await?;
    let started = release::rollout_of(clients, &fourth).await?;
    let ended = watch::until_ended(clients, &started.name, release::ENDED).await?;
    ensure!(
        (ended.phase(), ended.why.as_str()) == (Phase::RolledBack, "degraded"),
        "{ended:?}"
    );
    ensure!(
        ended.not_applied_on.is_empty() && ended.rollback_applied_time.is_some(),
        "{ended:?}"
    );
    let status = watch::status(clients).await?;
    ensure!(
        watch::percent_of(&status, &second.candidate) == 100,
        "{status:?}"
    );
    people.more(100).await?;
    let seen = people.stop().await;
    users::only_failed(&seen, &ended.candidate)?;
    ensure!(
        users::of_revision(&seen, &second.candidate).requests > 0,
        "{seen:?}"
    );

    // What was refused was not rolled out, although the version after it was: the events of one model are in order.
    let effects = Effects::of(clients, &[&first.version, &second.version, &third, &fourth]).await?;
    effects.happened_once()?;
    let rolled_out: Vec<_> = effects
        .rollouts
        .iter()
        .map(|(_, version, _)| version)
        .collect();
    ensure!(
        rolled_out == [&first.version, &second.version, &fourth],
        "{rolled_out:?}"
    );
    let events = effects::nothing_lost_or_out_of_order(stack).await?;
    let shifted = effects::of_type(&events, "io.slipway.traffic.shifted.v1");
    ensure!(
        shifted.len() == effects.traffic.len(),
        "{} generations, and {} events of them",
        effects.traffic.len(),
        shifted.len()
    );
    for (r#type, count) in [
        ("io.slipway.version.created.v1", 4),
        ("io.slipway.evaluation.completed.v1", 4),
        ("io.slipway.anomaly.detected.v1", 1),
        ("io.slipway.rollback.completed.v1", 1),
    ] {
        let found = effects::of_type(&events, r#type).len();
        ensure!(found == count, "{found} events {type}, not {count}");
    }
    ensure!(
        stack.topics().dead_letters().await?.is_empty(),
        "nothing was given up"
    );
    Ok(())
}
