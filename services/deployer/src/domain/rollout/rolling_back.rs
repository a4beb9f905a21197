//! RollingBack: the traffic is on its way back. It was decided in the transaction that entered this state;
//! what is waited for is that proxies accept it. To RolledBack when they have; to Failed when there was
//! nothing to put back. Its expiry pages and arms it again, until it is done.
//!
//! What is restored runs already, except in a cold rollback, which first starts and checks it.

use std::sync::Arc;

use slipway_platform::clock::Timestamp;

use super::command::{Command, PageCode};
use super::event::{RollbackRecord, RolloutEvent as E};
use super::moves::{Draft, unchanged};
use super::state::{Kind, Phase, Plan, Retreat, RollingBack, Rollout};
use super::why::RollbackWhy;
use super::{Rejected, Step};
use crate::domain::serving::Serving;
use crate::domain::traffic::Revision;

/// A rollback of an endpoint on which no rollout carries the blame: after promotion, or by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginRollback {
    /// What loses its traffic.
    pub at_fault: Revision,
    /// What gets it.
    pub restore: Revision,
    /// Whether `restore` does not run and must be started first.
    pub cold: bool,
    /// Why.
    pub why: RollbackWhy,
    /// Deadlines, and how long connections may last.
    pub plan: Plan,
    /// Whether a person said that a pin is to be removed for it.
    pub unpin: bool,
}

/// The record of a rollback that begins now, and its commands.
pub fn begin_rollback(
    serving: &Serving,
    begin: BeginRollback,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let pinned = serving.pin.is_some();
    if pinned && !begin.unpin {
        return Err(Rejected::Pinned);
    }
    let retreat = if begin.cold {
        Retreat::Starting
    } else {
        Retreat::Requested
    };
    let rollout = Rollout {
        kind: Kind::Rollback,
        candidate: begin.at_fault,
        stable: Some(begin.restore),
        generation: serving.generation,
        carried: true,
        pinned: false,
        waivers: Vec::new(),
        rollback: Some(RollbackRecord {
            decided_at: now,
            applied_at: None,
            not_applied_on: Vec::new(),
            cold: begin.cold,
        }),
        phase: Phase::RollingBack(RollingBack {
            why: begin.why.clone(),
            restore: Some(begin.restore),
            retreat,
            stalled: false,
        }),
        phase_since: now,
        deadline: Some(now + begin.plan.deadlines.rolling_back),
        plan: Arc::new(begin.plan),
    };
    let mut draft = Draft::of(&rollout, now);
    if pinned {
        draft.command(Command::Unpin);
    }
    if begin.why.blocks() {
        draft.command(Command::Block {
            revision: begin.at_fault,
        });
    }
    draft.command(if begin.cold {
        Command::Provision {
            revision: begin.restore,
        }
    } else {
        Command::WithdrawTraffic {
            at_fault: begin.at_fault,
            restore: Some(begin.restore),
        }
    });
    draft.done()
}

