//! The endpoint's side of a decision: its traffic and generation, stable, pin, blocks, and what is known to be
//! good. [`Serving::perform`] applies a rollout's commands to it, in the transaction of the decision.
//!
//! Invariants: a forward command changes traffic only at the generation that it was decided on, never under
//! a pin, and only towards revisions that are ready; a withdrawal applies at any generation while the
//! revision at fault carries traffic, and otherwise changes nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use super::rollout::{Command, RolloutEvent};
use super::time;
use super::traffic::{Revision, Traffic};

/// How many revisions are remembered as known to be good.
pub const KNOWN_GOOD_MAX: usize = 20;

/// A person's decision that automation does not override.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pin {
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Until when.
    #[serde(with = "time::micros")]
    pub expires_at: Timestamp,
}

/// A revision that has served through its soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KnownGood {
    /// Which.
    pub revision: Revision,
    /// Since when.
    #[serde(with = "time::micros")]
    pub since: Timestamp,
    /// Whether it was HEALTHY at the end of its soak; otherwise its evidence was waived.
    pub judged: bool,
}

/// What an endpoint serves, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Serving {
    /// Counts up with every change of traffic.
    pub generation: i64,
    /// Who gets how much.
    pub traffic: Traffic,
    /// What serves when no rollout runs.
    pub stable: Option<Revision>,
    /// The revision that the last rollback put back, until the next success.
    pub restored: Option<Revision>,
    /// A person's decision in force.
    pub pin: Option<Pin>,
    /// What served through its soak, and had no alert since; newest last.
    pub known_good: Vec<KnownGood>,
    /// Revisions that may not run here. Kept beside the endpoint, not in it.
    #[serde(skip)]
    pub blocked: BTreeSet<Revision>,
    /// Revisions that run and answer. Kept beside the endpoint, not in it.
    #[serde(skip)]
    pub ready: BTreeSet<Revision>,
}

impl Serving {
    /// What a rollout would put back: stable if it carries traffic, or else what carries most.
    pub fn serving_stable(&self) -> Option<Revision> {
        self.stable
            .filter(|stable| self.traffic.carries(*stable))
            .or_else(|| self.traffic.largest())
    }

    /// The newest revision, other than the one at fault, that served through its soak with its evidence and
    /// has no alert and no block. One whose evidence was waived counts only when there is no other.
    pub fn last_known_good(&self, at_fault: Option<Revision>) -> Option<Revision> {
        let usable = |good: &&KnownGood| {
            Some(good.revision) != at_fault && !self.blocked.contains(&good.revision)
        };
        let newest = |judged: bool| {
            self.known_good
                .iter()
                .rev()
                .filter(usable)
                .find(|good| good.judged == judged)
        };
        newest(true)
            .or_else(|| newest(false))
            .map(|good| good.revision)
    }

    /// An alert is attributed to a revision: it is not known to be good any more.
    pub fn attribute_alert(&mut self, revision: Revision) {
        self.known_good.retain(|good| good.revision != revision);
    }

    /// A person sets the traffic, at the generation that they saw, and pins it.
    pub fn set_by_hand(&mut self, traffic: Traffic, pin: Pin) -> i64 {
        self.change(traffic);
        self.pin = Some(pin);
        self.generation
    }

    /// Whether a revision may be stopped now: it carries nothing, and neither the endpoint nor a rollout that
    /// has not ended needs it.
    pub fn may_stop(&self, revision: Revision, needed: &[Revision]) -> bool {
        !self.traffic.carries(revision)
            && self.stable != Some(revision)
            && !needed.contains(&revision)
    }

    /// Applies a command of a rollout, and says what came of it. Commands that are not the endpoint's change
    /// nothing.
    pub fn perform(&mut self, command: &Command, now: Timestamp) -> Option<RolloutEvent> {
        match command {
            Command::SetTraffic { expected, traffic } => Some(self.set_forward(*expected, traffic)),
            Command::WithdrawTraffic { at_fault, restore } => {
                Some(self.withdraw(*at_fault, *restore))
            }
            Command::Unpin => {
                self.pin = None;
                None
            }
            Command::MakeStable { revision, judged } => {
                self.stable = Some(*revision);
                self.restored = None;
                self.attribute_alert(*revision);
                self.known_good.push(KnownGood {
                    revision: *revision,
                    since: now,
                    judged: *judged,
                });
                let excess = self.known_good.len().saturating_sub(KNOWN_GOOD_MAX);
                self.known_good.drain(..excess);
                None
            }
            Command::Block { revision } => {
                self.blocked.insert(*revision);
                self.attribute_alert(*revision);
                None
            }
            Command::Page(_)
            | Command::AnnounceRollback
            | Command::OpenWatch
            | Command::CloseWatch
            | Command::AskGate { .. }
            | Command::Provision { .. }
            | Command::CheckHealth { .. }
            | Command::StopRevision { .. }
            | Command::MoveChampion { .. } => None,
        }
    }

    fn set_forward(&mut self, expected: i64, traffic: &Traffic) -> RolloutEvent {
        if expected != self.generation || self.pin.is_some() {
            return RolloutEvent::TrafficConflict {
                current: self.generation,
            };
        }
        // Stable serves already, and its loss is an alert; what is new must be ready.
        let unready = |revision: &Revision| {
            !self.ready.contains(revision) && !self.traffic.carries(*revision)
        };
        let lost = traffic
            .targets()
            .iter()
            .map(|target| target.revision)
            .find(unready);
        if let Some(revision) = lost {
            return RolloutEvent::RevisionLost { revision };
        }
        self.change(traffic.clone());
        RolloutEvent::TrafficDecided {
            generation: self.generation,
        }
    }

    fn withdraw(&mut self, at_fault: Revision, restore: Option<Revision>) -> RolloutEvent {
        if let Some(traffic) = self.traffic.withdrawn(at_fault, restore) {
            self.restored = traffic.largest();
            self.change(traffic);
            self.stable = self.restored;
        }
        RolloutEvent::TrafficDecided {
            generation: self.generation,
        }
    }

    fn change(&mut self, traffic: Traffic) {
        self.traffic = traffic;
        self.generation += 1;
    }
}
