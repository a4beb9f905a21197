//! What people do: abort, pause, resume, promote, pin, and a second rollout.

use super::*;
use crate::domain::admission::{Admission, SecondRollout, admit};

#[test]
fn an_abort_before_traffic_fails_and_touches_nothing() {
    let mut story = Story::canary();
    story.hear(abort());
    assert_eq!(
        (story.phase(), story.why(), story.serving.generation),
        ("FAILED", "aborted", 7)
    );
    assert_eq!(story.refuses(abort()), Rejected::Ended);
}

#[test]
fn an_abort_with_traffic_wins_and_blocks() {
    let mut story = Story::canary();
    story.until_first_step().healthy_step().hear(abort());
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "aborted", 0)
    );
    assert!(story.serving.blocked.contains(&V2));
    let before = story.serving.clone();
    story.hear(abort());
    assert_eq!(story.serving, before);
    assert_eq!(story.refuses(promote(true)), Rejected::NotPromotable);
}

#[test]
fn pausing_keeps_the_traffic_and_resuming_begins_the_hold_anew() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Healthy)
        .hear(pause())
        .wait(HOUR);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "requested", 10)
    );
    assert_eq!(story.refuses(pause()), Rejected::NotPausable);
    let generation = story.serving.generation;
    story.hear(RolloutEvent::Resume);
    assert_eq!(
        (story.phase(), story.share(), story.serving.generation),
        ("SHIFTING", 10, generation)
    );
    assert_eq!(story.refuses(RolloutEvent::Resume), Rejected::NotPaused);
    story.wait(MINUTE);
    assert_eq!(story.share(), 50);
}

#[test]
fn a_paused_candidate_that_degrades_goes_back() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .hear(pause())
        .judged(Verdict::Degraded);
    assert_eq!((story.phase(), story.share()), ("ROLLING_BACK", 0));
}

#[test]
fn pausing_before_traffic_starts_over_and_expires_without_touching_it() {
    let mut story = Story::canary();
    story.hear(RolloutEvent::TurnCame {
        stable: Some(V1),
        generation: 7,
        pinned: false,
    });
    story.hear(RolloutEvent::GatePassed).hear(pause());
    assert_eq!(
        story.refuses(RolloutEvent::Provisioned { revision: V2 }),
        Rejected::Stale
    );
    story.hear(RolloutEvent::Resume);
    assert_eq!(story.phase(), "PROVISIONING");
    story.hear(pause()).wait(24 * HOUR);
    assert_eq!(
        (story.phase(), story.why(), story.serving.generation),
        ("FAILED", "pause_expired", 7)
    );
}

#[test]
fn promoting_moves_one_step_on_or_to_the_end_and_is_a_waiver() {
    let mut story = Story::canary();
    story.until_first_step().applied().hear(promote(false));
    assert_eq!(
        (story.phase(), story.share(), story.rollout.waivers.len()),
        ("SHIFTING", 50, 1)
    );
    story.applied().hear(promote(true));
    assert_eq!((story.phase(), story.share()), ("SOAKING", 100));
    story.applied();
    assert_eq!(
        (story.phase(), story.rollout.waivers.len()),
        ("SUCCEEDED", 2)
    );
    assert!(!story.serving.known_good.last().unwrap().judged);
}

#[test]
fn promoting_out_of_a_pause_for_want_of_evidence_goes_on() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .judged(Verdict::Insufficient)
        .wait(HOUR)
        .hear(promote(false));
    assert_eq!((story.phase(), story.share()), ("SHIFTING", 50));
}

#[test]
fn a_promoted_candidate_that_degrades_before_the_end_still_goes_back() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .hear(promote(true))
        .judged(Verdict::Degraded);
    assert_eq!((story.phase(), story.share()), ("ROLLING_BACK", 0));
}

#[test]
fn traffic_that_somebody_else_changed_pauses_the_next_step() {
    let mut story = Story::canary();
    story.until_first_step().applied().judged(Verdict::Healthy);
    story.serving.generation += 1;
    story.wait(MINUTE);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "traffic_changed", 10)
    );
    story.hear(RolloutEvent::Resume);
    assert_eq!((story.phase(), story.share()), ("SHIFTING", 50));
}

