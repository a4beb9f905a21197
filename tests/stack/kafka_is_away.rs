//! Kafka is stopped while a bad candidate has its share.

use std::time::Duration;

use anyhow::{Result, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::stack::servers::Component;
use slipway_tests::stack::{Effects, effects, release};
use slipway_tests::{Stack, until, users, watch};
use tokio::time::Instant;

/// How long Kafka is away.
const AWAY: Duration = Duration::from_secs(30);
/// A rollback takes the evidence of some dozen requests, and no event.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back_at_once_and_the_events_arrive_afterwards_in_order()
-> Result<()> {
    let stack = Stack::of("kafka-away").alone().start().await?;
    let clients = stack.clients();
    release::set_up(clients).await?;
    let people = stack.users(50, 100.0)?;
    let stable = release::first_release(clients, people, Recipe::AllFeatures).await?;

    // Without users there is no evidence, and the rollout waits in its first step.
    let bad = release::register(clients, Recipe::Banded).await?;
    let rollout = release::rollout_of(clients, &bad).await?;
    watch::until_phase(clients, &rollout.name, Phase::Shifting, watch::SOON * 2).await?;
    watch::until_applied(clients).await?;
    stack.servers().stop(Component::Kafka).await?;
    let stopped = Instant::now();

    let people = stack.users(200, 120.0)?;
    let ended = watch::until_ended(clients, &rollout.name, AT_ONCE).await?;
    ensure!(
        (ended.phase(), ended.why.as_str()) == (Phase::RolledBack, "degraded"),
        "{ended:?}"
    );
    // What is asked for meanwhile is done as soon as its event can travel.
    let meanwhile = release::register(clients, Recipe::First).await?;
    until("the end of the outage", AWAY * 2, async || {
        Ok((stopped.elapsed() >= AWAY).then_some(()))
    })
    .await?;
    ensure!(
        watch::evaluations(clients, &meanwhile).await?.is_empty(),
        "no event came without Kafka"
    );
    let status = watch::status(clients).await?;
    ensure!(
        watch::percent_of(&status, &stable.candidate) == 100,
        "{status:?}"
    );
    stack.servers().start(Component::Kafka).await?;

    let next = release::rollout_of(clients, &meanwhile).await?;
    watch::until_phase(clients, &next.name, Phase::Succeeded, release::ENDED).await?;
    let seen = people.stop().await;
    users::only_failed(&seen, &ended.candidate)?;
    Effects::of(clients, &[&stable.version, &bad, &meanwhile])
        .await?
        .happened_once()?;
    let events = effects::nothing_lost_or_out_of_order(&stack).await?;
    for r#type in [
        "io.slipway.anomaly.detected.v1",
        "io.slipway.rollback.completed.v1",
    ] {
        let count = effects::of_type(&events, r#type).len();
        ensure!(count == 1, "{count} events {type}");
    }
    stack.finish().await
}
