use std::time::Duration;

use proptest::prelude::*;
use slipway_platform::clock::Timestamp;
use slipway_platform::config::Secret;

use super::*;
use crate::domain::books::Position;
use crate::domain::channel::{Channel, Target};
use crate::domain::notification::Notification;
use crate::domain::outcome::Outcome;
use crate::domain::policy::Policy;
use crate::domain::subject::Subject;
use crate::domain::verdict;
use crate::domain::watch::{Decision, Watch, WatchState};

fn watch(rollout: bool, policy: Policy) -> Watch {
    let subject = Subject {
        endpoint: "environments/prod/endpoints/m".parse().unwrap(),
        rollout: rollout.then(|| {
            "environments/prod/endpoints/m/rollouts/018f0000-0000-7000-8000-000000000000"
                .parse()
                .unwrap()
        }),
        candidate: "environments/prod/endpoints/m/revisions/m-00002"
            .parse()
            .unwrap(),
        stable: Some(
            "environments/prod/endpoints/m/revisions/m-00001"
                .parse()
                .unwrap(),
        ),
    };
    Watch::new(subject, policy, 0.6, Timestamp(5)).unwrap()
}

fn stored(state: &WatchState) -> WatchState {
    WatchState::from_bytes(&state.to_bytes()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_watch_comes_back_as_it_was(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0i64..5), 0..120), rollout: bool,
    ) {
        let policy = Policy {
            stale_after: Duration::from_millis(1_234),
            grpc_failure_codes: vec![1, 16],
            ..Policy::default()
        };
        let mut watch = watch(rollout, policy);
        for (number, &(candidate, failed, generation)) in (0..).zip(&steps) {
            let subject = watch.subject().clone();
            let revision = if candidate { subject.candidate } else { subject.stable.unwrap() };
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            watch.observe(&revision, outcome, generation, Timestamp(number * 40_000_000));
        }
        let mut state = watch.state();
        let now = Timestamp(120 * 40_000_000);
        state.decision = Some(Decision {
            id: "d".into(),
            alert: "a".into(),
            finding: verdict::judge(&watch.inputs(now)).unwrap(),
            time: now,
        });
        prop_assert_eq!(format!("{:?}", stored(&state)), format!("{state:?}"));
        let decision = StoredDecision {
            subject: state.subject.clone(),
            inputs: watch.inputs(now),
            decision: state.decision.clone().unwrap(),
        };
        let back = StoredDecision::from_bytes(&decision.to_bytes()).unwrap();
        prop_assert_eq!(verdict::judge(&back.inputs).unwrap(), back.decision.finding.clone());
        prop_assert_eq!(back, decision);
    }
}

#[test]
fn channels_and_notifications_come_back_with_their_secrets() {
    let name = "channels/ops".parse().unwrap();
    let channel = Channel {
        name,
        environment: Some("environments/prod".parse().unwrap()),
        target: Target::Webhook {
            url: Secret::new("https://a/?t=1"),
            signing: Secret::new("whsec_x"),
        },
        disabled: Some("gone".into()),
        updated: Timestamp(7),
        generation: 3,
    };
    assert_eq!(Channel::from_bytes(&channel.to_bytes()).unwrap(), channel);
    let notification = Notification::test("channels/ops", Timestamp(8));
    assert_eq!(
        Notification::from_bytes(&notification.to_bytes()).unwrap(),
        notification
    );
}

#[test]
fn what_a_judge_leaves_comes_back() {
    let state = JudgeState {
        positions: [("a".to_owned(), Position { book: 2, number: 7 })].into(),
        nodes: vec!["p".to_owned()],
    };
    assert_eq!(JudgeState::from_bytes(&state.to_bytes()).unwrap(), state);
}

#[test]
fn bytes_that_are_no_document_are_an_error() {
    assert!(WatchState::from_bytes(b"\xff").is_err());
    assert!(
        WatchState::from_bytes(b"").is_err(),
        "a watch without a subject"
    );
    assert!(Channel::from_bytes(b"").is_err());
}