#[test]
fn automation_never_overrides_a_pin() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .pinned_by_hand(Traffic::split(V2, 30, Some(V1)));
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "pinned", 30)
    );
    story.judged(Verdict::Degraded).judged(Verdict::Degraded);
    assert_eq!((story.phase(), story.share()), ("PAUSED", 30));
    assert_eq!(story.pages(), ["rollback_withheld"]);
    story.wait(24 * HOUR);
    assert_eq!((story.phase(), story.share()), ("PAUSED", 30));
    assert_eq!(story.refuses(RolloutEvent::Resume), Rejected::Pinned);
    assert_eq!(story.refuses(promote(true)), Rejected::Pinned);
    assert_eq!(story.refuses(abort()), Rejected::Pinned);
    // When the pin ends, what was withheld is done.
    story.unpinned();
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "degraded", 0)
    );
}

#[test]
fn a_person_aborts_past_a_pin_by_saying_so() {
    let mut story = Story::canary();
    story
        .until_first_step()
        .applied()
        .pinned_by_hand(Traffic::all(V2));
    story.hear(RolloutEvent::Abort {
        reason: "enough".into(),
        to: None,
        unpin: true,
    });
    assert_eq!((story.phase(), story.share()), ("ROLLING_BACK", 0));
    assert_eq!(story.serving.pin, None);
}

#[test]
fn a_pin_before_the_first_step_holds_the_rollout_there() {
    let mut story = Story::canary();
    story.hear(RolloutEvent::TurnCame {
        stable: Some(V1),
        generation: 7,
        pinned: false,
    });
    story.pinned_by_hand(Traffic::all(V1));
    story
        .hear(RolloutEvent::GatePassed)
        .hear(RolloutEvent::Provisioned { revision: V2 });
    story.serving.ready.insert(V2);
    story.hear(RolloutEvent::HealthPassed { revision: V2 });
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("PAUSED", "pinned", 0)
    );
    story.unpinned().hear(RolloutEvent::Resume);
    assert_eq!((story.phase(), story.share()), ("SHIFTING", 10));
    story.hear(abort());
    assert_eq!(story.phase(), "ROLLING_BACK");
}

#[test]
fn an_abort_of_a_rollout_held_before_traffic_leaves_the_pin_alone() {
    let mut story = Story::canary();
    story.pinned_by_hand(Traffic::all(V1)).until_first_step();
    assert_eq!(story.phase(), "PAUSED");
    story.hear(abort());
    assert_eq!((story.phase(), story.why()), ("FAILED", "aborted"));
    assert!(story.serving.pin.is_some());
}

#[test]
fn a_rollback_under_way_can_be_sent_to_another_revision() {
    let v0 = Revision(9);
    let mut story = Story::canary();
    story.until_first_step().applied().judged(Verdict::Degraded);
    story.hear(RolloutEvent::Abort {
        reason: "v1 too".into(),
        to: Some(v0),
        unpin: false,
    });
    assert_eq!(story.serving.traffic, Traffic::all(v0));
    assert_eq!(story.phase(), "ROLLING_BACK");
    story.applied();
    assert_eq!(story.phase(), "ROLLED_BACK");
}

#[test]
fn a_second_rollout_is_admitted_by_the_endpoints_policy() {
    use SecondRollout::*;
    let waiting = Story::canary().rollout;
    let mut story = Story::canary();
    story.until_first_step();
    let shifting = story.rollout.clone();
    story.judged(Verdict::Degraded);
    let going_back = story.rollout.clone();
    story.applied();
    let ended = story.rollout;
    let table = [
        (
            SupersedeBeforeShifting,
            [Admission::Supersede, Admission::Refuse, Admission::Refuse],
        ),
        (Queue, [Admission::Wait, Admission::Wait, Admission::Wait]),
        (
            Refuse,
            [Admission::Refuse, Admission::Refuse, Admission::Refuse],
        ),
        (
            Supersede,
            [Admission::Supersede, Admission::Supersede, Admission::Wait],
        ),
    ];
    for (policy, expected) in table {
        let running = [&waiting, &shifting, &going_back];
        assert_eq!(
            running.map(|running| admit(policy, Some(running))),
            expected,
            "{policy:?}"
        );
        assert_eq!(admit(policy, None), Admission::Begin);
        assert_eq!(admit(policy, Some(&ended)), Admission::Begin);
    }
}

#[test]
fn a_superseded_rollout_gives_way_and_is_not_blocked() {
    let mut waiting = Story::canary();
    waiting.hear(RolloutEvent::Superseded);
    assert_eq!((waiting.phase(), waiting.why()), ("FAILED", "superseded"));
    let mut story = Story::canary();
    story.until_first_step().hear(RolloutEvent::Superseded);
    assert_eq!(
        (story.phase(), story.why(), story.share()),
        ("ROLLING_BACK", "superseded", 0)
    );
    assert!(story.serving.blocked.is_empty());
}