pub(super) fn on(
    rollout: &Rollout,
    back: &RollingBack,
    event: &E,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let mut draft = Draft::of(rollout, now);
    match event {
        E::TrafficDecided { generation } if back.retreat == Retreat::Requested => {
            draft.rollout.generation = *generation;
            keep(
                &mut draft,
                back,
                Retreat::Decided {
                    generation: *generation,
                },
            );
        }
        E::TrafficApplied { generation, except } => match back.retreat {
            Retreat::Decided { generation: own } if *generation >= own => {
                draft.rolled_back(back, except)
            }
            Retreat::Decided { .. }
            | Retreat::Starting
            | Retreat::Checking
            | Retreat::Requested => {
                return Err(Rejected::Stale);
            }
        },
        E::Tick if rollout.deadline.is_some_and(|deadline| now >= deadline) => {
            stall(&mut draft, back)
        }
        E::Tick => return unchanged(rollout),
        E::Provisioned { revision } if is_awaited(back, Retreat::Starting, *revision) => {
            keep(&mut draft, back, Retreat::Checking);
            draft.command(Command::CheckHealth {
                revision: *revision,
            });
        }
        E::HealthPassed { revision } if is_awaited(back, Retreat::Checking, *revision) => {
            if rollout.pinned {
                return unchanged(rollout);
            }
            draft.withdraw(back.why.clone(), back.restore, rollout.candidate);
        }
        E::ProvisionFailed { revision, .. } if is_awaited(back, Retreat::Starting, *revision) => {
            page(&mut draft, back)
        }
        E::HealthFailed { revision, .. } if is_awaited(back, Retreat::Checking, *revision) => {
            page(&mut draft, back)
        }
        E::RevisionLost { revision } if Some(*revision) == back.restore => {
            draft.command(Command::Page(PageCode::RevisionLost));
        }
        E::Abort { to, unpin, .. } => return again(draft, back, *to, *unpin),
        E::PinSet { generation } => {
            draft.rollout.pinned = true;
            draft.rollout.generation = *generation;
        }
        E::PinReleased => {
            draft.rollout.pinned = false;
            if let (Retreat::Checking, Some(revision)) = (back.retreat, back.restore) {
                draft.command(Command::CheckHealth { revision });
            }
        }
        E::Pause { .. } => return Err(Rejected::NotPausable),
        E::Resume => return Err(Rejected::NotPaused),
        E::Promote { .. } => return Err(Rejected::NotPromotable),
        E::TurnCame { .. }
        | E::GatePassed
        | E::GateRefused { .. }
        | E::Provisioned { .. }
        | E::ProvisionFailed { .. }
        | E::HealthPassed { .. }
        | E::HealthFailed { .. }
        | E::TrafficDecided { .. }
        | E::TrafficConflict { .. }
        | E::TrafficUnapplied
        | E::Judged { .. }
        | E::StableAtFault { .. }
        | E::RevisionLost { .. }
        | E::Superseded => return Err(Rejected::Stale),
    }
    draft.done()
}

fn is_awaited(back: &RollingBack, retreat: Retreat, revision: Revision) -> bool {
    back.retreat == retreat && back.restore == Some(revision)
}

fn keep(draft: &mut Draft, back: &RollingBack, retreat: Retreat) {
    draft.keep(Phase::RollingBack(RollingBack {
        retreat,
        ..back.clone()
    }));
}

/// Told once; the next expiry tries again.
fn page(draft: &mut Draft, back: &RollingBack) {
    if !back.stalled {
        draft.keep(Phase::RollingBack(RollingBack {
            stalled: true,
            ..back.clone()
        }));
        draft.command(Command::Page(PageCode::RollbackStalled));
    }
}

/// Time is over: people are told, and it goes on with a new deadline.
fn stall(draft: &mut Draft, back: &RollingBack) {
    draft.keep(Phase::RollingBack(RollingBack {
        stalled: true,
        ..back.clone()
    }));
    draft.rollout.deadline = Some(draft.now + draft.rollout.plan.deadlines.rolling_back);
    draft.command(Command::Page(PageCode::RollbackStalled));
    match (back.retreat, back.restore) {
        (Retreat::Starting, Some(revision)) => draft.command(Command::Provision { revision }),
        (Retreat::Checking, Some(revision)) => draft.command(Command::CheckHealth { revision }),
        (Retreat::Requested | Retreat::Decided { .. }, Some(_) | None)
        | (Retreat::Starting | Retreat::Checking, None) => {}
    }
}

/// A person asks again: for another revision to be restored, or past a pin that came in between.
fn again(
    mut draft: Draft,
    back: &RollingBack,
    to: Option<Revision>,
    unpin: bool,
) -> Result<Step, Rejected> {
    let restore = to.or(back.restore);
    let pinned = draft.rollout.pinned;
    if restore == back.restore && !(pinned && unpin) {
        return unchanged(&draft.rollout);
    }
    if pinned {
        if !unpin {
            return Err(Rejected::Pinned);
        }
        draft.rollout.pinned = false;
        draft.command(Command::Unpin);
    }
    let at_fault = match (back.retreat, back.restore) {
        (Retreat::Decided { .. }, Some(earlier)) if restore != back.restore => earlier,
        (
            Retreat::Decided { .. } | Retreat::Requested | Retreat::Starting | Retreat::Checking,
            Some(_) | None,
        ) => draft.rollout.candidate,
    };
    draft.withdraw(back.why.clone(), restore, at_fault);
    draft.done()
}
