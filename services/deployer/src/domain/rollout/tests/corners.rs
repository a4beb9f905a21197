//! Corners: first rollouts, expiry, rollbacks that stall, incidents after promotion.

use super::*;
use crate::domain::incident::{Answer, Ignored, Withheld, answer};

#[test]
fn degraded_takes_all_traffic_back_in_the_same_decision() {
    let mut story = Story::canary();
    story.until_first_step().applied().judged(Verdict::Degraded);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "degraded", 0)
    );
    assert_eq!(story.serving.traffic, Traffic::all(V1));
    assert_eq!(story.serving.stable, Some(V1));
    assert!(story.serving.blocked.contains(&V2));
    assert!(!story.asked_for(&Command::AnnounceRollback));
    let decided = story.now;
    story.now = story.now + Duration::from_millis(30);
    story.applied();
    assert_eq!(story.phase(), "ROLLED_BACK");
    let record = story.rollout.rollback.clone().unwrap();
    assert_eq!(
        (record.decided_at, record.applied_at),
        (decided, Some(story.now))
    );
    assert!(story.asked_for(&Command::AnnounceRollback));
    assert!(story.asked_for(&Command::StopRevision {
        revision: V2,
        after: Duration::from_secs(10)
    }));
}

#[test]
fn degraded_wins_at_any_generation_and_in_the_soak() {
    let mut story = Story::canary();
    story.until_first_step();
    let early = story.says(Verdict::Degraded);
    story.healthy_step().healthy_step().healthy_step();
    assert_eq!(story.phase(), "SOAKING");
    story.hear(early);
    assert_eq!((story.phase(), story.share()), ("ROLLING_BACK", 0));
}

#[test]
fn a_rollback_restores_stable_even_when_somebody_else_changed_the_traffic() {
    let mut story = Story::canary();
    story.until_first_step().applied();
    story.serving.generation += 5;
    story.judged(Verdict::Degraded);
    assert_eq!((story.share(), story.serving.generation), (0, 14));
}

#[test]
fn a_first_rollout_goes_to_100_percent_at_once_and_its_failure_empties_the_traffic() {
    let mut story = Story::first();
    story.until_first_step();
    assert_eq!(
        (story.phase(), story.share(), story.rollout.step_index()),
        ("SHIFTING", 100, 2)
    );
    story.applied().judged(Verdict::Degraded);
    assert!(story.serving.traffic.is_empty());
    assert_eq!(story.pages(), ["no_last_known_good"]);
    assert_eq!(story.phase(), "ROLLING_BACK");
    story.applied();
    assert_eq!(
        (story.phase(), story.why()),
        ("FAILED", "no_last_known_good")
    );
    assert_eq!(story.serving.stable, None);
    assert!(story.asked_for(&Command::AnnounceRollback));
}

#[test]
fn a_candidate_that_does_not_start_or_answer_fails_and_traffic_is_untouched() {
    let fails: [(RolloutEvent, &str); 2] = [
        (
            RolloutEvent::ProvisionFailed {
                revision: V2,
                reason: "no such file".into(),
            },
            "provision_failed",
        ),
        (RolloutEvent::RevisionLost { revision: V2 }, "revision_lost"),
    ];
    for (event, why) in fails {
        let mut story = Story::canary();
        let turn = RolloutEvent::TurnCame {
            stable: Some(V1),
            generation: 7,
            pinned: false,
        };
        story.hear(turn).hear(RolloutEvent::GatePassed).hear(event);
        assert_eq!(
            (story.phase(), story.why(), story.serving.generation),
            ("FAILED", why, 7)
        );
        assert!(story.asked_for(&Command::StopRevision {
            revision: V2,
            after: Duration::ZERO
        }));
    }
}

#[test]
fn every_waiting_phase_expires_to_a_named_end() {
    let turn = RolloutEvent::TurnCame {
        stable: Some(V1),
        generation: 7,
        pinned: false,
    };
    let mut story = Story::canary();
    story.wait(24 * HOUR);
    assert_eq!((story.phase(), story.why()), ("FAILED", "pending_expired"));

    let mut story = Story::canary();
    story
        .hear(turn.clone())
        .hear(RolloutEvent::GatePassed)
        .wait(10 * MINUTE);
    assert_eq!(
        (story.phase(), story.why()),
        ("FAILED", "provisioning_expired")
    );

    let mut story = Story::canary();
    story
        .hear(turn)
        .hear(RolloutEvent::GatePassed)
        .hear(RolloutEvent::Provisioned { revision: V2 });
    story.wait(5 * MINUTE);
    assert_eq!((story.phase(), story.why()), ("FAILED", "checking_expired"));

    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .hear(pause())
        .wait(24 * HOUR);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "pause_expired", 0)
    );
}

#[test]
fn a_refused_version_never_starts() {
    let mut story = Story::canary();
    story.hear(RolloutEvent::TurnCame {
        stable: Some(V1),
        generation: 7,
        pinned: false,
    });
    story.hear(RolloutEvent::GateRefused {
        code: "NO_EVIDENCE".into(),
        reason: "no evaluation".into(),
    });
    assert_eq!((story.phase(), story.why()), ("FAILED", "refused"));
    assert!(
        !story
            .commands
            .iter()
            .any(|command| matches!(command, Command::Provision { .. }))
    );
}

#[test]
fn a_rollback_that_no_proxy_accepts_stays_stalled_and_pages_until_it_is_done() {
    let mut story = Story::canary();
    story.until_first_step().applied().judged(Verdict::Degraded);
    for pages in 1..4 {
        story.wait(MINUTE);
        assert_eq!(story.phase(), "ROLLING_BACK");
        assert_eq!(story.pages(), vec!["rollback_stalled"; pages]);
        assert_eq!(story.rollout.deadline, Some(story.now + MINUTE));
    }
    story.applied();
    assert_eq!(story.phase(), "ROLLED_BACK");
}

