//! Properties of the rollout machine under any sequence of events at any times, for any valid strategy.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;
use slipway_deployer::domain::decide::decide;
use slipway_deployer::domain::rollout::{
    Deadlines, Phase, Plan, Rollout, RolloutEvent, Verdict, begin, step,
};
use slipway_deployer::domain::serving::{KnownGood, Pin, Serving};
use slipway_deployer::domain::strategy::{OnInsufficient, Strategy as Steps, TrafficStep};
use slipway_deployer::domain::traffic::{Revision, Traffic};
use slipway_platform::clock::Timestamp;

const STABLE: Revision = Revision(1);
const CANDIDATE: Revision = Revision(2);

fn strategies() -> impl Strategy<Value = Steps> {
    let on_insufficient = prop_oneof![
        Just(OnInsufficient::Pause),
        Just(OnInsufficient::Extend),
        Just(OnInsufficient::Rollback),
        Just(OnInsufficient::Promote),
    ];
    let step = (0u64..100, any::<bool>(), on_insufficient, 0u64..200);
    let steps = prop::collection::vec(step, 1..5);
    (steps, 0u64..100).prop_map(|(steps, soak)| {
        let count = steps.len();
        let steps = steps
            .into_iter()
            .enumerate()
            .map(
                |(index, (hold, require_healthy, on_insufficient, deadline))| TrafficStep {
                    percent: (100 * (index + 1) / count) as u8,
                    min_hold: Duration::from_secs(hold),
                    require_healthy,
                    on_insufficient,
                    deadline: Duration::from_secs(deadline),
                },
            )
            .collect();
        Steps {
            name: "any".into(),
            steps,
            soak: Duration::from_secs(soak),
            drain: Duration::from_secs(1),
        }
    })
}

/// An event, given the generation in force; the number says how far off a generation it speaks of.
fn events() -> impl Strategy<Value = (u64, i64, u8, u8)> {
    (0u64..400, -2i64..=1, 0u8..24, 0u8..4)
}

fn event(generation: i64, kind: u8, detail: u8) -> RolloutEvent {
    let verdict = [
        Verdict::Healthy,
        Verdict::Degraded,
        Verdict::Insufficient,
        Verdict::Unmeasurable,
    ][usize::from(detail % 4)];
    let revision = if detail < 3 { CANDIDATE } else { STABLE };
    let text = String::new;
    match kind {
        0 => RolloutEvent::TurnCame {
            stable: Some(STABLE),
            generation,
            pinned: false,
        },
        1 => RolloutEvent::GatePassed,
        2 => RolloutEvent::GateRefused {
            code: text(),
            reason: text(),
        },
        3 => RolloutEvent::Provisioned { revision },
        4 => RolloutEvent::ProvisionFailed {
            revision,
            reason: text(),
        },
        5 => RolloutEvent::HealthPassed { revision },
        6 => RolloutEvent::HealthFailed {
            revision,
            reason: text(),
        },
        7 => RolloutEvent::TrafficApplied {
            generation,
            except: vec![],
        },
        8 => RolloutEvent::TrafficApplied {
            generation,
            except: vec!["p7".into()],
        },
        9 => RolloutEvent::TrafficUnapplied,
        10 => RolloutEvent::TrafficDecided { generation },
        11 => RolloutEvent::TrafficConflict {
            current: generation,
        },
        12 => RolloutEvent::StableAtFault { decision: text() },
        13 => RolloutEvent::RevisionLost { revision },
        14 => RolloutEvent::Abort {
            reason: text(),
            to: None,
            unpin: detail > 1,
        },
        15 => RolloutEvent::Pause { reason: text() },
        16 => RolloutEvent::Resume,
        17 => RolloutEvent::Promote {
            full: detail > 1,
            reason: text(),
        },
        18 => RolloutEvent::Superseded,
        19 => RolloutEvent::PinReleased,
        20 | 21 => RolloutEvent::Tick,
        _ => RolloutEvent::Judged {
            revision,
            generation,
            verdict,
            decision: text(),
            text: text(),
        },
    }
}

