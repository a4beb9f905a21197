//! The evaluation's state machine: a table of its corners, and properties over random histories.

use std::time::Duration;

use proptest::prelude::*;
use slipway_platform::clock::Timestamp;

use super::reason::{Reason, Verdict};
use super::state::{Command, Event, Limits, Rejected, State, Step, step};

const LIMITS: Limits = Limits {
    queue: Duration::from_secs(100),
    run: Duration::from_secs(50),
    lease: Duration::from_secs(10),
    postpone: Duration::from_secs(5),
    losses_max: 3,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn start() -> Event {
    Event::Start { worker: "a".into() }
}

fn finish(worker: &str, verdict: Verdict) -> Event {
    Event::Finish {
        worker: worker.into(),
        verdict,
        reasons: vec![Reason::general(verdict, "X", "x")],
        valid_for: Duration::from_secs(1000),
    }
}

fn run(state: &State, event: Event, now: i64) -> Result<Step, Rejected> {
    step(state, event, at(now), &LIMITS)
}

fn running() -> State {
    run(&State::queued(at(0), &LIMITS), start(), 1)
        .unwrap()
        .next
}

fn error_code(state: &State) -> &str {
    match state {
        State::Completed {
            verdict: Verdict::Error,
            reasons,
            valid_until: None,
        } => &reasons[0].code,
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn goes_from_queue_to_verdict_and_tells_of_both() {
    let begun = run(&State::queued(at(0), &LIMITS), start(), 1).unwrap();
    assert_eq!(begun.commands, [Command::PublishStarted]);
    let done = run(&begun.next, finish("a", Verdict::Pass), 2).unwrap();
    assert_eq!(done.commands, [Command::PublishCompleted]);
    let State::Completed { valid_until, .. } = done.next else {
        panic!("not completed")
    };
    assert_eq!(valid_until, Some(at(1002)));
}

#[test]
fn only_a_pass_is_valid_for_a_time() {
    for verdict in [Verdict::Fail, Verdict::Inconclusive, Verdict::Error] {
        let done = run(&running(), finish("a", verdict), 2).unwrap().next;
        assert!(
            matches!(
                done,
                State::Completed {
                    valid_until: None,
                    ..
                }
            ),
            "{done:?}"
        );
    }
}

#[test]
fn both_waiting_states_end_at_their_deadline_without_a_verdict_about_the_version() {
    let queued = State::queued(at(0), &LIMITS);
    assert_eq!(run(&queued, Event::Tick, 99), Err(Rejected::NotDue));
    assert_eq!(
        error_code(&run(&queued, Event::Tick, 100).unwrap().next),
        "NOT_STARTED_IN_TIME"
    );
    assert_eq!(
        error_code(&run(&running(), Event::Tick, 51).unwrap().next),
        "NOT_DONE_IN_TIME"
    );
}

#[test]
fn a_lost_worker_means_running_again_and_the_third_loss_is_an_error() {
    let mut state = running();
    for _ in 0..2 {
        state = run(&state, Event::Tick, 12).unwrap().next;
        assert!(matches!(state, State::Queued { .. }), "{state:?}");
        let again = run(&state, start(), 12).unwrap();
        assert_eq!(again.commands, [], "it was told that it started");
        state = run(&again.next, Event::Renew { worker: "a".into() }, 1)
            .unwrap()
            .next;
    }
    let last = run(&state, Event::Lost, 13).unwrap();
    assert_eq!(error_code(&last.next), "WORKER_LOST");
    assert_eq!(last.commands, [Command::PublishCompleted]);
}

#[test]
fn what_cannot_be_reached_is_tried_again_until_the_queue_deadline_and_then_named() {
    let wait = Event::Postpone {
        worker: "a".into(),
        waiting_for: "the registry".into(),
    };
    let waiting = run(&running(), wait, 20).unwrap().next;
    assert_eq!(run(&waiting, start(), 24), Err(Rejected::NotDue));
    assert!(run(&waiting, start(), 25).is_ok());
    let over = run(&waiting, Event::Tick, 100).unwrap().next;
    assert_eq!(error_code(&over), "NOT_STARTED_IN_TIME");
    let State::Completed { reasons, .. } = over else {
        panic!("not completed")
    };
    assert!(
        reasons[0].text.contains("the registry"),
        "{}",
        reasons[0].text
    );
}

#[test]
fn another_worker_can_neither_finish_nor_renew() {
    for event in [
        finish("b", Verdict::Pass),
        Event::Renew { worker: "b".into() },
        Event::Release { worker: "b".into() },
    ] {
        assert_eq!(run(&running(), event, 2), Err(Rejected::NotYours));
    }
}

#[test]
fn one_that_ran_for_longer_than_it_may_wait_is_run_again_after_a_restart() {
    let late = 101;
    let release = Event::Release { worker: "a".into() };
    let waiting = run(&running(), release, late).unwrap().next;
    assert_eq!(run(&waiting, Event::Tick, late), Err(Rejected::NotDue));
    let start = Event::Start { worker: "b".into() };
    assert_eq!(run(&waiting, start, late).unwrap().next.name(), "RUNNING");
}

#[test]
fn a_cancelled_evaluation_is_an_error_and_stays_so() {
    let reason = "superseded".to_owned();
    let done = run(&running(), Event::Cancel { reason }, 2).unwrap().next;
    assert_eq!(error_code(&done), "CANCELLED");
    assert_eq!(
        run(&done, finish("a", Verdict::Pass), 3),
        Err(Rejected::Ended)
    );
}

#[test]
fn a_state_that_was_stored_resumes() {
    for state in [
        State::queued(at(7), &LIMITS),
        running(),
        run(&running(), finish("a", Verdict::Fail), 2).unwrap().next,
    ] {
        let stored = serde_json::to_vec(&state).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&stored).unwrap(), state);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let worker = prop_oneof![Just("a".to_owned()), Just("b".to_owned())];
    let verdict = prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Fail),
        Just(Verdict::Inconclusive),
        Just(Verdict::Error)
    ];
    prop_oneof![
        worker.clone().prop_map(|worker| Event::Start { worker }),
        worker.clone().prop_map(|worker| Event::Renew { worker }),
        worker.clone().prop_map(|worker| Event::Release { worker }),
        worker.clone().prop_map(|worker| Event::Postpone {
            worker,
            waiting_for: "x".into()
        }),
        Just(Event::Lost),
        Just(Event::Tick),
        Just(Event::Cancel { reason: "x".into() }),
        (worker, verdict).prop_map(|(worker, verdict)| finish(&worker, verdict)),
    ]
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants(events in proptest::collection::vec((any_event(), 0i64..30), 1..60)) {
        let mut state = State::queued(at(0), &LIMITS);
        let (mut now, mut started, mut completed) = (0, 0, 0);
        for (event, passes) in events {
            now += passes;
            let ended = matches!(state, State::Completed { .. });
            let Ok(done) = run(&state, event, now) else { continue };
            prop_assert!(!ended, "an end is final");
            started += done.commands.iter().filter(|c| **c == Command::PublishStarted).count();
            completed += done.commands.iter().filter(|c| **c == Command::PublishCompleted).count();
            state = done.next;
            prop_assert_eq!(matches!(state, State::Completed { .. }), state.due().is_none());
        }
        prop_assert!(started <= 1);
        prop_assert_eq!(completed, usize::from(matches!(state, State::Completed { .. })));
    }

    #[test]
    fn ticks_alone_end_every_history(events in proptest::collection::vec((any_event(), 0i64..5), 0..30)) {
        let mut state = State::queued(at(0), &LIMITS);
        let mut now = 0;
        for (event, passes) in events {
            now += passes;
            if let Ok(done) = run(&state, event, now) {
                state = done.next;
            }
        }
        for _ in 0..10 {
            let Some(due) = state.due() else { break };
            state = step(&state, Event::Tick, due.max(at(now)), &LIMITS).unwrap().next;
        }
        prop_assert!(state.due().is_none(), "{state:?}");
    }
}
