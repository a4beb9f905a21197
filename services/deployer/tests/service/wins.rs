//! A rollback wins whatever else is under way, and says what became of it.

use std::time::Duration;

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;

use crate::support::Proxy;
use crate::support::*;

/// Version 1 served and is known to be good, version 2 serves, and version 3 has half of the traffic.
async fn third_beside_second(world: &mut World) -> Rollout {
    world.with_stable().await;
    world.peers.judge(Health::Healthy);
    let second = world.start(2).await;
    world.until(&second.name, Phase::Succeeded).await;
    world.peers.judge(Health::Insufficient);
    let third = world.start(3).await;
    world
        .until_it(&third.name, "at its first step", |rollout| {
            rollout.phase() == Phase::Shifting && rollout.verdict.is_some()
        })
        .await
}

fn from(number: u32) -> RollbackRequest {
    RollbackRequest {
        from: revision(number),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_rollback_of_stable_wins_over_the_rollout_beside_it() {
    let mut world = World::new().await;
    let third = third_beside_second(&mut world).await;
    let done = world.roll_back(from(2)).await.unwrap();
    assert!(done.done);
    assert_eq!((done.from, done.to), (vec![revision(2)], revision(1)));
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.until(&third.name, Phase::RolledBack).await;
    let mut blocked: Vec<String> = world
        .status()
        .await
        .blocks
        .into_iter()
        .map(|block| block.revision)
        .collect();
    blocked.sort();
    assert_eq!(blocked, [revision(2), revision(3)]);
    world.stop().await;
}

#[tokio::test]
async fn what_a_stuck_rollback_puts_back_can_be_rolled_back_itself() {
    let mut world = World::new().await;
    let third = third_beside_second(&mut world).await;
    let stuck = Proxy::stuck(&world.address, "p2").await;
    world
        .wait("the stuck proxy to be there", async |world| {
            let listed = world.client.list_proxies(ListProxiesRequest {}).await;
            listed.unwrap().into_inner().proxies.len() == 2
        })
        .await;
    let first = world.roll_back(RollbackRequest::default()).await.unwrap();
    assert_eq!((first.from, first.to), (vec![revision(3)], revision(2)));
    assert_eq!(world.rollout(&third.name).await.phase(), Phase::RollingBack);
    let request = RollbackRequest {
        request_id: "once".into(),
        ..from(2)
    };
    let second = world.roll_back(request.clone()).await.unwrap();
    assert!(second.done);
    assert_eq!(second.from, [revision(2)]);
    assert_eq!(second.to, revision(1));
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    let again = world.roll_back(request).await.unwrap();
    assert_eq!((again.from, again.to), (vec![revision(2)], revision(1)));
    // There is no fourth: that is said, and not that it was done.
    let none = world.roll_back(from(1)).await.unwrap_err();
    assert_eq!(reason(&none), "NO_LAST_KNOWN_GOOD");
    drop(stuck);
    world.until(&third.name, Phase::RolledBack).await;
    world.stop().await;
}

#[tokio::test]
async fn a_revision_whose_stop_fell_due_while_it_was_needed_is_stopped_when_it_is_not() {
    let mut world = World::timeless().await;
    world.with_stable().await;
    world.peers.judge(Health::Healthy);
    let second = world.start(2).await;
    world.until(&second.name, Phase::Succeeded).await;
    let target = |number, percent| TrafficTarget {
        revision: revision(number),
        percent,
    };
    let request = SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: vec![target(1, 50), target(2, 50)],
        reason: "to compare".into(),
        ..Default::default()
    };
    world.client.set_traffic(request).await.unwrap();
    let window = Duration::from_secs(3_600 * 48);
    world.fake_clock.advance(window);
    // The pin is over by then, and so is the time for which the first was kept.
    world
        .wait("the pin to expire", async |world| {
            world.traffic().await.pin.is_none()
        })
        .await;
    let third = world.start(3).await;
    world.until(&third.name, Phase::Succeeded).await;
    assert_eq!(world.driver.stopped(), [] as [u32; 0]);
    world
        .wait("the old ones to be stopped", async |world| {
            world.fake_clock.advance(window);
            world.driver.running() == [3]
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_rollout_that_has_succeeded_shows_the_numbers_of_its_end() {
    let endpoint = Endpoint {
        strategy: Some(Strategy {
            soak: seconds(60.0),
            ..quick(&[100])
        }),
        ..endpoint()
    };
    let clock = slipway_platform::clock::FakeClock::new(slipway_platform::clock::Clock::now(
        &slipway_platform::clock::SystemClock,
    ));
    let mut world = World::with(endpoint, EvidencePolicy::default(), clock.shared()).await;
    world.peers.judge(Health::Healthy);
    let rollout = world.start(1).await;
    world.until(&rollout.name, Phase::Soaking).await;
    world.peers.observes(250);
    world.peers.judge(Health::Healthy);
    let counted = |rollout: &Rollout| {
        let verdict = rollout.verdict.clone();
        verdict.is_some_and(|verdict| verdict.candidate_observations == 250)
    };
    world
        .until_it(&rollout.name, "at 250 observations", counted)
        .await;
    clock.advance(Duration::from_secs(61));
    world.until(&rollout.name, Phase::Succeeded).await;
    world.restart().await;
    assert!(counted(&world.rollout(&rollout.name).await));
    world.stop().await;
}

#[tokio::test]
async fn a_cold_rollback_that_cannot_start_says_so() {
    let endpoint = Endpoint {
        rollback_window: seconds(0.0),
        ..endpoint()
    };
    let clock = slipway_platform::clock::SystemClock::shared();
    let mut world = World::with(endpoint, EvidencePolicy::default(), clock).await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    world
        .wait("the old stable to be stopped", async |world| {
            !world.status().await.last_known_good_warm
        })
        .await;
    world.driver.fails_to_start(1);
    let done = world.roll_back(RollbackRequest::default()).await.unwrap();
    assert!(done.done && done.cold);
    let says = "tumor-00001 is to be put back and does not start: no such program";
    world
        .wait("the status to say so", async |world| {
            let notes = world.status().await.notes;
            notes.iter().any(|note| note.starts_with(says))
        })
        .await;
    let page = world
        .event::<slipway_proto::event::v1::Page>("pages", |page| page.code == "rollback_stalled")
        .await;
    assert!(page.text.contains(says), "{}", page.text);
    world.stop().await;
}

#[tokio::test]
async fn a_page_of_large_endpoints_fits_into_an_answer() {
    let mut world = World::new().await;
    let variables = (0..28).map(|index| (format!("V{index}"), "x".repeat(32 * 1_024)));
    let run = ProcessRun {
        command: vec!["serve".into()],
        env: variables.collect(),
        ..Default::default()
    };
    for id in ["a", "b", "c", "d"] {
        let endpoint = Endpoint {
            run: Some(RunSpec {
                driver: Some(run_spec::Driver::Process(run.clone())),
            }),
            ..endpoint()
        };
        world.create_endpoint(id, endpoint).await;
    }
    let (mut token, mut pages, mut found) = (String::new(), 0, 0);
    loop {
        let request = ListEndpointsRequest {
            parent: "environments/production".into(),
            page_size: 1_000,
            page_token: token,
        };
        let page = world.client.list_endpoints(request).await.unwrap();
        let page = page.into_inner();
        (pages, found) = (pages + 1, found + page.endpoints.len());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, found), (2, 5), "four large ones and a small one");
    world.stop().await;
}
