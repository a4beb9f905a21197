//! What people do: abort, pause, promote, set traffic by hand, roll back.

use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use tonic::Code;

use crate::support::*;

fn abort(name: &str) -> AbortRolloutRequest {
    AbortRolloutRequest {
        name: name.into(),
        reason: "looks wrong".into(),
        unpin: false,
    }
}

fn split(one: i32, two: i32) -> SetTrafficRequest {
    SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: vec![
            TrafficTarget {
                revision: revision(1),
                percent: one,
            },
            TrafficTarget {
                revision: revision(2),
                percent: two,
            },
        ],
        reason: "game day".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_abort_puts_the_traffic_back_and_a_second_one_changes_nothing() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let answer = world
        .client
        .abort_rollout(abort(&canary.name))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.phase(), Phase::RollingBack);
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    let done = world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(
        (done.why.as_str(), done.reason.as_str()),
        ("aborted", "aborted: looks wrong")
    );
    let generation = world.traffic().await.generation;
    let again = world
        .client
        .abort_rollout(abort(&canary.name))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.phase(), Phase::RolledBack);
    assert_eq!(world.traffic().await.generation, generation);
    world.stop().await;
}

#[tokio::test]
async fn an_abort_that_loses_the_race_against_success_still_wins() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    let record = world
        .client
        .abort_rollout(abort(&canary.name))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(record.name, canary.name);
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.until(&record.name, Phase::RolledBack).await;
    world.stop().await;
}

