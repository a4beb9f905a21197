//! Two replicas of the services.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::stack::{Effects, Part, effects, release};
use slipway_tests::{Stack, users, watch};
use tokio::time::Instant;

use crate::envoys;

/// What a killed replica held is taken over within its setting of 5 s; the evidence of some dozen requests comes on
/// top, on a machine with other things to do.
const TAKEN_OVER_AND_ROLLED_BACK: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_reach_different_failure_detectors_are_judged_as_one() -> Result<()> {
    let mut stack = Stack::of("replicas-judge")
        .replicas(Part::Registry, 2)
        .replicas(Part::Evaluator, 2)
        .replicas(Part::Deployer, 2)
        .replicas(Part::FailureDetector, 2)
        .envoys(2)
        .logs_apart()
        .start()
        .await?;
    let gateway = stack.gateway()?.to_owned();
    let clients = stack.clients().clone();
    envoys::splits(&clients, &gateway, stack.envoys()).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_deployer_is_killed_the_other_rolls_back() -> Result<()> {
    the_other_rolls_back("deployer-killed-0", 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_second_deployer_is_killed_the_other_rolls_back() -> Result<()> {
    the_other_rolls_back("deployer-killed-1", 1).await
}

/// One of the two is the active one; both stories together have killed it.
async fn the_other_rolls_back(story: &str, killed: usize) -> Result<()> {
    let mut stack = Stack::of(story).replicas(Part::Deployer, 2).start().await?;
    let clients = stack.clients().clone();
    release::set_up(&clients).await?;
    let people = stack.users(50, 100.0)?;
    let stable = release::first_release(&clients, people, Recipe::AllFeatures).await?;
    let bad = release::register(&clients, Recipe::Banded).await?;
    let rollout = release::rollout_of(&clients, &bad).await?;
    watch::until_phase(&clients, &rollout.name, Phase::Shifting, watch::SOON * 2).await?;
    watch::until_applied(&clients).await?;

    stack.replica(Part::Deployer, killed)?.kill().await?;
    let gone = Instant::now();
    let people = stack.users(200, 150.0)?;
    let other = stack.clients_of(1 - killed)?;
    let ended = watch::until_ended(&other, &rollout.name, release::ENDED).await?;
    let took = gone.elapsed();
    ensure!(
        (ended.phase(), ended.why.as_str()) == (Phase::RolledBack, "degraded"),
        "{ended:?}"
    );
    ensure!(
        took < TAKEN_OVER_AND_ROLLED_BACK,
        "rolled back only {} s after the kill",
        took.as_secs_f64()
    );
    let status = watch::status(&other).await?;
    ensure!(
        watch::percent_of(&status, &stable.candidate) == 100,
        "{status:?}"
    );
    stack.replica(Part::Deployer, killed)?.start().await?;
    // Either answers with what happened.
    for number in [0, 1] {
        let same = watch::rollout(&stack.clients_of(number)?, &rollout.name).await?;
        ensure!(same.phase() == Phase::RolledBack, "{same:?}");
    }
    people.more(50).await?;
    users::only_failed(&people.stop().await, &ended.candidate)?;
    Effects::of(&clients, &[&stable.version, &bad])
        .await?
        .happened_once()?;
    effects::nothing_lost_or_out_of_order(&stack).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_on_when_one_replica_of_each_is_killed() -> Result<()> {
    let services = [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
    ];
    let mut starting = Stack::of("replicas-killed");
    for part in services {
        starting = starting.replicas(part, 2);
    }
    let mut stack = starting.start().await?;
    let clients = stack.clients().clone();
    release::set_up(&clients).await?;
    let people = stack.users(50, 100.0)?;
    let first = release::first_release(&clients, people, Recipe::First).await?;
    let people = stack.users(100, 120.0)?;
    let mut versions = vec![first.version];
    for (killed, recipe) in [(0, Recipe::AllFeatures), (1, Recipe::First)] {
        let version = release::register(&clients, recipe).await?;
        for part in services {
            stack.replica(part, killed)?.kill().await?;
        }
        let others = stack.clients_of(1 - killed)?;
        let rollout = release::rollout_of(&others, &version).await?;
        watch::until_phase(&others, &rollout.name, Phase::Succeeded, release::ENDED)
            .await
            .with_context(|| format!("with replica {killed} of each killed"))?;
        release::is_champion(&others, &version).await?;
        for part in services {
            stack.replica(part, killed)?.start().await?;
        }
        versions.push(version);
    }
    users::nobody_was_failed(&people.stop().await)?;
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    Effects::of(&clients, &versions).await?.happened_once()?;
    effects::nothing_lost_or_out_of_order(&stack).await?;
    stack.finish().await
}
