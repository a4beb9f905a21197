//! Starting and stopping, while what it is done for changes.

use slipway_proto::deployer::v1::rollout::Phase;

use crate::support::*;

async fn starts_again(world: &mut World, number: u32) {
    world
        .wait("the start to begin", async |world| {
            let begun = world.driver.provisioned();
            begun.iter().filter(|name| name.number() == number).count() == 2
        })
        .await;
}

#[tokio::test]
async fn what_dies_while_it_is_adopted_is_started_again() {
    let mut world = World::new().await;
    world.with_stable().await;
    world.driver.dies_once_adopted(1);
    world.restart().await;
    starts_again(&mut world, 1).await;
    world
        .wait("it to run", async |world| world.driver.running() == [1])
        .await;
    world.stop().await;
}

#[tokio::test]
async fn what_another_node_has_started_meanwhile_is_stopped_here() {
    let mut world = World::new().await;
    world.with_stable().await;
    world.driver.holds_back(true);
    world.driver.dies(1);
    starts_again(&mut world, 1).await;
    world
        .change("UPDATE revisions SET node = 'another' WHERE number = 1")
        .await;
    world.driver.holds_back(false);
    world
        .wait("it to be stopped here", async |world| {
            world.driver.stopped() == [1]
        })
        .await;
    assert!(world.driver.running().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_needed_any_more_when_it_has_started_is_stopped() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    // Nobody accepts the way back before the start has begun.
    world.proxy = None;
    world.driver.holds_back(true);
    world.driver.dies(2);
    starts_again(&mut world, 2).await;
    world.connect_proxy().await;
    world.until(&canary.name, Phase::RolledBack).await;
    world
        .wait("it to be stopped while it starts", async |world| {
            world.driver.stopped() == [2]
        })
        .await;
    world.driver.holds_back(false);
    world
        .wait("it to be stopped when it has started", async |world| {
            world.driver.stopped() == [2, 2]
        })
        .await;
    assert_eq!(world.driver.running(), [1]);
    world.stop().await;
}

#[tokio::test]
async fn what_another_node_has_started_meanwhile_is_stopped_here_though_the_first_stop_fails() {
    let mut world = World::new().await;
    world.with_stable().await;
    world.driver.holds_back(true);
    world.driver.dies(1);
    starts_again(&mut world, 1).await;
    world.driver.goes_away();
    world
        .change("UPDATE revisions SET node = 'another' WHERE number = 1")
        .await;
    world.driver.holds_back(false);
    world
        .wait("a stop to fail", async |world| {
            world.driver.stops_refused() > 0
        })
        .await;
    world.driver.comes_back();
    world
        .wait("it to be stopped here", async |world| {
            world.driver.stopped() == [1]
        })
        .await;
    assert!(world.driver.running().is_empty());
    world.stop().await;
}
