//! Rollouts from their start to their end.

use slipway_proto::deployer::v1::endpoint_status::DeploymentMode;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use slipway_proto::event::v1 as event;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn a_first_rollout_and_a_canary_succeed_and_the_champion_follows() {
    let mut world = World::new().await;
    assert_eq!(
        world.status().await.deployment_mode(),
        DeploymentMode::Empty
    );
    let first = world.with_stable().await;
    assert_eq!((first.stable.as_str(), first.step), ("", 1));
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world
        .wait("the champion", async |world| {
            world.peers.champion() == Some(version(1))
        })
        .await;

    let canary = world.with_canary_after_stable().await;
    assert_eq!(shares(&world.traffic().await), [(2, 50), (1, 50)]);
    let proxy = world.proxy.as_ref().unwrap();
    assert_eq!(
        proxy.weights(),
        [
            ("production/tumor/tumor-00002".to_owned(), 5_000),
            ("production/tumor/tumor-00001".to_owned(), 5_000)
        ]
    );
    let status = world.status().await;
    assert_eq!(status.deployment_mode(), DeploymentMode::Canary);
    assert!(status.current_model && status.canary_model && !status.ready_for_promotion);
    assert_eq!(status.canary_version.unwrap().version_number, 2);
    assert_eq!(
        (status.last_known_good.as_str(), status.last_known_good_warm),
        (revision(1).as_str(), true)
    );

    world.peers.judge(Health::Healthy);
    let done = world.until(&canary.name, Phase::Succeeded).await;
    assert_eq!(done.waivers, Vec::<String>::new());
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    world
        .wait("the champion", async |world| {
            world.peers.champion_moves() == [version(1), version(2)]
        })
        .await;
    let status = world.status().await;
    assert_eq!(status.deployment_mode(), DeploymentMode::Production);
    assert!(status.current_model && !status.canary_model);
    assert_eq!(status.last_known_good, revision(1));
    // The old stable stays warm for the rollback window.
    assert_eq!(world.driver.running(), [1, 2]);
    let subjects = world.peers.subjects();
    let compared = subjects.iter().find(|watch| watch.concurrent).unwrap();
    assert_eq!(compared.subject.as_ref().unwrap().stable, revision(1));
    world.stop().await;
}

#[tokio::test]
async fn degraded_puts_all_traffic_back_at_every_proxy_and_blocks_the_version() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let said = std::time::Instant::now();
    world.peers.judge_as(Health::Degraded, "decision-7");
    let done = world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(
        (done.why.as_str(), done.decision_id.as_str()),
        ("degraded", "decision-7")
    );
    assert!(done.rollback_decided_time.is_some() && done.rollback_applied_time.is_some());
    let evidence = done.verdict.clone().unwrap_or_default();
    assert_eq!(
        (evidence.verdict.as_str(), evidence.candidate_failures > 0),
        ("DEGRADED", true)
    );
    let traffic = world.traffic().await;
    assert_eq!(shares(&traffic), [(1, 100)]);
    let accepted = world
        .proxy
        .as_ref()
        .unwrap()
        .accepted_at(traffic.generation)
        .unwrap();
    println!(
        "from DEGRADED to a proxy that has the routes: {:?}",
        accepted - said
    );

    let completed: event::RollbackCompleted = world
        .event("a-test", |data: &event::RollbackCompleted| {
            data.rollout == canary.name
        })
        .await;
    assert_eq!(
        (completed.from_revision, completed.to_revision),
        (revision(2), revision(1))
    );
    assert_eq!(
        (completed.from_version, completed.to_version),
        (version(2), version(1))
    );
    assert!(completed.decided_time.is_some() && completed.applied_time.is_some());

    let refused = world.try_start(2).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "BLOCKED")
    );
    world
        .wait("the candidate to be stopped", async |world| {
            world.driver.stopped() == [2]
        })
        .await;
    let blocks = ListBlocksRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    let block = world
        .client
        .list_blocks(blocks)
        .await
        .unwrap()
        .into_inner()
        .blocks
        .remove(0);
    let lift = LiftBlockRequest {
        name: block.name,
        reason: "fixed the data".into(),
    };
    assert!(
        world
            .client
            .lift_block(lift)
            .await
            .unwrap()
            .into_inner()
            .lift_time
            .is_some()
    );
    world.start(2).await;
    world.stop().await;
}

#[tokio::test]
async fn a_first_rollout_that_degrades_leaves_nothing_serving_and_pages() {
    let mut world = World::new().await;
    world.peers.judge(Health::Degraded);
    let rollout = world.start(1).await;
    let done = world.until(&rollout.name, Phase::Failed).await;
    assert_eq!(done.why, "no_last_known_good");
    assert_eq!(shares(&world.traffic().await), []);
    assert_eq!(
        world.status().await.deployment_mode(),
        DeploymentMode::Empty
    );
    let page: event::Page = world.event("a-test", |_| true).await;
    assert_eq!(page.code, "no_last_known_good");
    world.stop().await;
}

#[tokio::test]
async fn a_candidate_that_does_not_start_fails_and_traffic_is_untouched() {
    let mut world = World::new().await;
    world.with_stable().await;
    let before = world.traffic().await;
    world.driver.fails_to_start(2);
    let rollout = world.start(2).await;
    let done = world.until(&rollout.name, Phase::Failed).await;
    assert_eq!(done.why, "provision_failed");
    assert!(done.reason.contains("no such program"), "{}", done.reason);
    assert_eq!(world.traffic().await, before);
    // It did nothing wrong in production, so it is not blocked.
    world.start(2).await;
    world.stop().await;
}

