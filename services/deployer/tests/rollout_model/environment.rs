//! Which rollouts are modelled, and how each of them begins.

use std::collections::BTreeSet;
use std::time::Duration;

use slipway_deployer::domain::rollout::{Deadlines, Plan, begin};
use slipway_deployer::domain::serving::{KnownGood, Serving};
use slipway_deployer::domain::strategy::{OnInsufficient, Strategy, TrafficStep};
use slipway_deployer::domain::traffic::Traffic;

use crate::world::{CANDIDATE, NOW, SECOND, STABLE, World};

/// Which rollouts are modelled.
#[derive(Debug, Clone)]
pub struct Environment {
    steps: Vec<TrafficStep>,
    first: bool,
}

impl Environment {
    /// Two steps, held when evidence is missing.
    pub fn canary() -> Self {
        Self {
            steps: vec![
                step(50, OnInsufficient::Pause),
                step(100, OnInsufficient::Pause),
            ],
            first: false,
        }
    }

    /// Promotes the first step without evidence, and goes back for want of it in the last.
    pub fn permissive() -> Self {
        let steps = vec![
            step(50, OnInsufficient::Promote),
            step(100, OnInsufficient::Rollback),
        ];
        Self {
            steps,
            first: false,
        }
    }

    /// One step, on an endpoint with a stable.
    pub fn all_at_once() -> Self {
        Self {
            steps: vec![step(100, OnInsufficient::Pause)],
            first: false,
        }
    }

    /// The first rollout of an endpoint; its last step asks for nothing.
    pub fn first() -> Self {
        let last = TrafficStep {
            require_healthy: false,
            ..step(100, OnInsufficient::Pause)
        };
        Self {
            steps: vec![step(50, OnInsufficient::Pause), last],
            first: true,
        }
    }

    pub fn world(&self) -> World {
        world(
            Strategy {
                name: String::new(),
                steps: self.steps.clone(),
                soak: SECOND,
                drain: Duration::ZERO,
            },
            self.first,
        )
    }
}

fn step(percent: u8, on_insufficient: OnInsufficient) -> TrafficStep {
    TrafficStep {
        percent,
        min_hold: SECOND,
        require_healthy: true,
        on_insufficient,
        deadline: 2 * SECOND,
    }
}

fn world(strategy: Strategy, first: bool) -> World {
    let serving = if first {
        Serving::default()
    } else {
        Serving {
            traffic: Traffic::all(STABLE),
            stable: Some(STABLE),
            known_good: vec![KnownGood {
                revision: STABLE,
                since: NOW,
                judged: true,
            }],
            ready: [STABLE].into(),
            ..Serving::default()
        }
    };
    let each = 2 * SECOND;
    let deadlines = Deadlines {
        pending: each,
        provisioning: each,
        checking: each,
        step: each,
        soaking: SECOND,
        paused: each,
        rolling_back: each,
    };
    let plan = Plan {
        strategy,
        deadlines,
        rollback_window: SECOND,
    };
    World {
        rollout: begin(&serving, CANDIDATE, plan, NOW),
        proxies: serving.traffic.clone(),
        proxies_generation: 0,
        serving,
        issued: BTreeSet::new(),
        passed: BTreeSet::new(),
        pins: 0,
        breach: None,
    }
}