fn served() -> Serving {
    Serving {
        generation: 3,
        traffic: Traffic::all(STABLE),
        stable: Some(STABLE),
        known_good: vec![KnownGood {
            revision: STABLE,
            since: Timestamp(0),
            judged: true,
        }],
        ready: [STABLE, CANDIDATE].into(),
        ..Serving::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events_keeps_the_invariants(
        strategy in strategies(),
        first in any::<bool>(),
        pin_at in prop::option::of(0usize..30),
        events in prop::collection::vec(events(), 1..60),
    ) {
        let mut serving = if first { Serving { ready: [CANDIDATE].into(), ..Serving::default() } } else { served() };
        let plan = Plan { strategy, deadlines: Deadlines::default(), rollback_window: Duration::from_secs(60) };
        let mut now = Timestamp(0);
        let mut rollout = begin(&serving, CANDIDATE, plan, now);
        for (index, (wait, off, kind, detail)) in events.into_iter().enumerate() {
            now = now + Duration::from_secs(wait);
            let mut heard = event(serving.generation + off, kind, detail);
            if pin_at == Some(index) {
                let pin = Pin { reason: String::new(), by: String::new(), expires_at: now };
                heard = RolloutEvent::PinSet { generation: serving.set_by_hand(serving.traffic.clone(), pin) };
            }
            if heard == RolloutEvent::PinReleased {
                serving.pin = None;
            }
            prop_assert_eq!(step(&rollout, &heard, now), step(&rollout, &heard, now));
            let was_ended = rollout.ended();
            let Ok(decision) = decide(&rollout, &serving, &heard, now) else { continue };
            prop_assert!(!was_ended, "an end was left by {:?}", heard);
            let sum: u32 = decision.serving.traffic.targets().iter().map(|t| u32::from(t.percent)).sum();
            prop_assert!(sum == 100 || decision.serving.traffic.is_empty());
            prop_assert!(decision.serving.generation - serving.generation <= 1);
            prop_assert_eq!(decision.rollout.deadline.is_none(), decision.rollout.ended());
            if let Some(tick) = decision.rollout.next_tick(now) {
                prop_assert!(Some(tick) <= decision.rollout.deadline);
            }
            if rollout.rollback.is_some() {
                let share = |serving: &Serving| serving.traffic.percent_of(CANDIDATE);
                prop_assert!(share(&decision.serving) <= share(&serving));
            }
            if matches!(decision.rollout.phase, Phase::RollingBack(_)) {
                prop_assert!(!decision.serving.traffic.carries(CANDIDATE));
            }
            let stored = serde_json::to_string(&decision.rollout).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Rollout>(&stored).unwrap(), &decision.rollout);
            rollout = decision.rollout;
            serving = decision.serving;
        }
    }

    #[test]
    fn a_rollout_that_nobody_answers_ends_by_its_deadlines_or_stays_armed(strategy in strategies()) {
        let plan = Plan { strategy, deadlines: Deadlines::default(), rollback_window: Duration::ZERO };
        let mut serving = served();
        let mut rollout = begin(&serving, CANDIDATE, plan, Timestamp(0));
        let mut now = Timestamp(0);
        for heard in [
            RolloutEvent::TurnCame { stable: Some(STABLE), generation: 3, pinned: false },
            RolloutEvent::GatePassed,
            RolloutEvent::Provisioned { revision: CANDIDATE },
            RolloutEvent::HealthPassed { revision: CANDIDATE },
        ] {
            let decision = decide(&rollout, &serving, &heard, now).unwrap();
            (rollout, serving) = (decision.rollout, decision.serving);
        }
        for _ in 0..100 {
            let Some(tick) = rollout.next_tick(now) else { break };
            now = tick;
            let decision = decide(&rollout, &serving, &RolloutEvent::Tick, now).unwrap();
            (rollout, serving) = (decision.rollout, decision.serving);
        }
        // Nobody applied anything: it was held, then put back, and waits for proxies.
        prop_assert_eq!(rollout.phase.name(), "ROLLING_BACK");
        prop_assert_eq!(&serving.traffic, &Traffic::all(STABLE));
    }
}