#[tokio::test]
async fn aborts_and_promotions_at_once_end_with_the_candidate_out_of_traffic() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let calls = (0..8).map(|index| {
        let (mut client, name) = (world.client.clone(), canary.name.clone());
        async move {
            if index == 5 {
                client.abort_rollout(abort(&name)).await.map(drop)
            } else {
                let request = PromoteRolloutRequest {
                    name,
                    full: true,
                    reason: "go".into(),
                    ..Default::default()
                };
                client.promote_rollout(request).await.map(drop)
            }
        }
    });
    futures::future::join_all(calls).await;
    world
        .wait("the candidate to be out", async |world| {
            shares(&world.traffic().await) == [(1, 100)]
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn pausing_resuming_and_promoting_follow_the_etag() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let pause = |etag: &str| PauseRolloutRequest {
        name: canary.name.clone(),
        reason: "lunch".into(),
        etag: etag.into(),
    };
    let stale = world.client.pause_rollout(pause("g1")).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    assert_eq!(
        fields(
            &world
                .client
                .pause_rollout(pause("nonsense"))
                .await
                .unwrap_err()
        ),
        ["etag"]
    );
    let paused = world
        .client
        .pause_rollout(pause(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (paused.phase(), paused.paused_from()),
        (Phase::Paused, Phase::Shifting)
    );
    let again = world.client.pause_rollout(pause("")).await.unwrap_err();
    assert_eq!(
        (again.code(), reason(&again).as_str()),
        (Code::FailedPrecondition, "NOT_PAUSABLE")
    );
    assert_eq!(shares(&world.traffic().await), [(2, 50), (1, 50)]);
    let resume = ResumeRolloutRequest {
        name: canary.name.clone(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .resume_rollout(resume)
            .await
            .unwrap()
            .into_inner()
            .phase(),
        Phase::Shifting
    );

    let promote = PromoteRolloutRequest {
        name: canary.name.clone(),
        full: true,
        ..Default::default()
    };
    assert_eq!(
        fields(
            &world
                .client
                .promote_rollout(promote.clone())
                .await
                .unwrap_err()
        ),
        ["reason"]
    );
    let promote = PromoteRolloutRequest {
        reason: "known to be fine".into(),
        ..promote
    };
    world.client.promote_rollout(promote).await.unwrap();
    let done = world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(done.waivers.len(), 1);
    assert!(
        done.waivers[0].contains("known to be fine"),
        "{:?}",
        done.waivers
    );
    assert!(world.actions().await.contains(&"rollout.waive".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn traffic_by_hand_pins_the_endpoint_against_automation() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let generation = world.traffic().await.generation;
    let stale = SetTrafficRequest {
        generation: generation - 1,
        ..split(70, 30)
    };
    let refused = world.client.set_traffic(stale).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let set = world
        .client
        .set_traffic(SetTrafficRequest {
            generation,
            ..split(70, 30)
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (set.generation, shares(&set)),
        (generation + 1, vec![(1, 70), (2, 30)])
    );
    assert_eq!(set.pin.as_ref().unwrap().reason, "game day");
    let held = world.until(&canary.name, Phase::Paused).await;
    assert_eq!(held.why, "pinned");

    world.peers.judge(Health::Degraded);
    world
        .wait("the withheld rollback", async |world| {
            world
                .status()
                .await
                .verdict
                .is_some_and(|verdict| verdict.verdict == "DEGRADED")
        })
        .await;
    assert_eq!(shares(&world.traffic().await), [(1, 70), (2, 30)]);
    assert_eq!(reason(&world.try_start(3).await.unwrap_err()), "PINNED");
    let refused = world
        .roll_back(RollbackRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "PINNED")
    );
    let done = world
        .roll_back(RollbackRequest {
            unpin: true,
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(done.done && !done.cold);
    assert_eq!((done.from, done.to), (vec![revision(2)], revision(1)));
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    assert_eq!(world.traffic().await.pin, None);
    world.stop().await;
}

#[tokio::test]
async fn what_a_pin_withheld_is_done_when_it_is_removed() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.client.set_traffic(split(50, 50)).await.unwrap();
    world.until(&canary.name, Phase::Paused).await;
    world.peers.judge(Health::Degraded);
    let mut page = None;
    world
        .wait("the page", async |world| {
            page = Some(
                world
                    .event::<slipway_proto::event::v1::Page>("a-test", |_| true)
                    .await
                    .code,
            );
            true
        })
        .await;
    assert_eq!(page.as_deref(), Some("rollback_withheld"));
    let request = UnpinRequest {
        endpoint: ENDPOINT.into(),
        reason: "over".into(),
    };
    let traffic = world.client.unpin(request).await.unwrap().into_inner();
    assert_eq!(shares(&traffic), [(1, 100)]);
    world.until(&canary.name, Phase::RolledBack).await;
    world.stop().await;
}

#[tokio::test]
async fn a_rollback_needs_no_other_service() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    world.peers.go_away().await;
    world.driver.goes_away();
    let done = world.roll_back(RollbackRequest::default()).await.unwrap();
    assert!(done.done && !done.cold);
    assert_eq!(
        (done.to.as_str(), done.blocks.len()),
        (revision(1).as_str(), 1)
    );
    assert_eq!(shares(&done.traffic.unwrap()), [(1, 100)]);
    let record = world.until(&done.rollout, Phase::RolledBack).await;
    assert!(record.rollback_applied_time.is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_rollback_names_what_is_at_fault_and_what_is_put_back() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    // Version 1 carries nothing, so there is nothing to take from it.
    let nothing = world
        .roll_back(RollbackRequest {
            from: revision(1),
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(!nothing.done);
    let wrong = world
        .roll_back(RollbackRequest {
            to: revision(2),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(fields(&wrong), ["to"]);
    let unknown = world
        .roll_back(RollbackRequest {
            to: revision(9),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let dry = RollbackRequest {
        validate_only: true,
        ..Default::default()
    };
    assert!(world.roll_back(dry).await.unwrap().done);
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    let request = RollbackRequest {
        to: revision(1),
        request_id: "once".into(),
        ..Default::default()
    };
    let done = world.roll_back(request.clone()).await.unwrap();
    assert!(done.done);
    let again = world.roll_back(request).await.unwrap();
    assert_eq!((again.rollout, again.done), (done.rollout, true));
    let generations = world.generations().await.len();
    assert_eq!(generations, 4);
    let blocked = world
        .roll_back(RollbackRequest {
            to: revision(2),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&blocked), "BLOCKED");
    world.stop().await;
}

#[tokio::test]
async fn a_cold_rollback_starts_what_it_restores_and_is_named_so() {
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
            world.driver.stopped() == [1]
        })
        .await;
    world
        .wait("the status to say so", async |world| {
            !world.status().await.last_known_good_warm
        })
        .await;
    world.driver.goes_away();
    let done = world.roll_back(RollbackRequest::default()).await.unwrap();
    assert!(done.done && done.cold);
    // What serves goes on serving until the other is ready.
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    world.driver.comes_back();
    world.until(&done.rollout, Phase::RolledBack).await;
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn a_retry_of_a_start_gets_the_first_answer_and_has_no_second_effect() {
    let mut world = World::new().await;
    let request = StartRolloutRequest {
        endpoint: ENDPOINT.into(),
        version: version(1),
        request_id: "retry-1".into(),
        ..Default::default()
    };
    let dry = StartRolloutRequest {
        validate_only: true,
        request_id: String::new(),
        ..request.clone()
    };
    world.client.start_rollout(dry).await.unwrap();
    let first = world
        .client
        .start_rollout(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.candidate, revision(1));
    let second = world
        .client
        .start_rollout(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.name, second.name);
    let other = StartRolloutRequest {
        version: version(2),
        ..request
    };
    let refused = world.client.start_rollout(other).await.unwrap_err();
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let list = ListRolloutsRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .list_rollouts(list)
            .await
            .unwrap()
            .into_inner()
            .rollouts
            .len(),
        1
    );
    world.stop().await;
}