#[tokio::test]
async fn without_a_proxy_nothing_moves_forward() {
    let mut world = World::new().await;
    world.with_stable().await;
    world.proxy = None;
    world.peers.judge(Health::Healthy);
    let rollout = world.start(2).await;
    let held = world
        .until_it(&rollout.name, "judged", |rollout| {
            rollout.phase() == Phase::Shifting
                && rollout
                    .verdict
                    .as_ref()
                    .is_some_and(|said| said.verdict == "HEALTHY")
        })
        .await;
    assert_eq!(held.step, 0);
    let request = PromoteRolloutRequest {
        name: rollout.name.clone(),
        full: true,
        reason: "now".into(),
        ..Default::default()
    };
    let refused = world.client.promote_rollout(request).await.unwrap_err();
    assert_eq!(reason(&refused), "UNAPPLIED");
    world
        .wait("the proxy to be forgotten", async |world| {
            world.status().await.applied.unwrap().state() == applied::State::Unapplied
        })
        .await;
    world.connect_proxy().await;
    world.until(&rollout.name, Phase::Succeeded).await;
    world.stop().await;
}

#[tokio::test]
async fn a_candidate_that_dies_goes_back_and_a_stable_that_dies_is_started_again() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.driver.dies(1);
    world
        .wait("stable to be started again", async |world| {
            world.driver.running() == [1, 2]
        })
        .await;
    assert_eq!(world.rollout(&canary.name).await.phase(), Phase::Shifting);
    let page: event::Page = world.event("a-test", |_| true).await;
    assert_eq!(page.code, "revision_lost");
    world.driver.dies(2);
    let done = world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(done.why, "revision_lost");
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn ten_starts_at_once_give_one_rollout_where_a_second_is_refused() {
    let endpoint = Endpoint {
        second_rollout: endpoint::SecondRollout::Refuse.into(),
        ..endpoint()
    };
    let clock = slipway_platform::clock::SystemClock::shared();
    let mut world = World::with(endpoint, EvidencePolicy::default(), clock).await;
    let starts = (1..=10).map(|number| {
        let mut client = world.client.clone();
        let request = StartRolloutRequest {
            endpoint: ENDPOINT.into(),
            version: version(number),
            ..Default::default()
        };
        async move { client.start_rollout(request).await }
    });
    let answers = futures::future::join_all(starts).await;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert_eq!(refused.len(), 9);
    assert!(
        refused
            .iter()
            .all(|status| reason(status) == "ROLLOUT_RUNNING"),
        "{refused:?}"
    );
    let request = ListRevisionsRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .list_revisions(request)
            .await
            .unwrap()
            .into_inner()
            .revisions
            .len(),
        1
    );
    world.stop().await;
}

#[tokio::test]
async fn a_queued_rollout_begins_from_what_serves_when_its_turn_comes() {
    let endpoint = Endpoint {
        second_rollout: endpoint::SecondRollout::Queue.into(),
        ..endpoint()
    };
    let clock = slipway_platform::clock::SystemClock::shared();
    let mut world = World::with(endpoint, EvidencePolicy::default(), clock).await;
    let canary = world.with_canary().await;
    let queued = world.start(3).await;
    assert_eq!(queued.phase(), Phase::Pending);
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    let done = world.until(&queued.name, Phase::Succeeded).await;
    assert_eq!(done.stable, revision(2));
    assert_eq!(shares(&world.traffic().await), [(3, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn a_superseding_rollout_follows_when_the_first_has_gone_back() {
    let endpoint = Endpoint {
        second_rollout: endpoint::SecondRollout::Supersede.into(),
        ..endpoint()
    };
    let clock = slipway_platform::clock::SystemClock::shared();
    let mut world = World::with(endpoint, EvidencePolicy::default(), clock).await;
    let canary = world.with_canary().await;
    let second = world.start(3).await;
    let gone = world.until(&canary.name, Phase::RolledBack).await;
    assert_eq!(gone.why, "superseded");
    world.peers.judge(Health::Healthy);
    world.until(&second.name, Phase::Succeeded).await;
    assert_eq!(shares(&world.traffic().await), [(3, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn the_model_status_is_json_over_http() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    let url = |endpoint: &str| format!("{}/model-status/production/{endpoint}", world.address);
    let (code, body) = get(&url("tumor")).await;
    assert_eq!(code, 200);
    assert_eq!(body["deployment_mode"], "canary");
    assert_eq!(body["current_model"], true);
    assert_eq!(body["canary_model"], true);
    assert_eq!(body["ready_for_promotion"], false);
    assert_eq!(body["canary_version"]["version"], 2);
    assert_eq!(body["canary_version"]["metrics"]["accuracy"], 0.9);
    assert!(body["canary_elapsed_minutes"].as_f64().unwrap() < 5.0);
    assert_eq!(body["rollout"]["name"], canary.name);
    assert_eq!(get(&url("nothing")).await.0, 404);
    assert_eq!(get(&url("NOT-A-NAME")).await.0, 400);
    world.stop().await;
}

async fn get(url: &str) -> (u16, serde_json::Value) {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}
