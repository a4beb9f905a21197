//! What is made of what was observed, and what is not let pass.

use slipway_examples::load::{Answer, Outcome};

use super::*;

const DECISION: &str = "decision-1";

fn answers(
    tally: &mut Tally,
    users: std::ops::Range<u32>,
    revision: &str,
    status: Option<u16>,
    millis: u64,
) {
    for user in users {
        tally.record(Answer {
            user,
            answered: Duration::from_millis(millis),
            latency: Duration::from_millis(3),
            outcome: match status {
                None => Outcome::Served,
                Some(status) => Outcome::Refused {
                    status,
                    reason: String::new(),
                },
            },
            revision: Some(revision.to_owned()),
            model_version: None,
        });
    }
}

fn life(number: i64, verdict: Verdict, phase: Option<Phase>) -> Life {
    let rollout = phase.map(|phase| deployer::Rollout {
        candidate: format!("{ENDPOINT}/revisions/tumor-{number:05}"),
        phase: phase.into(),
        decision_id: DECISION.to_owned(),
        rollback_applied_time: Some(Timestamp(1_030_000).to_proto()),
        ..Default::default()
    });
    let at_fault = phase == Some(Phase::RolledBack);
    Life {
        version: registry::Version {
            number,
            ..Default::default()
        },
        verdict,
        rollout,
        refusal: (at_fault || verdict == Verdict::Fail).then(|| "refused".to_owned()),
        alert: at_fault.then(|| detector::Alert {
            start_time: Some(Timestamp(1_000_000).to_proto()),
            decision_id: DECISION.to_owned(),
            ..Default::default()
        }),
        blocked: at_fault,
    }
}

fn as_it_should_be() -> Observed {
    let mut tally = Tally::default();
    answers(&mut tally, 0..600, "tumor-00002", None, 900);
    answers(&mut tally, 0..20, "tumor-00004", None, 1000);
    answers(&mut tally, 20..22, "tumor-00004", Some(500), 1100);
    answers(&mut tally, 22..25, "tumor-00004", Some(500), 1450);
    Observed {
        lives: vec![
            life(1, Verdict::Pass, Some(Phase::Succeeded)),
            life(2, Verdict::Pass, Some(Phase::Succeeded)),
            life(3, Verdict::Fail, None),
            life(4, Verdict::Pass, Some(Phase::RolledBack)),
        ],
        champion: Some(2),
        serving: Some(2),
        tally,
        moves_without_reason: 0,
        elapsed: Duration::from_millis(31_460),
        unmet: Vec::new(),
    }
}

#[test]
fn a_story_that_went_as_it_should_is_said_in_one_object() {
    let observed = as_it_should_be().checked();
    assert_eq!(observed.unmet, Vec::<String>::new());
    assert_eq!(
        serde_json::to_string(&observed.summary()).unwrap(),
        "{\"promoted\":[1,2],\"refused\":[3],\"rolled_back\":[4],\"serving\":2,\"requests\":625,\"failed_by_v4\":5,\
         \"dropped\":0,\"first_bad_to_last_bad_ms\":350,\"anomaly_to_applied_ms\":30,\"seconds\":31.5}"
    );
}

#[test]
fn every_departure_from_the_story_is_found() {
    type Departure = fn(&mut Observed);
    let departures: [(Departure, &str); 13] = [
        (
            |o| o.lives[1] = life(2, Verdict::Pass, Some(Phase::Failed)),
            "promoted: [1]",
        ),
        (|o| o.lives[2].refusal = None, "refused by evaluation: []"),
        (
            |o| o.lives[2] = life(3, Verdict::Inconclusive, None),
            "verdicts",
        ),
        (
            |o| o.lives[3] = life(4, Verdict::Pass, Some(Phase::Succeeded)),
            "rolled back: []",
        ),
        (|o| o.lives[3].alert = None, "no alert"),
        (|o| o.lives[3].blocked = false, "not blocked"),
        (|o| o.lives[3].refusal = None, "deployed again"),
        (
            |o| o.lives[3].alert.as_mut().unwrap().decision_id.clear(),
            "different decisions",
        ),
        (|o| o.serving = None, "serving"),
        (|o| o.champion = Some(4), "champion"),
        (|o| o.moves_without_reason = 1, "changed revision"),
        (|o| o.tally = Tally::default(), "only 0 users"),
        (
            |o| o.lives[3].rollout.as_mut().unwrap().rollback_applied_time = None,
            "not known",
        ),
    ];
    for (depart, says) in departures {
        let mut observed = as_it_should_be();
        depart(&mut observed);
        let unmet = observed.checked().unmet.join("; ");
        assert!(unmet.contains(says), "{unmet:?} does not say {says:?}");
    }
}

#[test]
fn only_the_faults_of_what_was_rolled_back_are_not_dropped() {
    for (revision, status) in [("tumor-00004", 503), ("tumor-00002", 500)] {
        let mut observed = as_it_should_be();
        answers(&mut observed.tally, 1..2, revision, Some(status), 1200);
        assert_eq!(observed.dropped(), 1);
        assert_eq!(observed.failed_by_fault(), 5);
        assert!(!observed.checked().as_it_should());
    }
}
