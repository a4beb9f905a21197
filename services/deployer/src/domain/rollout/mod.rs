//! The rollout: data, and one pure function, [`step`].
//!
//! ```text
//!            TurnCame+GatePassed   Provisioned    HealthPassed        HEALTHY, last step     soak over
//!  Pending ────────────▶ Provisioning ──▶ Checking ──────▶ Shifting{0…n} ────────▶ Soaking ──────▶ Succeeded
//!     │                       │               │             │   ▲    │                │ ▲ │
//!     │                       └───────┬───────┘       pause │   │    │          pause │ │ │
//!     │   refused, failed, expired,   │                     ▼   │    │                ▼ │ │
//!     │   aborted, superseded         │                    Paused{why} ◀──────────────┘ │ │
//!     ▼                               ▼                     │     resume ───────────────┘ │
//!  Failed{why} ◀──────────────────────┘                     ▼  DEGRADED, abort, lost,     ▼
//!     ▲                                              RollingBack{why} ◀── expiry of Paused
//!     │      nothing to put back: no_last_known_good        │
//!     └─────────────────────────────────────────────────────┴── every proxy has it ──▶ RolledBack{why}
//! ```
//!
//! Three things are kept apart: what was *requested* (a `SetTraffic` command), what was *decided* (the
//! generation that the endpoint gave to it), and what was *observed* (that proxies have accepted it).
//!
//! Invariants: every phase that is not an end has a deadline, and its expiry leads to a named state or,
//! in RollingBack and under a pin, re-arms and pages. Moving forward needs HEALTHY of the generation in
//! force, or is recorded as a waiver. Traffic that no proxy has accepted never moves a rollout forward.
//! Abort and DEGRADED apply in any phase that carries traffic, except that automation waits while a
//! person's pin holds.

mod checking;
mod command;
mod ended;
mod event;
mod moves;
mod paused;
mod pending;
mod provisioning;
mod queries;
mod rolling_back;
mod shifting;
mod soaking;
mod stage;
mod state;
#[cfg(test)]
mod tests;
mod why;

pub use command::{Command, PageCode, Place};
pub use event::{Fault, RollbackRecord, RolloutEvent, Seen, Verdict};
pub use pending::begin;
pub use rolling_back::{BeginRollback, begin_rollback};
pub use stage::{Progress, Stage};
pub use state::{
    Deadlines, Gate, Kind, Paused, PausedFrom, Pending, Phase, Plan, Retreat, RollingBack, Rollout,
    Shifting, Soaking, WaivedBy, Waiver,
};
pub use why::{FailWhy, PauseWhy, RollbackWhy};

use slipway_platform::clock::Timestamp;

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rollout as it is now.
    pub next: Rollout,
    /// What is to be done, in this order.
    pub commands: Vec<Command>,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The rollout has ended.
    #[error("the rollout has ended")]
    Ended,
    /// The event is about something that is over, or not yet.
    #[error("the rollout is not waiting for this")]
    Stale,
    /// A person's pin is in force.
    #[error("a person has pinned the traffic of the endpoint")]
    Pinned,
    /// Proxies have not accepted the traffic that is in force.
    #[error("no proxy, or not every proxy, has accepted the traffic in force")]
    Unapplied,
    /// It cannot be paused here.
    #[error("a rollout can be paused while it provisions, checks, shifts or soaks")]
    NotPausable,
    /// It is not paused.
    #[error("the rollout is not paused")]
    NotPaused,
    /// It cannot be promoted here.
    #[error("a rollout can be promoted while it shifts or soaks, or is paused there")]
    NotPromotable,
}

impl Rejected {
    /// The stable reason in API answers.
    pub fn code(self) -> &'static str {
        match self {
            Rejected::Ended => "ROLLOUT_ENDED",
            Rejected::Stale => "NOT_EXPECTED",
            Rejected::Pinned => "PINNED",
            Rejected::Unapplied => "UNAPPLIED",
            Rejected::NotPausable => "NOT_PAUSABLE",
            Rejected::NotPaused => "NOT_PAUSED",
            Rejected::NotPromotable => "NOT_PROMOTABLE",
        }
    }
}

/// What follows for `rollout` from `event` at `now`. Pure: the same arguments give the same answer.
pub fn step(rollout: &Rollout, event: &RolloutEvent, now: Timestamp) -> Result<Step, Rejected> {
    match &rollout.phase {
        Phase::Pending(pending) => pending::on(rollout, *pending, event, now),
        Phase::Provisioning => provisioning::on(rollout, event, now),
        Phase::Checking => checking::on(rollout, event, now),
        Phase::Shifting(shifting) => shifting::on(rollout, shifting, event, now),
        Phase::Soaking(soaking) => soaking::on(rollout, soaking, event, now),
        Phase::Paused(paused) => paused::on(rollout, paused, event, now),
        Phase::RollingBack(back) => rolling_back::on(rollout, back, event, now),
        Phase::Succeeded | Phase::RolledBack { .. } | Phase::Failed { .. } => ended::on(event),
    }
}
