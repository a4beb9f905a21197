//! A rollout with what is around it, and everything that may happen to it.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use slipway_deployer::domain::decide::{Decision, decide, settle};
use slipway_deployer::domain::incident::{Answer, answer};
use slipway_deployer::domain::rollout::{
    BeginRollback, Command, Fault, PausedFrom, Phase, Progress, RollbackWhy, Rollout, RolloutEvent,
    Stage, Verdict, begin_rollback,
};
use slipway_deployer::domain::serving::{Pin, Serving};
use slipway_deployer::domain::traffic::{Revision, Traffic};
use slipway_platform::clock::Timestamp;

use crate::check;

pub const STABLE: Revision = Revision(1);
pub const CANDIDATE: Revision = Revision(2);
pub const SECOND: Duration = Duration::from_secs(1);
pub const NOW: Timestamp = Timestamp(0);
const PINS_MAX: u8 = 1;

/// A rollout, its endpoint, and what is around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub rollout: Rollout,
    pub serving: Serving,
    /// Commands that were issued at least once; their results may come at any time.
    pub issued: BTreeSet<Command>,
    /// Revisions that have passed a check at some time.
    pub passed: BTreeSet<Revision>,
    /// What proxies have accepted.
    pub proxies: Traffic,
    pub proxies_generation: i64,
    pub pins: u8,
    pub breach: Option<&'static str>,
}

impl Hash for World {
    /// Without the plan, which is the same in all states of a model.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let rollout = &self.rollout;
        (
            rollout.kind,
            rollout.candidate,
            rollout.stable,
            rollout.generation,
        )
            .hash(hasher);
        (
            rollout.carried,
            rollout.pinned,
            &rollout.waivers,
            &rollout.rollback,
        )
            .hash(hasher);
        (
            &rollout.phase,
            rollout.deadline,
            &self.serving,
            &self.issued,
        )
            .hash(hasher);
        (&self.passed, &self.proxies, self.proxies_generation).hash(hasher);
        (self.pins, self.breach).hash(hasher);
    }
}

/// One thing that may happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// An event reaches the rollout.
    Deliver(RolloutEvent),
    /// A check passes, and its result reaches the rollout at once.
    CheckPasses(Revision),
    /// Time goes on to the end of the hold, or to the deadline.
    TimePasses,
    /// Proxies take what was decided; until they do, they may as well be gone.
    ProxiesAccept,
    /// A revision dies; the rollout hears of it, or not yet.
    Dies {
        revision: Revision,
        told: bool,
    },
    /// A worker gets to a stop.
    Stop(Revision),
    /// The steady watch calls what serves DEGRADED.
    Anomaly(Revision),
    PinExpires,
    /// Somebody else's change, of which the rollout has not heard.
    ChangesBehind,
    PersonPins(Traffic),
    PersonSays(RolloutEvent),
}

impl Action {
    /// Whether somebody had to decide it.
    pub fn is_a_persons(&self) -> bool {
        matches!(
            self,
            Action::PersonPins(_) | Action::PersonSays(_) | Action::ChangesBehind
        )
    }
}

fn results(command: &Command) -> Vec<RolloutEvent> {
    let reason = String::new;
    match command {
        Command::AskGate { .. } => {
            vec![
                RolloutEvent::GatePassed,
                RolloutEvent::GateRefused {
                    code: reason(),
                    reason: reason(),
                },
            ]
        }
        Command::Provision { revision } => vec![
            RolloutEvent::Provisioned {
                revision: *revision,
            },
            RolloutEvent::ProvisionFailed {
                revision: *revision,
                reason: reason(),
            },
        ],
        Command::CheckHealth { revision } => {
            vec![RolloutEvent::HealthFailed {
                revision: *revision,
                reason: reason(),
            }]
        }
        _ => vec![],
    }
}

/// Whether anything here depends on a command having been issued.
fn matters(command: &Command) -> bool {
    matches!(
        command,
        Command::AskGate { .. }
            | Command::Provision { .. }
            | Command::CheckHealth { .. }
            | Command::StopRevision { .. }
    )
}

