//! What the failure-detector finds after a promotion, and on both of its ways.

use slipway_proto::deployer::v1::endpoint_status::DeploymentMode;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use slipway_proto::event::v1 as event;

use crate::support::*;

const DETECTOR: &str = "//slipway/failure-detector";

fn anomaly(number: u32, decision: &str, rollout: &str) -> event::AnomalyDetected {
    event::AnomalyDetected {
        decision_id: decision.into(),
        alert: format!("{ENDPOINT}/alerts/0192f0c8-0000-7000-8000-000000000001"),
        endpoint: ENDPOINT.into(),
        revision: revision(number),
        rollout: rollout.into(),
        code: "WORSE_THAN_STABLE".into(),
        text: "20 of 100 failed".into(),
        time: None,
    }
}

/// Version 2 serves everything, and version 1 is the last known good.
async fn promoted() -> (World, Rollout) {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    world
        .wait("the champion", async |world| {
            world.peers.champion() == Some(version(2))
        })
        .await;
    (world, canary)
}

async fn explain(world: &mut World, event_id: &str) -> Vec<RuleExplanation> {
    let request = ExplainRuleRequest {
        rule: String::new(),
        event: Some(explain_rule_request::Event::EventId(event_id.into())),
    };
    world
        .client
        .explain_rule(request)
        .await
        .unwrap()
        .into_inner()
        .explanations
}

async fn handled(world: &mut World, event_id: &str) -> Vec<RuleExplanation> {
    let mut found = Vec::new();
    world
        .wait("the event to be handled", async |world| {
            let request = ExplainRuleRequest {
                rule: String::new(),
                event: Some(explain_rule_request::Event::EventId(event_id.into())),
            };
            match world.client.explain_rule(request).await {
                Ok(answer) => {
                    found = answer.into_inner().explanations;
                    true
                }
                Err(_) => false,
            }
        })
        .await;
    found
}

