//! The strategies that have a name, as the lists of steps that they are.

use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{Step, Strategy};

/// The names that `--strategy` and an endpoint's YAML take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Named {
    /// 10, 25, 50 and 100 %, each shown HEALTHY.
    Canary,
    /// All at once onto a candidate that is ready, and a soak with the old one warm.
    BlueGreen,
    /// Everything at once, judged by the absolute rules.
    AllAtOnce,
    /// Half and half for three minutes, then all unless it is DEGRADED: a waiver that the audit shows.
    #[value(name = "timed-50-50")]
    Timed5050,
}

impl Named {
    /// The steps.
    pub fn strategy(self) -> Strategy {
        let (name, steps, soak_s) = match self {
            Named::Canary => (
                "canary",
                vec![judged(10), judged(25), judged(50), judged(100)],
                300,
            ),
            Named::BlueGreen => ("blue-green", vec![step(100, 0, OnInsufficient::Pause)], 600),
            Named::AllAtOnce => (
                "all-at-once",
                vec![step(100, 0, OnInsufficient::Promote)],
                0,
            ),
            Named::Timed5050 => {
                let half = step(50, 180, OnInsufficient::Promote);
                (
                    "timed-50-50",
                    vec![half, step(100, 0, OnInsufficient::Promote)],
                    0,
                )
            }
        };
        Strategy {
            name: name.to_owned(),
            steps,
            soak: seconds(soak_s),
            drain: None,
        }
    }
}

/// A step that lasts a minute at least and waits for HEALTHY.
fn judged(traffic_percent: i32) -> Step {
    Step {
        require_healthy: true,
        ..step(traffic_percent, 60, OnInsufficient::Pause)
    }
}

fn step(traffic_percent: i32, hold_s: i64, on_insufficient: OnInsufficient) -> Step {
    Step {
        traffic_percent,
        min_hold: seconds(hold_s),
        require_healthy: false,
        on_insufficient: on_insufficient.into(),
        deadline: None,
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_named_strategy_rises_to_100_under_its_name() {
        for named in Named::value_variants() {
            let strategy = named.strategy();
            let percents: Vec<_> = strategy
                .steps
                .iter()
                .map(|step| step.traffic_percent)
                .collect();
            assert!(
                percents.is_sorted() && percents.last() == Some(&100),
                "{percents:?}"
            );
            assert_eq!(Named::from_str(&strategy.name, false), Ok(*named));
        }
    }
}