impl World {
    /// Everything that may happen now.
    pub fn possible(&self, actions: &mut Vec<Action>) {
        let deliver = |event| Action::Deliver(event);
        actions.push(deliver(RolloutEvent::TurnCame {
            stable: self.serving.serving_stable(),
            generation: self.serving.generation,
            pinned: self.serving.pin.is_some(),
        }));
        for command in &self.issued {
            actions.extend(results(command).into_iter().map(deliver));
            if let Command::CheckHealth { revision } = command {
                actions.push(Action::CheckPasses(*revision));
            }
            if let Command::StopRevision { revision, .. } = command {
                actions.push(Action::Stop(*revision));
            }
        }
        actions.extend(self.passed.iter().map(|revision| {
            deliver(RolloutEvent::HealthPassed {
                revision: *revision,
            })
        }));
        self.possible_observations(actions);
        self.possible_decisions_of_people(actions);
        for revision in [STABLE, CANDIDATE] {
            if self.serving.ready.contains(&revision) {
                actions.push(Action::Dies {
                    revision,
                    told: true,
                });
            }
            actions.push(Action::Anomaly(revision));
        }
        if self.serving.ready.contains(&CANDIDATE) {
            actions.push(Action::Dies {
                revision: CANDIDATE,
                told: false,
            });
        }
        if self.rollout.deadline.is_some() {
            actions.push(Action::TimePasses);
        }
        if self.serving.pin.is_some() {
            actions.push(Action::PinExpires);
        }
    }

    /// Verdicts on what is in force and on what was before it; acceptance likewise. Older ones are as stale.
    fn possible_observations(&self, actions: &mut Vec<Action>) {
        let present = self.serving.generation;
        for verdict in [
            Verdict::Healthy,
            Verdict::Degraded,
            Verdict::Insufficient,
            Verdict::Unmeasurable,
        ] {
            actions.push(Action::Deliver(judged(verdict, present)));
        }
        for verdict in [Verdict::Healthy, Verdict::Degraded] {
            actions.push(Action::Deliver(judged(verdict, present - 1)));
        }
        let applied = |generation, except| {
            Action::Deliver(RolloutEvent::TrafficApplied { generation, except })
        };
        actions.push(applied(self.proxies_generation, vec![]));
        actions.push(applied(self.proxies_generation - 1, vec![]));
        actions.push(applied(self.proxies_generation, vec!["p7".to_owned()]));
        actions.push(Action::Deliver(RolloutEvent::TrafficUnapplied));
        actions.push(Action::ProxiesAccept);
    }

    fn possible_decisions_of_people(&self, actions: &mut Vec<Action>) {
        let reason = String::new;
        for unpin in [true, false] {
            actions.push(Action::PersonSays(RolloutEvent::Abort {
                reason: reason(),
                to: None,
                unpin,
            }));
        }
        for full in [true, false] {
            actions.push(Action::PersonSays(RolloutEvent::Promote {
                full,
                reason: reason(),
            }));
        }
        actions.push(Action::PersonSays(RolloutEvent::Pause { reason: reason() }));
        actions.push(Action::PersonSays(RolloutEvent::Resume));
        actions.push(Action::PersonSays(RolloutEvent::Superseded));
        if self.pins < PINS_MAX {
            actions.push(Action::ChangesBehind);
            let ready = self
                .serving
                .ready
                .iter()
                .filter(|revision| !self.serving.blocked.contains(revision));
            actions.extend(ready.map(|revision| Action::PersonPins(Traffic::all(*revision))));
        }
    }

    /// What it is after that; `None`: the same.
    pub fn after(&self, action: &Action) -> Option<World> {
        if let Action::Deliver(event) | Action::PersonSays(event) = action
            && decide(&self.rollout, &self.serving, event, NOW).is_err()
        {
            return None;
        }
        let mut next = self.clone();
        match action {
            Action::Deliver(event) | Action::PersonSays(event) => next.hear(event, NOW),
            Action::CheckPasses(revision) => {
                next.serving.ready.insert(*revision);
                next.passed.insert(*revision);
                next.hear(
                    &RolloutEvent::HealthPassed {
                        revision: *revision,
                    },
                    NOW,
                );
            }
            Action::TimePasses => {
                let then = next.rollout.next_tick(NOW).unwrap_or(NOW);
                next.hear(&RolloutEvent::Tick, then);
                next.rollout = shifted_to_zero(next.rollout, then);
            }
            Action::ProxiesAccept => {
                next.proxies = next.serving.traffic.clone();
                next.proxies_generation = next.serving.generation;
            }
            Action::Dies { revision, told } => {
                next.serving.ready.remove(revision);
                if *told {
                    next.hear(
                        &RolloutEvent::RevisionLost {
                            revision: *revision,
                        },
                        NOW,
                    );
                }
            }
            Action::Stop(revision) => next.stop(*revision),
            Action::Anomaly(revision) => next.anomaly(*revision),
            Action::PinExpires => {
                next.serving.pin = None;
                next.hear(&RolloutEvent::PinReleased, NOW);
            }
            Action::ChangesBehind => {
                next.pins += 1;
                next.serving.generation += 1;
            }
            Action::PersonPins(traffic) => {
                next.pins += 1;
                let pin = Pin {
                    reason: String::new(),
                    by: String::new(),
                    expires_at: NOW,
                };
                let generation = next.serving.set_by_hand(traffic.clone(), pin);
                next.hear(&RolloutEvent::PinSet { generation }, NOW);
            }
        }
        next.breach = next
            .breach
            .or_else(|| check::transition(self, action, &next));
        (next != *self).then_some(next)
    }

