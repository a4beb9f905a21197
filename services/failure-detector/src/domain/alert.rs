//! The life of an alert, as data and one pure function.
//!
//! ```text
//!            acknowledge           silence
//!   FIRING ──────────────▶ ACKNOWLEDGED ──▶ SILENCED
//!     │ ▲ └──────── silence ─────────────────▲ │
//!     │ └──────────── the silence is over ─────┘
//!     └── resolve, recover (from every open state) ──▶ RESOLVED
//! ```
//!
//! An open alert takes further sightings of the same anomaly as a count. It notifies when it fires, when a silence
//! ends while it is still open, and when it is resolved without being silenced.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::{AlertName, RevisionName, RolloutName};

use super::policy::Alphas;
use super::verdict::{Code, Numbers};

/// Where an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds, and nobody has taken it.
    Firing,
    /// Somebody looks after it.
    Acknowledged,
    /// It does not notify until then.
    Silenced {
        /// When the silence is over.
        until: Timestamp,
    },
    /// It is over.
    Resolved,
}

impl State {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Firing => "FIRING",
            State::Acknowledged => "ACKNOWLEDGED",
            State::Silenced { .. } => "SILENCED",
            State::Resolved => "RESOLVED",
        }
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// `user` or `service`.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl Actor {
    /// The detector itself.
    pub fn detector() -> Self {
        Self {
            kind: "service".to_owned(),
            name: "failure-detector".to_owned(),
        }
    }

    /// Whoever calls on loopback, where there is no authentication.
    pub fn local_admin() -> Self {
        Self {
            kind: "user".to_owned(),
            name: "local-admin".to_owned(),
        }
    }
}

/// A deduplicated anomaly on an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Its name.
    pub name: AlertName,
    /// The revision at fault.
    pub revision: RevisionName,
    /// The rollout during which it fired.
    pub rollout: Option<RolloutName>,
    /// The reason.
    pub code: Code,
    /// In words and numbers, as first seen.
    pub text: String,
    /// Where it is.
    pub state: State,
    /// How often it was seen while open.
    pub count: i64,
    /// First seen.
    pub start: Timestamp,
    /// Last seen.
    pub last: Timestamp,
    /// When it was over.
    pub end: Option<Timestamp>,
    /// Who changed it last.
    pub actor: Actor,
    /// What they said.
    pub comment: String,
    /// The decision that opened it.
    pub decision_id: String,
    /// The evidence of that decision.
    pub numbers: Numbers,
    /// The levels at which it was judged.
    pub alphas: Alphas,
    /// Counts the changes.
    pub generation: i64,
}

/// What happens to an open alert.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The same anomaly was decided again.
    Seen,
    /// Somebody looks after it.
    Acknowledge {
        /// Who.
        by: Actor,
        /// What they say.
        comment: String,
    },
    /// It is not to notify for a while.
    Silence {
        /// Until when.
        until: Timestamp,
        /// Who.
        by: Actor,
        /// Why.
        comment: String,
    },
    /// Time has passed.
    Tick,
    /// It is over.
    Resolve {
        /// Who.
        by: Actor,
        /// Why.
        comment: String,
    },
}

/// What has to be done with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Tell people that it fires.
    NotifyFired,
    /// Tell people that it is over.
    NotifyResolved,
    /// Publish `anomaly.resolved`.
    PublishResolved,
}

/// The next state, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The alert afterwards; equal to the alert before when nothing changed.
    pub next: Alert,
    /// In any order, in the transaction that saves `next`.
    pub effects: Vec<Effect>,
}

/// The alert is over, and stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the alert is resolved")]
pub struct Rejected;

