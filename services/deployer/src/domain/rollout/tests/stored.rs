//! States that were stored are read again, today's and yesterday's.

use super::*;

#[test]
fn a_stored_rollout_resumes_in_every_phase() {
    let mut story = Story::canary();
    let mut stored = vec![serde_json::to_string(&story.rollout).unwrap()];
    story.until_first_step();
    stored.push(serde_json::to_string(&story.rollout).unwrap());
    story.applied().judged(Verdict::Insufficient).wait(HOUR);
    stored.push(serde_json::to_string(&story.rollout).unwrap());
    story.judged(Verdict::Degraded);
    stored.push(serde_json::to_string(&story.rollout).unwrap());
    story.applied();
    stored.push(serde_json::to_string(&story.rollout).unwrap());
    let phases: Vec<&str> = stored
        .iter()
        .map(|text| {
            let rollout: Rollout = serde_json::from_str(text).unwrap();
            assert_eq!(&serde_json::to_string(&rollout).unwrap(), text);
            rollout.phase.name()
        })
        .collect();
    assert_eq!(
        phases,
        [
            "PENDING",
            "SHIFTING",
            "PAUSED",
            "ROLLING_BACK",
            "ROLLED_BACK"
        ]
    );
}

#[test]
fn a_rollout_stored_by_the_first_release_goes_on() {
    let text = include_str!("stored_shifting_v1.json");
    let rollout: Rollout = serde_json::from_str(text).unwrap();
    let event = RolloutEvent::Judged {
        revision: V2,
        generation: 8,
        verdict: Verdict::Degraded,
        decision: "decision-1".into(),
        text: "20 of 100 failed".into(),
    };
    let step = step(&rollout, &event, Timestamp(2_000_000_000)).unwrap();
    assert_eq!(step.next.phase.name(), "ROLLING_BACK");
}
