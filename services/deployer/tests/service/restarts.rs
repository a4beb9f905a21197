//! The deployer ends and starts again; what was under way goes on.

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn a_rollout_goes_on_after_a_restart_with_what_runs_adopted() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let traffic = world.traffic().await;
    world.restart().await;
    assert_eq!(world.traffic().await.generation, traffic.generation);
    assert_eq!(world.driver.running(), [1, 2]);
    world.peers.judge(Health::Healthy);
    let held = world.rollout(&canary.name).await;
    assert_eq!(held.phase(), Phase::Shifting);
    world.connect_proxy().await;
    world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn work_that_was_under_way_is_done_after_a_restart() {
    let mut world = World::new().await;
    world.with_stable().await;
    world.driver.goes_away();
    let rollout = world.start(2).await;
    world.until(&rollout.name, Phase::Provisioning).await;
    world.restart().await;
    world.driver.comes_back();
    world.connect_proxy().await;
    world.peers.judge(Health::Healthy);
    world.until(&rollout.name, Phase::Succeeded).await;
    world.stop().await;
}

#[tokio::test]
async fn a_degraded_candidate_goes_back_after_a_restart() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.stop().await;
    world.peers.judge(Health::Degraded);
    world.restart().await;
    world
        .wait("the traffic to go back", async |world| {
            shares(&world.traffic().await) == [(1, 100)]
        })
        .await;
    world.connect_proxy().await;
    world.until(&canary.name, Phase::RolledBack).await;
    world.stop().await;
}

#[tokio::test]
async fn a_broken_verdict_stream_is_unmeasurable_and_holds_the_rollout() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.go_away().await;
    let held = world
        .until_it(&canary.name, "unmeasurable", |rollout| {
            rollout
                .verdict
                .as_ref()
                .is_some_and(|said| said.verdict == "UNMEASURABLE")
        })
        .await;
    assert_eq!((held.phase(), held.step), (Phase::Shifting, 0));
    assert_eq!(shares(&world.traffic().await), [(2, 50), (1, 50)]);
    world.stop().await;
}

#[tokio::test]
async fn watching_what_does_not_exist_is_an_answer_and_not_a_silent_stream() {
    let mut world = World::new().await;
    let name = format!("{ENDPOINT}/rollouts/0192f0c8-0000-7000-8000-000000000001");
    let status = world
        .client
        .watch_rollout(WatchRolloutRequest { name })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let name = "environments/production/endpoints/nothing".to_owned();
    let status = world
        .client
        .watch_endpoint_status(GetEndpointStatusRequest { name })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let mut stream = world
        .client
        .watch_endpoint_status(GetEndpointStatusRequest {
            name: ENDPOINT.into(),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(
        stream
            .message()
            .await
            .unwrap()
            .unwrap()
            .current_version
            .is_none()
    );
    world.with_stable().await;
    let wait = async {
        while let Some(status) = stream.message().await.unwrap() {
            if status.current_model {
                return true;
            }
        }
        false
    };
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .unwrap()
    );
    world.stop().await;
}