/// What `event` makes of `alert`.
pub fn step(alert: &Alert, event: Event, now: Timestamp) -> Result<Step, Rejected> {
    if alert.state == State::Resolved {
        return match event {
            Event::Tick | Event::Resolve { .. } => Ok(Step {
                next: alert.clone(),
                effects: Vec::new(),
            }),
            Event::Seen | Event::Acknowledge { .. } | Event::Silence { .. } => Err(Rejected),
        };
    }
    let mut next = alert.clone();
    let mut effects = Vec::new();
    match event {
        Event::Seen => {
            next.count += 1;
            next.last = now;
        }
        Event::Acknowledge { by, comment } => {
            next.state = State::Acknowledged;
            (next.actor, next.comment) = (by, comment);
        }
        Event::Silence { until, by, comment } => {
            next.state = State::Silenced { until };
            (next.actor, next.comment) = (by, comment);
        }
        Event::Tick => match alert.state {
            State::Silenced { until } if until <= now => {
                next.state = State::Firing;
                effects.push(Effect::NotifyFired);
            }
            State::Firing | State::Acknowledged | State::Silenced { .. } | State::Resolved => {}
        },
        Event::Resolve { by, comment } => {
            let silenced = matches!(alert.state, State::Silenced { until } if until > now);
            next.state = State::Resolved;
            next.end = Some(now);
            (next.actor, next.comment) = (by, comment);
            effects.push(Effect::PublishResolved);
            if !silenced {
                effects.push(Effect::NotifyResolved);
            }
        }
    }
    Ok(Step { next, effects })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn firing() -> Alert {
        let name: AlertName =
            "environments/prod/endpoints/m/alerts/018f0000-0000-7000-8000-000000000000"
                .parse()
                .unwrap();
        Alert {
            revision: RevisionName::new(name.endpoint(), 2).unwrap(),
            name,
            rollout: None,
            code: Code::OverLimit,
            text: String::new(),
            state: State::Firing,
            count: 1,
            start: at(0),
            last: at(0),
            end: None,
            actor: Actor::detector(),
            comment: String::new(),
            decision_id: "d".into(),
            numbers: Numbers::default(),
            alphas: Alphas {
                comparison: None,
                limit: None,
                healthy: 0.01,
            },
            generation: 1,
        }
    }

    fn silence(until: i64) -> Event {
        Event::Silence {
            until: at(until),
            by: Actor::local_admin(),
            comment: "known".into(),
        }
    }

    fn resolve() -> Event {
        Event::Resolve {
            by: Actor::local_admin(),
            comment: "fixed".into(),
        }
    }

    #[test]
    fn a_silence_ends_by_itself_and_fires_again() {
        let silenced = step(&firing(), silence(100), at(1)).unwrap().next;
        assert_eq!(step(&silenced, Event::Tick, at(99)).unwrap().next, silenced);
        let again = step(&silenced, Event::Tick, at(100)).unwrap();
        assert_eq!(
            (again.next.state, again.effects),
            (State::Firing, vec![Effect::NotifyFired])
        );
    }

    #[test]
    fn a_silenced_alert_is_resolved_without_a_word() {
        let silenced = step(&firing(), silence(100), at(1)).unwrap().next;
        assert_eq!(
            step(&silenced, resolve(), at(2)).unwrap().effects,
            [Effect::PublishResolved]
        );
        let loud = step(&firing(), resolve(), at(2)).unwrap();
        assert_eq!(
            loud.effects,
            [Effect::PublishResolved, Effect::NotifyResolved]
        );
        assert_eq!(loud.next.end, Some(at(2)));
    }

    #[test]
    fn a_resolved_alert_stays_resolved() {
        let resolved = step(&firing(), resolve(), at(2)).unwrap().next;
        assert_eq!(
            step(&resolved, resolve(), at(3)).unwrap(),
            Step {
                next: resolved.clone(),
                effects: vec![]
            }
        );
        assert_eq!(step(&resolved, Event::Seen, at(3)), Err(Rejected));
        assert_eq!(step(&resolved, silence(9), at(3)), Err(Rejected));
    }

    proptest! {
        #[test]
        fn every_open_state_takes_every_event(events in prop::collection::vec(0u8..4, 0..20)) {
            let mut alert = firing();
            for (second, event) in (1..).zip(events) {
                let event = match event {
                    0 => Event::Seen,
                    1 => Event::Acknowledge { by: Actor::local_admin(), comment: String::new() },
                    2 => silence(second + 3),
                    _ => Event::Tick,
                };
                let next = step(&alert, event, at(second)).unwrap().next;
                prop_assert!(next.end.is_none() && next.count >= alert.count);
                alert = next;
            }
            prop_assert_eq!(step(&alert, resolve(), at(100)).unwrap().next.state, State::Resolved);
        }
    }
}
