//! Deadlines, with a clock that a test moves.

use std::time::Duration;

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_step_without_evidence_pauses_and_a_day_later_goes_back() {
    let mut world = World::timeless().await;
    let canary = world.with_canary().await;
    world.fake_clock.advance(HOUR + Duration::from_secs(1));
    let paused = world.until(&canary.name, Phase::Paused).await;
    assert_eq!(paused.why, "insufficient");
    assert_eq!(shares(&world.traffic().await), [(2, 50), (1, 50)]);
    world.fake_clock.advance(24 * HOUR + Duration::from_secs(1));
    let done = world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(done.why, "pause_expired");
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn a_candidate_that_is_never_ready_fails_when_its_time_is_over() {
    let mut world = World::timeless().await;
    world.with_stable().await;
    world
        .wait("it to be noted that proxies have it", async |world| {
            world.traffic().await.applied_time.is_some()
        })
        .await;
    let before = world.traffic().await;
    world.driver.never_ready(2);
    let rollout = world.start(2).await;
    world.until(&rollout.name, Phase::Checking).await;
    world.fake_clock.advance(Duration::from_secs(301));
    let done = world.until(&rollout.name, Phase::Failed).await;
    assert_eq!(done.why, "checking_expired");
    assert_eq!(world.traffic().await, before);
    world
        .wait("the candidate to be stopped", async |world| {
            world.driver.stopped() == [2]
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_pin_expires_after_a_day() {
    let mut world = World::timeless().await;
    world.with_stable().await;
    let request = SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: vec![TrafficTarget {
            revision: revision(1),
            percent: 100,
        }],
        reason: "hands off".into(),
        ..Default::default()
    };
    world.client.set_traffic(request).await.unwrap();
    assert_eq!(reason(&world.try_start(2).await.unwrap_err()), "PINNED");
    world.fake_clock.advance(24 * HOUR + Duration::from_secs(1));
    world
        .wait("the pin to expire", async |world| {
            world.traffic().await.pin.is_none()
        })
        .await;
    world.start(2).await;
    world.stop().await;
}

#[tokio::test]
async fn a_rollback_that_no_proxy_accepts_stays_stalled_and_pages_until_one_does() {
    let mut world = World::timeless().await;
    let canary = world.with_canary().await;
    world.proxy = None;
    world
        .wait("the proxy to be gone", async |world| {
            world.status().await.applied.unwrap().state() == applied::State::Unapplied
        })
        .await;
    world.peers.judge(Health::Degraded);
    world.until(&canary.name, Phase::RollingBack).await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.fake_clock.advance(Duration::from_secs(61));
    world
        .until_it(&canary.name, "stalled", |rollout| rollout.stalled)
        .await;
    let page: slipway_proto::event::v1::Page = world.event("a-test", |_| true).await;
    assert_eq!(page.code, "rollback_stalled");
    world.connect_proxy().await;
    world.until(&canary.name, Phase::RolledBack).await;
    world.stop().await;
}

#[tokio::test]
async fn the_timed_half_promotes_after_three_minutes_and_calls_it_a_waiver() {
    let mut world = World::timeless().await;
    world.with_stable().await;
    let request = StartRolloutRequest {
        endpoint: ENDPOINT.into(),
        version: version(2),
        strategy: Some(Strategy {
            name: "timed-50-50".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let rollout = world
        .client
        .start_rollout(request)
        .await
        .unwrap()
        .into_inner();
    world
        .until_it(&rollout.name, "judged at its first step", |rollout| {
            rollout.phase() == Phase::Shifting
                && rollout
                    .verdict
                    .as_ref()
                    .is_some_and(|said| said.verdict == "INSUFFICIENT")
        })
        .await;
    world
        .wait("the proxy to have the split", async |world| {
            world.is_applied().await
        })
        .await;
    let status = world.status().await;
    assert!(
        (170.0..=180.0).contains(&status.promotion_countdown_seconds),
        "{}",
        status.promotion_countdown_seconds
    );
    assert_eq!(shares(&world.traffic().await), [(2, 50), (1, 50)]);
    world.fake_clock.advance(Duration::from_secs(180));
    let done = world.until(&rollout.name, Phase::Succeeded).await;
    assert!(
        !done.waivers.is_empty() && done.waivers[0].contains("by the strategy"),
        "{:?}",
        done.waivers
    );
    world.stop().await;
}

#[tokio::test]
async fn the_last_known_good_is_stopped_when_its_window_is_over() {
    let mut world = World::timeless().await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(world.driver.running(), [1, 2]);
    world.fake_clock.advance(25 * HOUR);
    world
        .wait("the old stable to be stopped", async |world| {
            world.driver.stopped() == [1]
        })
        .await;
    assert_eq!(world.driver.running(), [2]);
    world.stop().await;
}
