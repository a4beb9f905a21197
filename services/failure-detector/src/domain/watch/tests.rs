use std::time::Duration;

use proptest::prelude::*;
use slipway_platform::names::{EndpointName, RolloutName};

use super::*;

fn endpoint() -> EndpointName {
    "environments/prod/endpoints/m".parse().unwrap()
}

fn revision(number: u32) -> RevisionName {
    RevisionName::new(&endpoint(), number).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000) + Duration::from_secs(seconds)
}

fn watch(rollout: bool, stable: bool) -> Watch {
    let name = "environments/prod/endpoints/m/rollouts/018f0000-0000-7000-8000-000000000000";
    let subject = Subject {
        endpoint: endpoint(),
        rollout: rollout.then(|| name.parse::<RolloutName>().unwrap()),
        candidate: revision(2),
        stable: stable.then(|| revision(1)),
    };
    let policy = Policy {
        average_run_length: 1_000.0,
        ..Policy::default()
    };
    Watch::new(subject, policy, 0.75, at(0)).unwrap()
}

fn outcome(failed: bool) -> Outcome {
    if failed {
        Outcome::Failure
    } else {
        Outcome::Success
    }
}

fn feed(watch: &mut Watch, number: u32, failed: bool, second: u64) {
    assert!(watch.observe(&revision(number), outcome(failed), 1, at(second)));
}

fn decision(watch: &mut Watch, second: u64) -> Decision {
    let finding = verdict::judge(&watch.pending(at(second)).unwrap()).unwrap();
    Decision {
        id: "d".into(),
        alert: "a".into(),
        finding,
        time: at(second),
    }
}

#[test]
fn a_decision_is_said_only_once_it_is_stored_and_then_for_good() {
    let mut watch = watch(true, true);
    for second in 0..60 {
        feed(&mut watch, 1, false, second);
        feed(&mut watch, 2, second % 2 == 0, second);
    }
    assert_eq!(watch.code(None, at(60)), Code::MoreNeeded);
    let decision = decision(&mut watch, 60);
    assert_eq!(decision.finding.health(), Health::Degraded);
    watch.decided(decision.clone());
    assert!(watch.pending(at(61)).is_none());
    for second in 61..400 {
        feed(&mut watch, 2, false, second);
    }
    let problem = Problem {
        code: Code::NoAccessLog,
        text: String::new(),
    };
    assert_eq!(watch.finding(Some(&problem), at(400)), decision.finding);
}

#[test]
fn a_decision_that_was_not_stored_is_reached_again_after_a_restart() {
    let mut watch = watch(true, false);
    for second in 0..20 {
        feed(&mut watch, 2, true, second);
    }
    assert!(watch.pending(at(20)).is_some());
    let mut resumed = Watch::resume(watch.state()).unwrap();
    assert_eq!(decision(&mut resumed, 20).finding.code, Code::OverLimit);
}

#[test]
fn whatever_a_look_finds_is_pending_too() {
    let mut watch = watch(true, true);
    for step in 0..2_000u64 {
        feed(&mut watch, 1, false, 0);
        if step % 100 == 50 {
            feed(&mut watch, 2, true, 0);
            watch.finding(None, at(0));
            let judged = verdict::judge(&watch.inputs(at(0))).unwrap();
            let degraded = judged.health() == Health::Degraded;
            assert_eq!(watch.pending(at(0)).is_some(), degraded, "after {step}");
            if degraded {
                return;
            }
        }
    }
    panic!("nothing but failures among so many successes is enough");
}

#[test]
fn what_was_dismissed_is_judged_again_from_the_counts() {
    let mut watch = watch(true, false);
    for second in 0..20 {
        feed(&mut watch, 2, true, second / 10);
    }
    assert!(watch.pending(at(1)).is_some());
    watch.dismiss();
    assert!(watch.pending(at(1)).is_none());
    watch.finding(None, at(1));
    assert!(watch.pending(at(1)).is_some(), "the counts still say so");
}

#[test]
fn what_cannot_be_seen_is_not_what_is_not_enough() {
    let mut watch = watch(true, true);
    let problem = Problem {
        code: Code::LogDrops,
        text: "5 lost".into(),
    };
    assert_eq!(watch.finding(None, at(1)).health(), Health::Insufficient);
    let finding = watch.finding(Some(&problem), at(1));
    assert_eq!(
        (finding.health(), finding.text.as_str()),
        (Health::Unmeasurable, "5 lost")
    );
}

#[test]
fn other_revisions_are_not_judged() {
    let mut watch = watch(true, true);
    assert!(!watch.observe(&revision(3), Outcome::Failure, 1, at(0)));
    assert_eq!(watch.last_observation(), None);
}

#[test]
fn a_newer_generation_begins_a_segment_and_an_older_one_does_not() {
    let mut watch = watch(true, true);
    for (generation, second) in [(3, 0), (3, 1), (4, 2), (3, 3), (0, 4)] {
        watch.observe(&revision(2), Outcome::Success, generation, at(second));
    }
    assert_eq!(watch.state().evidence.segments.len(), 2);
}

#[test]
fn new_rules_keep_the_evidence() {
    let mut watch = watch(true, true);
    for second in 0..100 {
        feed(&mut watch, 1, second % 20 == 0, second);
        feed(&mut watch, 2, second % 20 == 0, second);
    }
    assert_eq!(watch.code(None, at(100)), Code::MoreNeeded);
    let tolerant = Policy {
        margin: 0.3,
        ..watch.policy().clone()
    };
    watch
        .reopen(tolerant, 0.75, 1, true, Counts::default(), at(100))
        .unwrap();
    assert_eq!(watch.code(None, at(100)), Code::WithinMargin);
    assert_eq!(
        watch.finding(None, at(100)).numbers.candidate.observations,
        100
    );
}

#[test]
fn the_policy_decides_about_grpc_codes() {
    let mut watch = watch(true, true);
    for code in [5, 14] {
        watch.observe(&revision(2), Outcome::Grpc(code), 1, at(0));
    }
    assert_eq!(watch.finding(None, at(0)).numbers.candidate.failures, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_live_finding_is_what_judging_its_inputs_gives(
        steps in prop::collection::vec((any::<bool>(), 0u8..10, 1i64..4), 1..150),
        bad in 0u8..6, rollout: bool, stable: bool,
    ) {
        let mut watch = watch(rollout, stable);
        for (second, &(candidate, draw, generation)) in (0..).zip(&steps) {
            let revision = revision(if candidate { 2 } else { 1 });
            watch.observe(&revision, outcome(candidate && draw < bad), generation, at(second / 10));
            let Some(inputs) = watch.pending(at(second / 10)) else { continue };
            let finding = verdict::judge(&inputs).unwrap();
            prop_assert_eq!(finding.health(), Health::Degraded);
            return Ok(());
        }
        let now = at(steps.len() as u64 / 10);
        let judged = verdict::judge(&watch.inputs(now)).unwrap();
        prop_assert_eq!(watch.finding(None, now), judged);
    }
}