    fn hear(&mut self, event: &RolloutEvent, now: Timestamp) {
        if let Ok(decision) = decide(&self.rollout, &self.serving, event, now) {
            let again = decide(&decision.rollout, &decision.serving, event, now);
            self.breach = self.breach.or_else(|| check::once(event, &decision, again));
            self.breach = self
                .breach
                .or_else(|| check::forward(&self.serving, &decision));
            self.take(decision);
        }
    }

    fn take(&mut self, decision: Decision) {
        self.issued.extend(
            decision
                .queued()
                .filter(|command| matters(command))
                .cloned(),
        );
        self.rollout = shifted_to_zero(decision.rollout, NOW);
        self.serving = decision.serving;
        for good in &mut self.serving.known_good {
            good.since = NOW;
        }
    }

    fn stop(&mut self, revision: Revision) {
        let needed: Vec<Revision> = if self.rollout.ended() {
            vec![]
        } else {
            [Some(self.rollout.candidate), self.rollout.stable]
                .into_iter()
                .flatten()
                .collect()
        };
        if self.serving.may_stop(revision, &needed)
            && self.proxies_generation == self.serving.generation
        {
            self.serving.ready.remove(&revision);
        }
    }

    /// As the service does: tell the rollout, or begin a rollback of what serves.
    fn anomaly(&mut self, at_fault: Revision) {
        match answer(&self.serving, Some(&self.rollout), at_fault) {
            Answer::TellRollout => {
                self.hear(&judged(Verdict::Degraded, self.serving.generation), NOW)
            }
            Answer::HoldRollout => self.hear(
                &RolloutEvent::StableAtFault {
                    decision: String::new(),
                },
                NOW,
            ),
            Answer::RollBack { restore } => self.roll_back(at_fault, restore),
            Answer::Withhold(_) | Answer::Ignore(_) => {}
        }
    }

    fn roll_back(&mut self, at_fault: Revision, restore: Revision) {
        let fault = Fault::Degraded {
            decision: String::new(),
            text: String::new(),
        };
        let begin = BeginRollback {
            at_fault,
            restore,
            cold: !self.serving.ready.contains(&restore),
            why: RollbackWhy::Fault(fault),
            plan: self.rollout.plan.as_ref().clone(),
            unpin: false,
        };
        if let Ok(step) = begin_rollback(&self.serving, begin, NOW) {
            self.take(settle(step, &self.serving, NOW));
        }
    }
}

pub fn judged(verdict: Verdict, generation: i64) -> RolloutEvent {
    RolloutEvent::Judged {
        revision: CANDIDATE,
        generation,
        verdict,
        decision: String::new(),
        text: String::new(),
    }
}

/// The same rollout with its times moved so that `now` is zero, and what is past kept no further back than it
/// matters. Without it, the same behaviour at another time would be another state.
fn shifted_to_zero(mut rollout: Rollout, now: Timestamp) -> Rollout {
    let shift = |time: Timestamp| Timestamp((time.0 - now.0).max(-(SECOND.as_micros() as i64)));
    let stage = |stage: &mut Stage| {
        if let Progress::Applied { since, .. } = &mut stage.progress {
            *since = shift(*since);
        }
    };
    rollout.phase_since = NOW;
    rollout.deadline = rollout.deadline.map(|deadline| shift(deadline).max(NOW));
    match &mut rollout.phase {
        Phase::Shifting(shifting) => stage(&mut shifting.stage),
        Phase::Soaking(soaking) => stage(&mut soaking.stage),
        Phase::Paused(paused) => match &mut paused.from {
            PausedFrom::Shifting(shifting) => stage(&mut shifting.stage),
            PausedFrom::Soaking(soaking) => stage(&mut soaking.stage),
            PausedFrom::Provisioning | PausedFrom::Checking => {}
        },
        Phase::Pending(_)
        | Phase::Provisioning
        | Phase::Checking
        | Phase::RollingBack(_)
        | Phase::Succeeded
        | Phase::RolledBack { .. }
        | Phase::Failed { .. } => {}
    }
    if let Some(record) = &mut rollout.rollback {
        record.decided_at = NOW;
        record.applied_at = record.applied_at.map(|_| NOW);
    }
    rollout
}
