//! The strategies that have a name. The deployer knows their steps; the tool only says the name.

use slipway_proto::deployer::v1::Strategy;

/// The names that `--strategy` and an endpoint's YAML take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Named {
    /// 10, 50 and 100 %, each shown HEALTHY, and a soak.
    Canary,
    /// All at once onto a candidate that is ready, and a long soak with the old one warm.
    BlueGreen,
    /// Everything at once, judged by the absolute rules.
    AllAtOnce,
    /// Half and half for three minutes, then all unless it is DEGRADED: a waiver that the audit shows.
    #[value(name = "timed-50-50")]
    Timed5050,
}

impl Named {
    /// The strategy, by its name alone.
    pub fn strategy(self) -> Strategy {
        let name = match self {
            Named::Canary => "canary",
            Named::BlueGreen => "blue-green",
            Named::AllAtOnce => "all-at-once",
            Named::Timed5050 => "timed-50-50",
        };
        Strategy {
            name: name.to_owned(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_strategy_has_the_name_that_people_give() {
        for named in Named::value_variants() {
            assert_eq!(Named::from_str(&named.strategy().name, false), Ok(*named));
        }
    }
}
