//! Behaviour of the state machine together with its endpoint, as short stories.

mod corners;
mod forward;
mod people;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::*;
use crate::domain::decide::{Decision, decide, settle};
use crate::domain::serving::{KnownGood, Pin, Serving};
use crate::domain::strategy::Strategy;
use crate::domain::traffic::{Revision, Traffic};

const V1: Revision = Revision(1);
const V2: Revision = Revision(2);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A rollout, its endpoint and a clock; and everything that was commanded so far.
struct Story {
    rollout: Rollout,
    serving: Serving,
    now: Timestamp,
    commands: Vec<Command>,
}

impl Story {
    /// An endpoint that serves V1 well, and a rollout of V2.
    fn canary() -> Self {
        let serving = Serving {
            generation: 7,
            traffic: Traffic::all(V1),
            stable: Some(V1),
            known_good: vec![KnownGood {
                revision: V1,
                since: Timestamp(0),
                judged: true,
            }],
            ready: [V1].into(),
            ..Serving::default()
        };
        Self::of(serving, Strategy::canary())
    }

    /// An endpoint that never served, and its first rollout.
    fn first() -> Self {
        Self::of(Serving::default(), Strategy::canary())
    }

    fn of(serving: Serving, strategy: Strategy) -> Self {
        let now = Timestamp(1_000_000_000);
        let plan = Plan {
            strategy,
            deadlines: Deadlines::default(),
            rollback_window: 24 * HOUR,
        };
        Self {
            rollout: begin(&serving, V2, plan, now),
            serving,
            now,
            commands: Vec::new(),
        }
    }

    fn take(&mut self, decision: Decision) -> &mut Self {
        self.rollout = decision.rollout;
        self.serving = decision.serving;
        self.commands.extend(decision.commands);
        self
    }

    fn hear(&mut self, event: RolloutEvent) -> &mut Self {
        let decision = self
            .try_hear(&event)
            .unwrap_or_else(|why| panic!("{event:?} in {:?}: {why}", self.rollout.phase));
        self.take(decision)
    }

    fn try_hear(&self, event: &RolloutEvent) -> Result<Decision, Rejected> {
        decide(&self.rollout, &self.serving, event, self.now)
    }

    fn refuses(&self, event: RolloutEvent) -> Rejected {
        self.try_hear(&event)
            .err()
            .unwrap_or_else(|| panic!("{event:?} was taken in {:?}", self.rollout.phase))
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self.hear(RolloutEvent::Tick)
    }

    /// Up to the first step, as the workers would.
    fn until_first_step(&mut self) -> &mut Self {
        let turn = RolloutEvent::TurnCame {
            stable: self.serving.serving_stable(),
            generation: self.serving.generation,
            pinned: self.serving.pin.is_some(),
        };
        self.hear(turn)
            .hear(RolloutEvent::GatePassed)
            .hear(RolloutEvent::Provisioned { revision: V2 });
        self.serving.ready.insert(V2);
        self.hear(RolloutEvent::HealthPassed { revision: V2 })
    }

    fn applied(&mut self) -> &mut Self {
        let generation = self.serving.generation;
        self.hear(RolloutEvent::TrafficApplied {
            generation,
            except: vec![],
        })
    }

    fn says(&self, verdict: Verdict) -> RolloutEvent {
        RolloutEvent::Judged {
            revision: V2,
            generation: self.serving.generation,
            verdict,
            decision: "decision-1".into(),
            text: "20 of 100 failed".into(),
        }
    }

    fn judged(&mut self, verdict: Verdict) -> &mut Self {
        let event = self.says(verdict);
        self.hear(event)
    }

    /// Through one step that is healthy.
    fn healthy_step(&mut self) -> &mut Self {
        self.applied().judged(Verdict::Healthy).wait(MINUTE)
    }

    fn pinned_by_hand(&mut self, traffic: Traffic) -> &mut Self {
        let pin = Pin {
            reason: "game day".into(),
            by: "ana".into(),
            expires_at: self.now + 24 * HOUR,
        };
        let generation = self.serving.set_by_hand(traffic, pin);
        self.hear(RolloutEvent::PinSet { generation })
    }

    fn unpinned(&mut self) -> &mut Self {
        self.serving.pin = None;
        self.hear(RolloutEvent::PinReleased)
    }

    fn phase(&self) -> &'static str {
        self.rollout.phase.name()
    }

    fn why(&self) -> &'static str {
        self.rollout.phase.why().map_or("", |(code, _)| code)
    }

    fn share(&self) -> u8 {
        self.serving.traffic.percent_of(V2)
    }

    fn asked_for(&self, command: &Command) -> bool {
        self.commands.contains(command)
    }

    fn pages(&self) -> Vec<&'static str> {
        self.commands
            .iter()
            .filter_map(|command| {
                if let Command::Page(code) = command {
                    Some(code.code())
                } else {
                    None
                }
            })
            .collect()
    }
}

fn abort() -> RolloutEvent {
    RolloutEvent::Abort {
        reason: "looks wrong".into(),
        to: None,
        unpin: false,
    }
}

fn promote(full: bool) -> RolloutEvent {
    RolloutEvent::Promote {
        full,
        reason: "known to be fine".into(),
    }
}

fn pause() -> RolloutEvent {
    RolloutEvent::Pause {
        reason: "lunch".into(),
    }
}
