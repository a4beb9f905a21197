//! Strategies as messages.

use std::time::Duration;

use slipway_platform::clock::duration_to_proto;
use slipway_platform::error::Violations;
use slipway_proto::deployer::v1 as proto;
use slipway_proto::deployer::v1::step::OnInsufficient as Word;

use super::fields;
use crate::domain::strategy::{DRAIN_DEFAULT, OnInsufficient, Strategy, TrafficStep, WAIT_MAX};

/// Reads a strategy. One without steps is the preset of its name, with its own soak and drain if it says so.
pub fn read(
    field: &str,
    message: &proto::Strategy,
    violations: &mut Violations,
) -> Option<Strategy> {
    let preset = message
        .steps
        .is_empty()
        .then(|| Strategy::preset(&message.name));
    let (soak, drain) = match &preset {
        Some(Some(preset)) => (preset.soak, preset.drain),
        Some(None) | None => (Duration::ZERO, DRAIN_DEFAULT),
    };
    let mut wait = |key: &str, value, default| {
        fields::duration(
            &format!("{field}.{key}"),
            value,
            default,
            WAIT_MAX,
            violations,
        )
    };
    let soak = wait("soak", message.soak.as_ref(), soak);
    let drain = wait("drain", message.drain.as_ref(), drain);
    if let Some(preset) = preset {
        let reason =
            "needs steps, or the name of a known one: all-at-once, canary, blue-green, timed-50-50";
        violations.require(preset.is_some(), format!("{field}.steps"), reason);
        return preset.map(|preset| Strategy {
            soak,
            drain,
            ..preset
        });
    }
    let steps: Vec<Option<TrafficStep>> = message
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| read_step(&format!("{field}.steps[{index}]"), step, violations))
        .collect();
    let steps = steps.into_iter().collect::<Option<Vec<_>>>()?;
    let strategy = Strategy {
        name: message.name.clone(),
        soak,
        drain,
        steps,
    };
    for (key, reason) in strategy.problems() {
        violations.push(format!("{field}.{key}"), reason);
    }
    Some(strategy)
}

fn read_step(field: &str, step: &proto::Step, violations: &mut Violations) -> Option<TrafficStep> {
    let percent = u8::try_from(step.traffic_percent).ok();
    violations.require(
        percent.is_some(),
        format!("{field}.traffic_percent"),
        "must be 1 to 100",
    );
    let on_insufficient = match Word::try_from(step.on_insufficient) {
        Ok(Word::Unspecified | Word::Pause) => Some(OnInsufficient::Pause),
        Ok(Word::Extend) => Some(OnInsufficient::Extend),
        Ok(Word::Rollback) => Some(OnInsufficient::Rollback),
        Ok(Word::Promote) => Some(OnInsufficient::Promote),
        Err(_) => None,
    };
    violations.require(
        on_insufficient.is_some(),
        format!("{field}.on_insufficient"),
        "is not one of the known values",
    );
    let mut wait = |key: &str, value| {
        fields::duration(
            &format!("{field}.{key}"),
            value,
            Duration::ZERO,
            WAIT_MAX,
            violations,
        )
    };
    let min_hold = wait("min_hold", step.min_hold.as_ref());
    let deadline = wait("deadline", step.deadline.as_ref());
    Some(TrafficStep {
        percent: percent?,
        min_hold,
        require_healthy: step.require_healthy,
        on_insufficient: on_insufficient?,
        deadline,
    })
}

/// A strategy as a message.
pub fn write(strategy: &Strategy) -> proto::Strategy {
    proto::Strategy {
        name: strategy.name.clone(),
        steps: strategy.steps.iter().map(write_step).collect(),
        soak: Some(duration_to_proto(strategy.soak)),
        drain: Some(duration_to_proto(strategy.drain)),
    }
}

fn write_step(step: &TrafficStep) -> proto::Step {
    let on_insufficient = match step.on_insufficient {
        OnInsufficient::Pause => Word::Pause,
        OnInsufficient::Extend => Word::Extend,
        OnInsufficient::Rollback => Word::Rollback,
        OnInsufficient::Promote => Word::Promote,
    };
    proto::Step {
        traffic_percent: i32::from(step.percent),
        min_hold: Some(duration_to_proto(step.min_hold)),
        require_healthy: step.require_healthy,
        on_insufficient: on_insufficient.into(),
        deadline: (!step.deadline.is_zero()).then(|| duration_to_proto(step.deadline)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_comes_back_as_it_was_written() {
        for strategy in [
            Strategy::canary(),
            Strategy::timed_half(),
            Strategy::blue_green(),
        ] {
            let mut violations = Violations::new();
            assert_eq!(
                read("strategy", &write(&strategy), &mut violations),
                Some(strategy)
            );
            assert!(violations.is_empty());
        }
    }

    #[test]
    fn a_name_alone_is_a_preset_and_an_unknown_one_is_refused() {
        let named = |name: &str| proto::Strategy {
            name: name.into(),
            ..Default::default()
        };
        let mut violations = Violations::new();
        assert_eq!(
            read("strategy", &named("canary"), &mut violations),
            Some(Strategy::canary())
        );
        assert!(violations.is_empty());
        assert_eq!(read("strategy", &named("shadow"), &mut violations), None);
        assert!(!violations.is_empty());
    }

    #[test]
    fn a_preset_takes_its_soak_from_the_request() {
        let soak = prost_types::Duration {
            seconds: 7,
            nanos: 0,
        };
        let message = proto::Strategy {
            name: "canary".into(),
            soak: Some(soak),
            ..Default::default()
        };
        let strategy = read("strategy", &message, &mut Violations::new()).unwrap();
        assert_eq!(
            strategy,
            Strategy {
                soak: Duration::from_secs(7),
                ..Strategy::canary()
            }
        );
    }

    #[test]
    fn every_wrong_step_is_named() {
        let mut message = write(&Strategy::canary());
        message.steps[0].traffic_percent = -1;
        message.steps[1].on_insufficient = 99;
        message.drain = Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        });
        let mut violations = Violations::new();
        assert_eq!(read("strategy", &message, &mut violations), None);
        let found: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(
            found,
            [
                "strategy.drain",
                "strategy.steps[0].traffic_percent",
                "strategy.steps[1].on_insufficient"
            ]
        );
    }

    #[test]
    fn nonsense_is_named_by_its_field() {
        let mut message = write(&Strategy::canary());
        message.steps[0].traffic_percent = -1;
        let mut violations = Violations::new();
        assert_eq!(read("strategy", &message, &mut violations), None);
        assert_eq!(
            violations.iter().next().unwrap().field,
            "strategy.steps[0].traffic_percent"
        );
        let mut message = write(&Strategy::canary());
        message.steps[2].traffic_percent = 90;
        message.soak = Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        });
        let mut violations = Violations::new();
        read("strategy", &message, &mut violations);
        let found: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(found, ["strategy.soak", "strategy.steps"]);
    }
}
