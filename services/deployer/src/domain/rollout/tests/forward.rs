//! Moving forward: evidence, holds, acceptance by proxies, and what is missing.

use super::*;
use crate::domain::strategy::OnInsufficient;

#[test]
fn a_healthy_candidate_goes_through_every_step_and_becomes_stable() {
    let mut story = Story::canary();
    story.until_first_step();
    for share in [10, 50, 100] {
        assert_eq!((story.phase(), story.share()), ("SHIFTING", share));
        story.healthy_step();
    }
    assert_eq!(story.phase(), "SOAKING");
    assert!(!story.rollout.ended());
    story.wait(5 * MINUTE);
    assert_eq!(story.phase(), "SUCCEEDED");
    assert_eq!(story.serving.stable, Some(V2));
    assert_eq!(story.serving.last_known_good(Some(V2)), Some(V1));
    assert_eq!(story.serving.last_known_good(None), Some(V2));
    assert!(story.asked_for(&Command::MoveChampion { revision: V2 }));
    assert!(story.asked_for(&Command::StopRevision {
        revision: V1,
        after: 24 * HOUR
    }));
    assert_eq!(story.rollout.waivers, []);
    assert_eq!(story.rollout.deadline, None);
    assert_eq!(story.serving.generation, 10);
}

#[test]
fn healthy_before_the_hold_is_over_waits_for_it() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Healthy)
        .wait(MINUTE - Duration::from_secs(1));
    assert_eq!(story.share(), 10);
    story.wait(Duration::from_secs(1));
    assert_eq!(story.share(), 50);
}

#[test]
fn the_hold_counts_from_the_moment_that_every_proxy_has_it() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .wait(10 * MINUTE)
        .judged(Verdict::Healthy);
    assert_eq!(story.share(), 10);
    story.applied();
    assert_eq!((story.phase(), story.share()), ("SHIFTING", 10));
    assert_eq!(story.rollout.next_tick(story.now), Some(story.now + MINUTE));
}

#[test]
fn traffic_that_no_proxy_accepted_never_advances_and_pauses_at_the_deadline() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .judged(Verdict::Healthy)
        .wait(30 * MINUTE);
    assert_eq!(story.phase(), "SHIFTING");
    story.wait(30 * MINUTE);
    assert_eq!((story.phase(), story.why()), ("PAUSED", "unapplied"));
    assert_eq!(story.refuses(promote(false)), Rejected::Unapplied);
    assert_eq!(story.refuses(promote(true)), Rejected::Unapplied);
}

#[test]
fn a_lost_proxy_holds_a_step_back_but_not_a_rollback() {
    let mut story = Story::canary();
    story.until_first_step();
    let generation = story.serving.generation;
    let lost = RolloutEvent::TrafficApplied {
        generation,
        except: vec!["p7".into()],
    };
    assert_eq!(story.refuses(lost.clone()), Rejected::Stale);
    story.applied().hear(lost);
    assert!(!story.rollout.is_applied());
    story.judged(Verdict::Degraded);
    let generation = story.serving.generation;
    story.hear(RolloutEvent::TrafficApplied {
        generation,
        except: vec!["p7".into()],
    });
    assert_eq!(story.phase(), "ROLLED_BACK");
    assert_eq!(story.rollout.rollback.unwrap().not_applied_on, ["p7"]);
}

#[test]
fn proxies_that_come_and_go_do_not_extend_a_step_for_ever() {
    let mut story = Story::canary();
    story.until_first_step().applied().judged(Verdict::Healthy);
    for _ in 0..119 {
        story
            .hear(RolloutEvent::TrafficUnapplied)
            .wait(MINUTE / 2)
            .applied();
    }
    assert_eq!(story.phase(), "SHIFTING");
    story.hear(RolloutEvent::TrafficUnapplied).wait(MINUTE / 2);
    assert_eq!((story.phase(), story.why()), ("PAUSED", "unapplied"));
}

#[test]
fn a_verdict_on_an_earlier_generation_does_not_advance() {
    let mut story = Story::canary();
    story.until_first_step();
    let old = story.says(Verdict::Healthy);
    story.healthy_step().applied().wait(MINUTE);
    assert_eq!(story.share(), 50);
    assert_eq!(story.refuses(old), Rejected::Stale);
}