#[tokio::test]
async fn one_decision_that_comes_by_stream_and_by_event_has_one_effect() {
    let mut world = World::new().await;
    let canary = world.with_canary().await;
    world.peers.judge_as(Health::Degraded, "decision-9");
    world
        .publish(
            DETECTOR,
            "event-1",
            ENDPOINT,
            &anomaly(2, "decision-9", &canary.name),
        )
        .await;
    world
        .publish(
            DETECTOR,
            "event-1",
            ENDPOINT,
            &anomaly(2, "decision-9", &canary.name),
        )
        .await;
    world
        .publish(
            DETECTOR,
            "event-2",
            ENDPOINT,
            &anomaly(2, "decision-9", &canary.name),
        )
        .await;
    world.until(&canary.name, Phase::RolledBack).await;
    let explanations = handled(&mut world, "event-2").await;
    assert_eq!(explanations[0].code, "ROLLOUT_DECIDES");
    let back: Vec<Traffic> = world.generations().await;
    // Version 1, the canary, and back: three generations and no more.
    assert_eq!(back.len(), 3);
    let blocks = ListBlocksRequest {
        parent: ENDPOINT.into(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .list_blocks(blocks)
            .await
            .unwrap()
            .into_inner()
            .blocks
            .len(),
        1
    );
    world.stop().await;
}

#[tokio::test]
async fn an_anomaly_after_promotion_puts_the_last_known_good_back_and_is_not_rolled_back_itself() {
    let (mut world, _) = promoted().await;
    world
        .publish(DETECTOR, "event-1", ENDPOINT, &anomaly(2, "decision-1", ""))
        .await;
    world
        .wait("version 1 to serve", async |world| {
            shares(&world.traffic().await) == [(1, 100)]
        })
        .await;
    let explanations = handled(&mut world, "event-1").await;
    assert!(explanations[0].acted, "{explanations:?}");
    assert_eq!(explanations[0].code, "ROLLED_BACK");
    let record = explanations[0].rollout.clone();
    let done = world.until(&record, Phase::RolledBack).await;
    assert_eq!(
        (done.candidate.as_str(), done.stable.as_str()),
        (revision(2).as_str(), revision(1).as_str())
    );
    assert_eq!(
        (done.why.as_str(), done.strategy.unwrap().name.as_str()),
        ("degraded", "rollback")
    );
    let completed: event::RollbackCompleted = world.event("a-test", |_| true).await;
    assert_eq!(
        (completed.rollout.as_str(), completed.decision_id.as_str()),
        ("", "decision-1")
    );
    assert!(completed.decided_time.is_some() && completed.applied_time.is_some());
    world
        .wait("the champion to go back", async |world| {
            world.peers.champion() == Some(version(1))
        })
        .await;
    assert_eq!(world.status().await.alerts.len(), 1);

    // Another alert, now on what was put back: people are told, and nothing moves.
    world
        .publish(DETECTOR, "event-2", ENDPOINT, &anomaly(1, "decision-2", ""))
        .await;
    let explanations = handled(&mut world, "event-2").await;
    assert_eq!(
        (explanations[0].code.as_str(), explanations[0].acted),
        ("RESTORED_REVISION", false)
    );
    assert_eq!(shares(&world.traffic().await), [(1, 100)]);
    let page: event::Page = world.event("another-test", |_| true).await;
    assert_eq!(page.code, "rollback_withheld");
    assert!(
        world
            .actions()
            .await
            .contains(&"rollback.withheld".to_owned())
    );
    world.stop().await;
}

#[tokio::test]
async fn the_steady_watch_rolls_back_without_any_event() {
    let (mut world, _) = promoted().await;
    world.peers.judge_steady(Health::Degraded, "decision-5");
    world
        .wait("version 1 to serve", async |world| {
            shares(&world.traffic().await) == [(1, 100)]
        })
        .await;
    assert!(explain(&mut world, "decision-5").await[0].acted);
    world.stop().await;
}

#[tokio::test]
async fn a_rule_that_is_switched_off_withholds_the_rollback_and_says_so() {
    let (mut world, _) = promoted().await;
    let request = GetRuleRequest {
        name: "rules/rollback-production".into(),
    };
    let rule = world.client.get_rule(request).await.unwrap().into_inner();
    let request = ApplyRuleRequest {
        rule: Some(Rule {
            disabled: true,
            ..rule
        }),
        ..Default::default()
    };
    world.client.apply_rule(request).await.unwrap();
    world
        .publish(DETECTOR, "event-1", ENDPOINT, &anomaly(2, "decision-1", ""))
        .await;
    let explanations = handled(&mut world, "event-1").await;
    assert_eq!(
        (explanations[0].code.as_str(), explanations[0].matched),
        ("DISABLED", false)
    );
    assert_eq!(shares(&world.traffic().await), [(2, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn an_anomaly_under_a_pin_is_withheld_paged_and_acted_on_when_the_pin_is_gone() {
    let (mut world, _) = promoted().await;
    let request = SetTrafficRequest {
        endpoint: ENDPOINT.into(),
        targets: vec![
            TrafficTarget {
                revision: revision(1),
                percent: 20,
            },
            TrafficTarget {
                revision: revision(2),
                percent: 80,
            },
        ],
        reason: "game day".into(),
        ..Default::default()
    };
    world.client.set_traffic(request).await.unwrap();
    assert_eq!(
        world.status().await.deployment_mode(),
        DeploymentMode::Pinned
    );
    world
        .publish(DETECTOR, "event-1", ENDPOINT, &anomaly(2, "decision-1", ""))
        .await;
    let explanations = handled(&mut world, "event-1").await;
    assert_eq!(
        (explanations[0].code.as_str(), explanations[0].acted),
        ("PINNED", false)
    );
    assert_eq!(shares(&world.traffic().await), [(1, 20), (2, 80)]);
    let page: event::Page = world.event("a-test", |_| true).await;
    assert_eq!(page.code, "rollback_withheld");
    let request = slipway_proto::deployer::v1::UnpinRequest {
        endpoint: ENDPOINT.into(),
        reason: "the game day is over".into(),
    };
    let traffic = world.client.unpin(request).await.unwrap().into_inner();
    assert_eq!(shares(&traffic), [(1, 100)]);
    world.stop().await;
}

#[tokio::test]
async fn an_anomaly_on_what_does_not_serve_changes_nothing() {
    let (mut world, _) = promoted().await;
    world
        .publish(DETECTOR, "event-1", ENDPOINT, &anomaly(1, "decision-1", ""))
        .await;
    let explanations = handled(&mut world, "event-1").await;
    assert_eq!(
        (explanations[0].code.as_str(), explanations[0].acted),
        ("NO_TRAFFIC", false)
    );
    world.stop().await;
}

#[tokio::test]
async fn a_rollback_comes_before_what_is_starting_and_what_is_in_the_queue() {
    let queue = Endpoint {
        second_rollout: endpoint::SecondRollout::Queue.into(),
        ..endpoint()
    };
    let clock = slipway_platform::clock::SystemClock::shared();
    let mut world = World::with(queue, EvidencePolicy::default(), clock).await;
    let canary = world.with_canary().await;
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    world.driver.goes_away();
    let starting = world.start(3).await;
    world.until(&starting.name, Phase::Provisioning).await;
    let queued = world.start(4).await;
    world
        .publish(DETECTOR, "event-1", ENDPOINT, &anomaly(2, "decision-1", ""))
        .await;
    world
        .wait("version 1 to serve", async |world| {
            shares(&world.traffic().await) == [(1, 100)]
        })
        .await;
    assert_eq!(
        world.until(&starting.name, Phase::Failed).await.why,
        "superseded"
    );
    world.driver.comes_back();
    let done = world.until(&queued.name, Phase::Succeeded).await;
    assert_eq!(done.stable, revision(1));
    world.stop().await;
}
