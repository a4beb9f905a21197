//! Two deployers over one PostgreSQL schema, each on a runtime of its own, so that one can be dropped at any
//! moment as a process is that is killed: nothing is released, nothing is finished.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the support is that of the service tests"
)]

mod replica;
#[path = "../service/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;

use replica::{AT_ONCE, Replica, TAKEOVER};
use support::Proxy;
use support::*;

/// What a busy machine takes besides.
const SLACK: Duration = Duration::from_secs(15);

/// Two replicas, a world that talks to the second of them, and which of them decides.
async fn two() -> (World, Vec<Replica>, usize) {
    let (mut world, replicas) = World::replicated(&["n1", "n2"], TAKEOVER).await;
    world.prepare(endpoint(), EvidencePolicy::default()).await;
    let holder = world.decider(&replicas).await;
    (world, replicas, holder)
}

/// The audit's actions on the rollouts of the endpoint, each with how often it was done.
async fn counted(world: &mut World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for action in world.actions().await {
        *counts.entry(action).or_default() += 1;
    }
    counts
}

fn never_older(seen: &[i64]) {
    assert!(seen.is_sorted(), "an older snapshot was sent: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_goes_on_when_the_one_that_decides_is_gone() {
    let (mut world, mut replicas, holder) = two().await;
    let other = 1 - holder;
    world.talk_to(&replicas[other]);
    let here = Proxy::connect(&replicas[other].address, "p1").await;
    let there = Proxy::connect(&replicas[holder].address, "p2").await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    replicas[holder].kill();
    let killed = Instant::now();
    let mut seen = there.generations();
    drop(there);
    let moved = Proxy::connect(&replicas[other].address, "p2").await;
    world.until(&canary.name, Phase::Succeeded).await;
    let within = killed.elapsed();
    assert!(within < TAKEOVER + SLACK, "it took {within:?}");
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    let generations: Vec<i64> = world
        .generations()
        .await
        .iter()
        .map(|traffic| traffic.generation)
        .collect();
    assert_eq!(generations, [3, 2, 1], "no step is done twice");
    let counts = counted(&mut world).await;
    assert_eq!(counts["rollout.succeeded"], 2, "{counts:?}");
    assert_eq!(counts["endpoint.stable"], 2, "{counts:?}");
    seen.extend(moved.generations());
    never_older(&seen);
    never_older(&here.generations());
    println!("the rollout went on and ended {within:?} after the kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_another_replica_counts_for_who_decides() {
    let (mut world, replicas, holder) = two().await;
    let other = &replicas[1 - holder];
    let proxy = Proxy::connect(&other.address, "p1").await;
    world.talk_to(&replicas[holder]);
    let canary = world.with_canary().await;
    let request = ListProxiesRequest {};
    let listed = world.client.list_proxies(request).await.unwrap();
    let listed = listed.into_inner().proxies;
    assert_eq!((listed.len(), listed[0].connected), (1, true));
    assert_eq!(listed[0].acked_generations[ENDPOINT], 2);
    let accepted = proxy.accepted_at(2).unwrap();
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    let all = world.generations().await;
    assert!(all.iter().all(|traffic| traffic.applied_time.is_some()));
    assert!(proxy.accepted_at(3).unwrap() > accepted);
    // It goes, and counts as lost for everybody until its lease ends.
    drop(proxy);
    world
        .wait("the proxy to be lost", async |world| {
            let status = world.status().await;
            status.applied.unwrap().state() == applied::State::Unapplied
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_degraded_that_is_said_while_nobody_decides_rolls_back_once() {
    let (mut world, mut replicas, holder) = two().await;
    let other = 1 - holder;
    world.talk_to(&replicas[other]);
    let _proxy = Proxy::connect(&replicas[other].address, "p1").await;
    let canary = world.with_canary().await;
    replicas[holder].kill();
    let killed = Instant::now();
    world.peers.judge(Health::Degraded);
    world.until(&canary.name, Phase::RolledBack).await;
    let within = killed.elapsed();
    assert!(within < TAKEOVER + SLACK, "it took {within:?}");
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    let counts = counted(&mut world).await;
    assert_eq!(counts["rollout.rolling_back"], 1, "{counts:?}");
    assert_eq!(counts["block.set"], 1, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_shared_and_none_of_it_is_done_twice() {
    let (mut world, replicas, _) = two().await;
    let _proxy = Proxy::connect(&replicas[0].address, "p1").await;
    world.peers.judge(Health::Healthy);
    for replica in &replicas {
        replica.driver.holds_back(true);
    }
    let mut rollouts = Vec::new();
    for number in 0..12 {
        let name = world.another_endpoint(&format!("e{number}")).await;
        rollouts.push(world.start_on(&name, 1).await);
    }
    // None of them can do more than this at a time, so that nobody can do all of it.
    assert_eq!(rollouts.len(), AT_ONCE * replicas.len());
    for replica in &replicas {
        world
            .wait("its share of the work", async |_| {
                replica.driver.provisioned().len() == AT_ONCE
            })
            .await;
    }
    for replica in &replicas {
        replica.driver.holds_back(false);
    }
    for rollout in &rollouts {
        world.until(&rollout.name, Phase::Succeeded).await;
    }
    let done: Vec<usize> = replicas
        .iter()
        .map(|replica| replica.driver.provisioned().len())
        .collect();
    assert_eq!(done.iter().sum::<usize>(), rollouts.len(), "{done:?}");
    assert!(done.iter().all(|done| *done > 0), "one did all: {done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_lost_replica_is_taken_over() {
    let (mut world, mut replicas, _) = two().await;
    world.talk_to(&replicas[1]);
    let _proxy = Proxy::connect(&replicas[1].address, "p1").await;
    world.peers.judge(Health::Healthy);
    // Whoever claims the first start never ends it.
    replicas[0].driver.hangs();
    replicas[1].driver.goes_away();
    let rollout = world.start(1).await;
    world
        .wait("the first replica to begin", async |_| {
            !replicas[0].driver.provisioned().is_empty()
        })
        .await;
    replicas[1].driver.comes_back();
    replicas[0].kill();
    let killed = Instant::now();
    world.until(&rollout.name, Phase::Succeeded).await;
    let within = killed.elapsed();
    assert!(within < TAKEOVER + SLACK, "it took {within:?}");
    assert_eq!(replicas[1].driver.provisioned().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_stop_hands_over_at_once_and_a_proxy_that_moves_sees_nothing_older() {
    let (mut world, mut replicas, holder) = two().await;
    let other = 1 - holder;
    world.talk_to(&replicas[other]);
    let proxy = Proxy::connect(&replicas[holder].address, "p1").await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    let begun = Instant::now();
    replicas[holder].stop().await;
    let mut seen = proxy.generations();
    drop(proxy);
    let proxy = Proxy::connect(&replicas[other].address, "p1").await;
    world.until(&canary.name, Phase::Succeeded).await;
    println!("stopped, handed over and done in {:?}", begun.elapsed());
    seen.extend(proxy.generations());
    never_older(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_on_a_node_that_is_away_serves_on_and_a_rollback_does_not_wait_for_it() {
    let (mut world, mut replicas) = World::replicated(&["n1", "n2"], TAKEOVER).await;
    let process = Endpoint {
        run: Some(RunSpec {
            driver: Some(run_spec::Driver::Process(ProcessRun {
                command: vec!["serve".into()],
                ..Default::default()
            })),
        }),
        ..endpoint()
    };
    world.prepare(process, EvidencePolicy::default()).await;
    // The first revision is started on the first node.
    replicas[1].driver.goes_away();
    let _proxy = Proxy::connect(&replicas[1].address, "p1").await;
    world.peers.judge(Health::Healthy);
    let first = world.start(1).await;
    world
        .wait("the first node to start it", async |_| {
            !replicas[0].driver.provisioned().is_empty()
        })
        .await;
    world.until(&first.name, Phase::Succeeded).await;
    replicas[1].driver.comes_back();
    replicas[0].kill();
    world
        .wait("the status to say who is away", async |world| {
            let notes = world.status().await.notes;
            notes.iter().any(|note| {
                note.contains("tumor-00001 runs on the node n1, whose deployer is away")
            })
        })
        .await;
    let second = world.start(2).await;
    world.until(&second.name, Phase::Succeeded).await;
    assert_eq!(replicas[1].driver.running(), [2]);
    let back = world.roll_back(RollbackRequest::default()).await.unwrap();
    assert_eq!((back.to.as_str(), back.cold), (revision(1).as_str(), false));
    world.until(&back.rollout, Phase::RolledBack).await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    assert_eq!(replicas[0].driver.stopped(), [] as [u32; 0]);
}
