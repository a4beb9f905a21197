//! How traffic is moved: a list of steps and a soak. All-at-once, canary, blue-green and the timed 50/50
//! canary are four lists, not four code paths.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time;

/// Steps that one strategy may have.
pub const STEPS_MAX: usize = 20;
/// No hold, soak or deadline is longer; a rollout that takes more is a mistake.
pub const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a step with `extend` gets another deadline before it pauses.
pub const EXTENSIONS_MAX: u32 = 3;
/// How long connections to a revision may last after it lost its traffic, unless said otherwise.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

const MINUTE: Duration = Duration::from_secs(60);

/// A list of steps and a soak.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Strategy {
    /// A name for people.
    pub name: String,
    /// Rising percentages; the last is 100.
    pub steps: Vec<TrafficStep>,
    /// How long the candidate is watched at 100 % before it is the new stable.
    #[serde(with = "time::millis")]
    pub soak: Duration,
    /// How long connections to a revision may last after it lost its traffic.
    #[serde(with = "time::millis")]
    pub drain: Duration,
}

/// One step of a strategy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrafficStep {
    /// Traffic of the candidate, 1 to 100.
    pub percent: u8,
    /// The step lasts at least this long after every proxy has accepted it.
    #[serde(with = "time::millis")]
    pub min_hold: Duration,
    /// Whether HEALTHY is asked for before the next step. Without it, only DEGRADED stops it.
    pub require_healthy: bool,
    /// What happens when the deadline has passed without enough evidence.
    pub on_insufficient: OnInsufficient,
    /// How long evidence is waited for; zero: the endpoint's.
    #[serde(with = "time::millis")]
    pub deadline: Duration,
}

/// What happens when a step's deadline has passed and the verdict is INSUFFICIENT. It says nothing about
/// UNMEASURABLE, which always pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInsufficient {
    /// People are told and decide.
    Pause,
    /// The step goes on for another deadline, [`EXTENSIONS_MAX`] times at most; then it pauses.
    Extend,
    /// The rollout is rolled back.
    Rollback,
    /// The rollout goes on; the audit calls it a waiver.
    Promote,
}

/// What a stage asks for before the rollout moves on: a step, or the soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// At least this long.
    pub hold: Duration,
    /// With HEALTHY.
    pub require_healthy: bool,
    /// And if it cannot be said in time.
    pub on_insufficient: OnInsufficient,
    /// Counted from the moment that every proxy has accepted the traffic.
    pub deadline: Duration,
}

impl TrafficStep {
    fn new(percent: u8, min_hold: Duration) -> Self {
        Self {
            percent,
            min_hold,
            require_healthy: true,
            on_insufficient: OnInsufficient::Pause,
            deadline: Duration::ZERO,
        }
    }
}

impl Strategy {
    /// Everything at once, then watched.
    pub fn all_at_once() -> Self {
        Self::named(
            "all-at-once",
            vec![TrafficStep::new(100, Duration::ZERO)],
            MINUTE,
        )
    }

    /// 10 %, 50 %, 100 %, each until it is shown to be healthy.
    pub fn canary() -> Self {
        let steps = [10, 50, 100].map(|percent| TrafficStep::new(percent, MINUTE));
        Self::named("canary", steps.to_vec(), 5 * MINUTE)
    }

    /// One switch, with a long soak beside the old revision, which stays warm.
    pub fn blue_green() -> Self {
        Self::named(
            "blue-green",
            vec![TrafficStep::new(100, 5 * MINUTE)],
            30 * MINUTE,
        )
    }

    /// Half of the traffic for three minutes; then all of it unless something is wrong. Promotes without
    /// evidence, which the audit calls a waiver.
    pub fn timed_half() -> Self {
        let half = TrafficStep {
            on_insufficient: OnInsufficient::Promote,
            deadline: 3 * MINUTE,
            ..TrafficStep::new(50, 3 * MINUTE)
        };
        let all = TrafficStep {
            require_healthy: false,
            ..TrafficStep::new(100, Duration::ZERO)
        };
        Self::named("timed-50-50", vec![half, all], Duration::ZERO)
    }

    /// The strategy with this name, if it is a known one.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "all-at-once" => Some(Self::all_at_once()),
            "canary" => Some(Self::canary()),
            "blue-green" => Some(Self::blue_green()),
            "timed-50-50" => Some(Self::timed_half()),
            _ => None,
        }
    }

    fn named(name: &str, steps: Vec<TrafficStep>, soak: Duration) -> Self {
        Self {
            name: name.to_owned(),
            steps,
            soak,
            drain: DRAIN_DEFAULT,
        }
    }

    /// Everything that is wrong with it, as (field, reason).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut note = |field: String, reason: String| problems.push((field, reason));
        if self.name.len() > 63 {
            note("name".to_owned(), "at most 63 characters".to_owned());
        }
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            note(
                "steps".to_owned(),
                format!("1 to {STEPS_MAX} steps, and there are {}", self.steps.len()),
            );
        }
        let mut previous = 0;
        for (index, step) in self.steps.iter().enumerate() {
            if step.percent <= previous || step.percent > 100 {
                note(
                    format!("steps[{index}].traffic_percent"),
                    format!("must be in ({previous}, 100]: percentages rise from step to step"),
                );
            }
            previous = previous.max(step.percent);
            for (field, wait) in [("min_hold", step.min_hold), ("deadline", step.deadline)] {
                if wait > WAIT_MAX {
                    note(
                        format!("steps[{index}].{field}"),
                        "at most 30 days".to_owned(),
                    );
                }
            }
        }
        if self.steps.last().is_some_and(|last| last.percent != 100) {
            note(
                "steps".to_owned(),
                "the last step must be at 100 percent".to_owned(),
            );
        }
        for (field, wait) in [("soak", self.soak), ("drain", self.drain)] {
            if wait > WAIT_MAX {
                note(field.to_owned(), "at most 30 days".to_owned());
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_found_by_its_name() {
        for strategy in [
            Strategy::all_at_once(),
            Strategy::canary(),
            Strategy::blue_green(),
            Strategy::timed_half(),
        ] {
            assert_eq!(strategy.problems(), []);
            assert_eq!(Strategy::preset(&strategy.name), Some(strategy));
        }
        assert_eq!(Strategy::preset("shadow"), None);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut strategy = Strategy::canary();
        strategy.steps[1].percent = 10;
        strategy.steps[2].percent = 90;
        strategy.soak = WAIT_MAX + Duration::from_secs(1);
        let fields: Vec<String> = strategy
            .problems()
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["steps[1].traffic_percent", "steps", "soak"]);
        strategy.steps.clear();
        assert_eq!(strategy.problems()[0].0, "steps");
    }
}
