//! What two deployers over one PostgreSQL must not forget, and must not wait for.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the support is that of the service tests"
)]

#[path = "../replicas/replica.rs"]
mod replica;
#[path = "../service/support/mod.rs"]
mod support;

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;

use replica::{Replica, TAKEOVER};
use support::Proxy;
use support::*;

/// Two replicas, and which of them decides.
async fn two() -> (World, Vec<Replica>, usize) {
    let (mut world, replicas) = World::replicated(&["n1", "n2"], TAKEOVER).await;
    world.prepare(endpoint(), EvidencePolicy::default()).await;
    let holder = world.decider(&replicas).await;
    (world, replicas, holder)
}

async fn stored(world: &World, sql: &'static str) -> i64 {
    let db = world.storage().await;
    let mut reader = db.read().await.unwrap();
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut *reader).await.unwrap();
    drop(reader);
    db.close().await;
    count
}

async fn is_applied(world: &mut World) -> bool {
    let status = world.status().await;
    status.applied.unwrap().state() == applied::State::Applied
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_was_away_for_long_counts_again_with_what_it_has() {
    let (mut world, replicas, holder) = two().await;
    let other = &replicas[1 - holder];
    let proxy = Proxy::connect(&other.address, "p1").await;
    world.with_stable().await;
    drop(proxy);
    world
        .wait("the proxy to be forgotten", async |world| {
            stored(world, "SELECT COUNT(*) FROM proxies").await == 0
        })
        .await;
    let _proxy = Proxy::connect(&other.address, "p1").await;
    // It accepts what it had accepted before; who decides hears of it all the same.
    world.talk_to(&replicas[holder]);
    world
        .wait("who decides to count it", async |world| {
            is_applied(world).await
        })
        .await;
    let generations = "SELECT COUNT(*) FROM proxy_generations";
    assert_eq!(stored(&world, generations).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_promote_what_proxies_have_accepted_while_nobody_decides() {
    let (mut world, mut replicas, holder) = two().await;
    let other = 1 - holder;
    world.talk_to(&replicas[other]);
    let proxy = Proxy::connect(&replicas[other].address, "p1").await;
    world.with_stable().await;
    drop(proxy);
    let canary = world.start(2).await;
    world.until(&canary.name, Phase::Shifting).await;
    replicas[holder].kill();
    let proxy = Proxy::connect(&replicas[other].address, "p1").await;
    world
        .wait("the proxy to have the split", async |world| {
            proxy.accepted_at(2).is_some() && is_applied(world).await
        })
        .await;
    let request = PromoteRolloutRequest {
        name: canary.name.clone(),
        full: true,
        reason: "it is in force".into(),
        ..Default::default()
    };
    let promoted = world.client.promote_rollout(request).await.unwrap();
    assert_ne!(promoted.into_inner().phase(), Phase::Paused);
    world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
}