#[test]
fn a_candidate_that_dies_with_traffic_goes_back() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .hear(RolloutEvent::RevisionLost { revision: V2 });
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "revision_lost", 0)
    );
}

#[test]
fn a_stable_that_dies_is_an_alert_and_not_a_reason_to_move() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .hear(RolloutEvent::RevisionLost { revision: V1 });
    assert_eq!(
        (story.phase(), story.pages()),
        ("SHIFTING", vec!["revision_lost"])
    );
}

#[test]
fn a_candidate_that_is_not_ready_any_more_gets_no_traffic() {
    let mut story = Story::canary();
    story.hear(RolloutEvent::TurnCame {
        stable: Some(V1),
        generation: 7,
        pinned: false,
    });
    story
        .hear(RolloutEvent::GatePassed)
        .hear(RolloutEvent::Provisioned { revision: V2 });
    story.hear(RolloutEvent::HealthPassed { revision: V2 });
    assert_eq!(
        (story.phase(), story.why(), story.serving.generation),
        ("FAILED", "revision_lost", 7)
    );
}

fn promoted() -> Story {
    let mut story = Story::canary();
    story
        .until_first_step()
        .healthy_step()
        .healthy_step()
        .healthy_step()
        .wait(5 * MINUTE);
    assert_eq!(story.phase(), "SUCCEEDED");
    story.commands.clear();
    story
}

fn rollback(story: &Story, restore: Revision, cold: bool) -> BeginRollback {
    BeginRollback {
        at_fault: V2,
        restore,
        cold,
        why: RollbackWhy::Fault(Fault::Degraded {
            decision: "d".into(),
            text: "worse".into(),
        }),
        plan: story.rollout.plan.as_ref().clone(),
        unpin: false,
    }
}

#[test]
fn an_anomaly_after_promotion_puts_the_last_known_good_back_once() {
    let mut story = promoted();
    assert_eq!(
        answer(&story.serving, Some(&story.rollout), V2),
        Answer::RollBack { restore: V1 }
    );
    let step = begin_rollback(&story.serving, rollback(&story, V1, false), story.now).unwrap();
    let decision = settle(step, &story.serving, story.now);
    story.take(decision);
    assert_eq!(story.serving.traffic, Traffic::all(V1));
    assert_eq!(story.serving.restored, Some(V1));
    assert_eq!(
        answer(&story.serving, Some(&story.rollout), V2),
        Answer::Ignore(Ignored::AlreadyRollingBack)
    );
    story.applied();
    assert_eq!(story.phase(), "ROLLED_BACK");
    assert!(story.asked_for(&Command::MoveChampion { revision: V1 }));
    assert_eq!(
        answer(&story.serving, Some(&story.rollout), V2),
        Answer::Ignore(Ignored::NoTraffic)
    );
    // What a rollback has put back is not rolled back.
    assert_eq!(
        answer(&story.serving, None, V1),
        Answer::Withhold(Withheld::RestoredRevision)
    );
}

#[test]
fn a_cold_rollback_starts_and_checks_what_it_restores_first() {
    let mut story = promoted();
    let step = begin_rollback(&story.serving, rollback(&story, V1, true), story.now).unwrap();
    let decision = settle(step, &story.serving, story.now);
    story.take(decision);
    assert_eq!(story.serving.traffic, Traffic::all(V2));
    assert!(story.rollout.rollback.as_ref().unwrap().cold);
    assert!(story.asked_for(&Command::Provision { revision: V1 }));
    story.hear(RolloutEvent::ProvisionFailed {
        revision: V1,
        reason: "disk".into(),
    });
    assert_eq!(
        (story.phase(), story.pages()),
        ("ROLLING_BACK", vec!["rollback_stalled"])
    );
    story
        .wait(MINUTE)
        .hear(RolloutEvent::Provisioned { revision: V1 });
    story.hear(RolloutEvent::HealthPassed { revision: V1 });
    assert_eq!(story.serving.traffic, Traffic::all(V1));
    story.applied();
    assert_eq!(story.phase(), "ROLLED_BACK");
}

#[test]
fn an_anomaly_is_withheld_under_a_pin_and_without_a_last_known_good() {
    let mut story = promoted();
    story.serving.pin = Some(Pin {
        reason: "r".into(),
        by: "ana".into(),
        expires_at: story.now + HOUR,
    });
    assert_eq!(
        answer(&story.serving, None, V2),
        Answer::Withhold(Withheld::Pinned)
    );
    assert_eq!(
        begin_rollback(&story.serving, rollback(&story, V1, false), story.now),
        Err(Rejected::Pinned)
    );
    story.serving.pin = None;
    story.serving.attribute_alert(V1);
    assert_eq!(
        answer(&story.serving, None, V2),
        Answer::Withhold(Withheld::NoLastKnownGood)
    );
    assert_eq!(
        answer(&story.serving, None, Revision(9)),
        Answer::Ignore(Ignored::NoTraffic)
    );
}

#[test]
fn an_anomaly_on_stable_holds_the_rollout() {
    let mut story = Story::canary();
    story.until_first_step().applied();
    assert_eq!(
        answer(&story.serving, Some(&story.rollout), V2),
        Answer::TellRollout
    );
    assert_eq!(
        answer(&story.serving, Some(&story.rollout), V1),
        Answer::HoldRollout
    );
    story.hear(RolloutEvent::StableAtFault {
        decision: "d".into(),
    });
    assert_eq!(
        (story.phase(), story.why(), story.pages()),
        ("PAUSED", "stable_at_fault", vec!["stable_at_fault"])
    );
}
