//! A stage of a rollout that has traffic: one step of the strategy, or the soak. What was asked for, what
//! was observed, what the failure-detector said, and what follows from them.

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;

use super::event::{Seen, Verdict};
use super::why::PauseWhy;
use crate::domain::strategy::{Demand, EXTENSIONS_MAX, OnInsufficient};

/// How far the traffic of a stage has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Asked for; no generation yet.
    Requested,
    /// The endpoint has this generation; not every proxy has accepted it.
    Decided { generation: i64 },
    /// Every proxy has accepted it, since then.
    Applied {
        generation: i64,
        #[serde(with = "crate::domain::time::micros")]
        since: Timestamp,
    },
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stage {
    /// Its traffic.
    pub progress: Progress,
    /// The newest verdict on it.
    pub seen: Option<Seen>,
    /// How often its deadline was extended.
    pub extensions: u32,
    /// Whether its deadline already counts from the moment that proxies first had its traffic. Proxies that
    /// come and go do not extend it.
    pub armed: bool,
}

/// What follows for a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Wait,
    /// On to the next; `waived` if without HEALTHY.
    Advance { waived: bool },
    /// Another deadline.
    Extend,
    /// Hold.
    Pause(PauseWhy),
    /// Back, for want of evidence.
    RollBack,
}

impl Stage {
    /// A stage whose traffic has just been asked for.
    pub(super) fn requested() -> Self {
        Self {
            progress: Progress::Requested,
            seen: None,
            extensions: 0,
            armed: false,
        }
    }

    /// The generation that it has, if any.
    pub fn generation(&self) -> Option<i64> {
        match self.progress {
            Progress::Requested => None,
            Progress::Decided { generation } | Progress::Applied { generation, .. } => {
                Some(generation)
            }
        }
    }

    /// Since when every proxy has had its traffic.
    pub fn applied_since(&self) -> Option<Timestamp> {
        match self.progress {
            Progress::Requested | Progress::Decided { .. } => None,
            Progress::Applied { since, .. } => Some(since),
        }
    }

    /// The newest verdict; without any, it could not be measured.
    pub fn verdict(&self) -> Verdict {
        self.seen.map_or(Verdict::Unmeasurable, |seen| seen.verdict)
    }

    /// Keeps a verdict on the generation in force. A verdict on another one says nothing about this stage.
    pub(super) fn heard(self, verdict: Verdict, generation: i64) -> Option<Self> {
        match self.generation() {
            Some(own) if own == generation => Some(Self {
                seen: Some(Seen {
                    verdict,
                    generation,
                }),
                ..self
            }),
            Some(_) | None => None,
        }
    }

    /// The same, after proxies were found not to have it.
    pub(super) fn unapplied(self) -> Option<Self> {
        match self.progress {
            Progress::Applied { generation, .. } => Some(Self {
                progress: Progress::Decided { generation },
                ..self
            }),
            Progress::Requested | Progress::Decided { .. } => None,
        }
    }

    /// The same, after every proxy was found to have it.
    pub(super) fn applied(self, generation: i64, now: Timestamp) -> Option<Self> {
        match self.progress {
            Progress::Decided { generation: own } if own == generation => Some(Self {
                progress: Progress::Applied {
                    generation,
                    since: now,
                },
                ..self
            }),
            Progress::Requested | Progress::Decided { .. } | Progress::Applied { .. } => None,
        }
    }

    /// What follows at `now` for a stage that must be through by `deadline`.
    pub(super) fn judge(&self, demand: &Demand, deadline: Timestamp, now: Timestamp) -> Outcome {
        let expired = now >= deadline;
        let Some(since) = self.applied_since() else {
            return if expired {
                Outcome::Pause(PauseWhy::Unapplied)
            } else {
                Outcome::Wait
            };
        };
        let verdict = self.verdict();
        let enough = match verdict {
            Verdict::Healthy => true,
            Verdict::Degraded => false,
            Verdict::Insufficient | Verdict::Unmeasurable => !demand.require_healthy,
        };
        if enough && now >= since + demand.hold {
            return Outcome::Advance {
                waived: verdict != Verdict::Healthy,
            };
        }
        if !expired {
            return Outcome::Wait;
        }
        match verdict {
            // Only proxies that came and went can have kept a healthy stage from its hold.
            Verdict::Healthy => Outcome::Pause(PauseWhy::Unapplied),
            Verdict::Degraded => Outcome::RollBack,
            Verdict::Unmeasurable => Outcome::Pause(PauseWhy::Unmeasurable),
            Verdict::Insufficient => match demand.on_insufficient {
                OnInsufficient::Pause => Outcome::Pause(PauseWhy::Insufficient),
                OnInsufficient::Extend if self.extensions < EXTENSIONS_MAX => Outcome::Extend,
                OnInsufficient::Extend => Outcome::Pause(PauseWhy::Insufficient),
                OnInsufficient::Rollback => Outcome::RollBack,
                OnInsufficient::Promote => Outcome::Advance { waived: true },
            },
        }
    }
}