#[test]
fn missing_evidence_pauses_and_says_which_kind_was_missing() {
    for (verdict, why) in [
        (Verdict::Insufficient, "insufficient"),
        (Verdict::Unmeasurable, "unmeasurable"),
    ] {
        let mut story = Story::canary();
        story
            .until_first_step()
            .applied()
            .judged(verdict)
            .wait(HOUR);
        assert_eq!(
            (story.phase(), story.why(), story.share()),
            ("PAUSED", why, 10)
        );
        assert_eq!(story.pages(), ["rollout_paused"]);
    }
    let mut silent = Story::canary();
    silent.until_first_step().applied().wait(HOUR);
    assert_eq!(silent.why(), "unmeasurable");
}

#[test]
fn on_insufficient_extends_at_most_three_times_then_pauses() {
    let mut story = Story::canary();
    Arc::make_mut(&mut story.rollout.plan).strategy.steps[0].on_insufficient =
        OnInsufficient::Extend;
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Insufficient);
    for _ in 0..3 {
        story.wait(HOUR);
        assert_eq!(story.phase(), "SHIFTING");
    }
    story.wait(HOUR);
    assert_eq!((story.phase(), story.why()), ("PAUSED", "insufficient"));
}

#[test]
fn on_insufficient_can_roll_back_but_not_when_it_could_not_be_measured() {
    let mut story = Story::canary();
    Arc::make_mut(&mut story.rollout.plan).strategy.steps[0].on_insufficient =
        OnInsufficient::Rollback;
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Insufficient)
        .wait(HOUR);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "insufficient", 0)
    );

    let mut blind = Story::canary();
    Arc::make_mut(&mut blind.rollout.plan).strategy.steps[0].on_insufficient =
        OnInsufficient::Rollback;
    blind
        .until_first_step()
        .applied()
        .judged(Verdict::Unmeasurable)
        .wait(HOUR);
    assert_eq!((blind.phase(), blind.why()), ("PAUSED", "unmeasurable"));
}

#[test]
fn the_timed_half_promotes_after_three_minutes_as_a_waiver() {
    let mut story = Story::of(Story::canary().serving, Strategy::timed_half());
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Insufficient);
    assert_eq!(story.share(), 50);
    story.wait(3 * MINUTE);
    assert_eq!((story.phase(), story.share()), ("SHIFTING", 100));
    assert_eq!(
        story.rollout.waivers,
        [Waiver {
            step: Some(0),
            by: WaivedBy::Strategy,
            verdict: Verdict::Insufficient
        }]
    );
    story.applied().judged(Verdict::Insufficient);
    assert_eq!(story.phase(), "SUCCEEDED");
    assert!(!story.serving.known_good.last().unwrap().judged);
}

#[test]
fn the_timed_half_does_not_promote_what_could_not_be_measured() {
    let mut story = Story::of(Story::canary().serving, Strategy::timed_half());
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Unmeasurable)
        .wait(3 * MINUTE);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "unmeasurable", 50)
    );
}

#[test]
fn a_soak_that_loses_its_evidence_pauses_at_its_deadline() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .healthy_step()
        .healthy_step()
        .healthy_step();
    story.judged(Verdict::Unmeasurable).wait(5 * MINUTE);
    assert_eq!(story.phase(), "SOAKING");
    story.wait(HOUR);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "unmeasurable", 100)
    );
}

#[test]
fn a_waived_revision_is_known_good_only_when_there_is_no_other() {
    let good = |revision, since, judged| KnownGood {
        revision,
        since: Timestamp(since),
        judged,
    };
    let mut serving = Serving {
        known_good: vec![good(V1, 1, true), good(V2, 2, false)],
        ..Serving::default()
    };
    assert_eq!(serving.last_known_good(None), Some(V1));
    serving.attribute_alert(V1);
    assert_eq!(serving.last_known_good(None), Some(V2));
    assert_eq!(serving.last_known_good(Some(V2)), None);
}
