//! What an anomaly on a serving endpoint leads to: it triggers, and the deployer decides.
//!
//! A finding against a rollout's candidate is the rollout's own business; one against what serves steadily
//! puts the last known good back, unless a pin holds, there is nothing to put back, or the revision was
//! itself put back by a rollback, which is not rolled back again.

use super::rollout::{PageCode, Phase, Rollout};
use super::serving::Serving;
use super::traffic::Revision;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The running rollout hears that its candidate is degraded.
    TellRollout,
    /// The running rollout hears that stable is degraded, and holds.
    HoldRollout,
    /// All traffic goes to this revision.
    RollBack { restore: Revision },
    /// Nothing changes, and people are told why.
    Withhold(Withheld),
    /// Nothing changes.
    Ignore(Ignored),
}

/// Why automation holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// A person's pin is in force.
    Pinned,
    /// The revision was put back by a rollback.
    RestoredRevision,
    /// There is nothing to put back.
    NoLastKnownGood,
}

/// Why there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// The revision gets no request.
    NoTraffic,
    /// Its traffic is on its way back already.
    AlreadyRollingBack,
}

impl Withheld {
    /// The stable reason.
    pub fn code(self) -> &'static str {
        match self {
            Withheld::Pinned => "PINNED",
            Withheld::RestoredRevision => "RESTORED_REVISION",
            Withheld::NoLastKnownGood => "NO_LAST_KNOWN_GOOD",
        }
    }

    /// The same in words.
    pub fn text(self) -> &'static str {
        match self {
            Withheld::Pinned => {
                "a person has pinned the traffic; a rollback by hand with unpin overrides it"
            }
            Withheld::RestoredRevision => {
                "the revision was itself put back by a rollback, which is not rolled back"
            }
            Withheld::NoLastKnownGood => "there is no last known good to put back",
        }
    }

    /// What people are told.
    pub fn page(self) -> PageCode {
        match self {
            Withheld::Pinned | Withheld::RestoredRevision => PageCode::RollbackWithheld,
            Withheld::NoLastKnownGood => PageCode::NoLastKnownGood,
        }
    }
}

impl Ignored {
    /// The stable reason.
    pub fn code(self) -> &'static str {
        match self {
            Ignored::NoTraffic => "NO_TRAFFIC",
            Ignored::AlreadyRollingBack => "ALREADY_ROLLING_BACK",
        }
    }

    /// The same in words.
    pub fn text(self) -> &'static str {
        match self {
            Ignored::NoTraffic => "the revision carries no traffic",
            Ignored::AlreadyRollingBack => "its traffic is on its way back already",
        }
    }
}

/// What an anomaly on `at_fault` leads to.
pub fn answer(serving: &Serving, running: Option<&Rollout>, at_fault: Revision) -> Answer {
    if let Some(running) = running.filter(|running| !running.ended()) {
        if matches!(running.phase, Phase::RollingBack(_)) && running.candidate == at_fault {
            return Answer::Ignore(Ignored::AlreadyRollingBack);
        }
        if running.candidate == at_fault && running.carried {
            return Answer::TellRollout;
        }
    }
    if !serving.traffic.carries(at_fault) {
        return Answer::Ignore(Ignored::NoTraffic);
    }
    if serving.pin.is_some() {
        return Answer::Withhold(Withheld::Pinned);
    }
    if serving.restored == Some(at_fault) {
        return Answer::Withhold(Withheld::RestoredRevision);
    }
    if running.is_some_and(|running| !running.ended() && !running.before_shifting()) {
        return Answer::HoldRollout;
    }
    match serving.last_known_good(Some(at_fault)) {
        Some(restore) => Answer::RollBack { restore },
        None => Answer::Withhold(Withheld::NoLastKnownGood),
    }
}
