//! Nothing enters an environment whose policy asks for evidence without it.

use slipway_platform::clock::SystemClock;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use slipway_proto::evaluator::v1::Evaluation;
use slipway_proto::registry::v1::version::State;
use tonic::Code;

use crate::support::*;

async fn guarded(endpoint: Endpoint) -> World {
    let policy = EvidencePolicy {
        require_evaluation: true,
        ..Default::default()
    };
    World::with(endpoint, policy, SystemClock::shared()).await
}

#[tokio::test]
async fn a_version_enters_with_a_passing_evaluation_of_its_digest_and_not_without() {
    let mut world = guarded(endpoint()).await;
    let refused = world.try_start(1).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "NO_EVIDENCE")
    );
    let other = Evaluation {
        version_digest: "sha256:other".into(),
        ..passed(1)
    };
    world.peers.evaluated(other);
    assert_eq!(
        reason(&world.try_start(1).await.unwrap_err()),
        "NO_EVIDENCE"
    );
    let old = Evaluation {
        valid_until: Some(prost_types::Timestamp::default()),
        ..passed(1)
    };
    world.peers.evaluated(old);
    assert_eq!(
        reason(&world.try_start(1).await.unwrap_err()),
        "EVIDENCE_EXPIRED"
    );
    let evaluation = passed(1);
    world.peers.evaluated(evaluation.clone());
    world.peers.judge(Health::Healthy);
    let rollout = world.start(1).await;
    assert_eq!(rollout.evidence, [evaluation.name]);
    world.until(&rollout.name, Phase::Succeeded).await;
    // Nothing was started for what was refused.
    assert_eq!(world.driver.running(), [1]);
    world.stop().await;
}

#[tokio::test]
async fn a_quarantined_or_archived_version_is_refused_everywhere() {
    let mut world = World::new().await;
    world.peers.refuse(1, State::Quarantined);
    assert_eq!(
        reason(&world.try_start(1).await.unwrap_err()),
        "QUARANTINED"
    );
    world.peers.refuse(2, State::Archived);
    assert_eq!(reason(&world.try_start(2).await.unwrap_err()), "ARCHIVED");
    world.stop().await;
}

#[tokio::test]
async fn evidence_against_a_champion_that_has_moved_is_stale() {
    let mut world = guarded(endpoint()).await;
    world.peers.set_champion(&version(7));
    world.peers.evaluated(Evaluation {
        baseline_version: version(6),
        ..passed(1)
    });
    assert_eq!(
        reason(&world.try_start(1).await.unwrap_err()),
        "EVIDENCE_STALE_BASELINE"
    );
    world.peers.evaluated(Evaluation {
        baseline_version: version(7),
        ..passed(1)
    });
    world.start(1).await;
    world.stop().await;
}

#[tokio::test]
async fn a_queued_rollout_asks_for_its_evidence_again_when_its_turn_comes() {
    let queue = Endpoint {
        second_rollout: endpoint::SecondRollout::Queue.into(),
        ..endpoint()
    };
    let mut world = guarded(queue).await;
    for number in 1..=3 {
        world.peers.evaluated(passed(number));
    }
    let canary = world.with_canary().await;
    let queued = world.start(3).await;
    world.peers.refuse(3, State::Quarantined);
    world.peers.judge(Health::Healthy);
    world.until(&canary.name, Phase::Succeeded).await;
    let done = world.until(&queued.name, Phase::Failed).await;
    assert_eq!(done.why, "refused");
    assert!(done.reason.contains("quarantined"), "{}", done.reason);
    world.stop().await;
}

#[tokio::test]
async fn without_the_other_services_nothing_starts_and_the_caller_may_try_again() {
    let mut world = World::new().await;
    world.peers.go_away().await;
    let refused = world.try_start(1).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    world.stop().await;
}
