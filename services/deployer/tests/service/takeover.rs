//! Who decides begins anew, and one rollout or endpoint that is broken holds up no other.

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;

use crate::support::*;

#[tokio::test]
async fn a_rollout_that_cannot_be_told_of_a_takeover_holds_up_no_other() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.create_endpoint("broken", endpoint()).await;
    let request = StartRolloutRequest {
        endpoint: "environments/production/endpoints/broken".into(),
        version: version(1),
        ..Default::default()
    };
    let broken = world.client.start_rollout(request).await.unwrap();
    let broken = broken.into_inner().name;
    world.until(&broken, Phase::Shifting).await;
    world.stop().await;
    world
        .change("DELETE FROM endpoints WHERE name = 'environments/production/endpoints/broken'")
        .await;
    world.peers.judge(Health::Degraded);
    world.restart().await;
    world.connect_proxy().await;
    world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    // Forward, too: deadlines and verdicts of the others are acted on.
    world.peers.judge(Health::Healthy);
    let next = world.start(3).await;
    world.until(&next.name, Phase::Succeeded).await;
    world.stop().await;
}

#[tokio::test]
async fn a_stored_rollout_that_is_not_readable_holds_up_no_other() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.create_endpoint("broken", endpoint()).await;
    let request = StartRolloutRequest {
        endpoint: "environments/production/endpoints/broken".into(),
        version: version(1),
        ..Default::default()
    };
    let broken = world.client.start_rollout(request).await.unwrap();
    world
        .until(&broken.into_inner().name, Phase::Shifting)
        .await;
    world
        .change("UPDATE rollouts SET state = '{' WHERE endpoint LIKE '%/broken'")
        .await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn a_stored_endpoint_that_is_not_readable_holds_up_no_other() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.create_endpoint("broken", endpoint()).await;
    // Newer than everything that proxies are told below.
    world
        .change(
            "UPDATE endpoints SET settings = '{', routes_version = routes_version + 1000 \
             WHERE name LIKE '%/broken'",
        )
        .await;
    world.peers.judge(Health::Degraded);
    world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.restart().await;
    world.connect_proxy().await;
    world.peers.judge(Health::Healthy);
    let next = world.start(3).await;
    world.until(&next.name, Phase::Succeeded).await;
    assert_eq!(shares(&world.traffic().await), [(3, 100)]);
    world.stop().await;
}
