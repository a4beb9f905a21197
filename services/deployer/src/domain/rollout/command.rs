//! What a rollout asks for. Commands of the first group are applied to the endpoint in the transaction of
//! the decision; those of the second are published with it; those of the third are queued, and a worker
//! performs each of them at least once.

use std::time::Duration;

use crate::domain::traffic::{Revision, Traffic};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// Forward: set the traffic, if its generation is still `expected`. Answered by
    /// `TrafficDecided` or `TrafficConflict`.
    SetTraffic { expected: i64, traffic: Traffic },
    /// Back: leave nothing on `at_fault`, whatever the generation. Answered by `TrafficDecided`.
    WithdrawTraffic {
        at_fault: Revision,
        restore: Option<Revision>,
    },
    /// Remove a person's pin, because a person said so.
    Unpin,
    /// The revision is the endpoint's stable now; `judged` if it was HEALTHY at the end of its soak.
    MakeStable { revision: Revision, judged: bool },
    /// What the revision runs may not run on this endpoint any more.
    Block { revision: Revision },

    /// People must look.
    Page(PageCode),
    /// Say that a rollback is complete.
    AnnounceRollback,
    /// The verdict watcher has something to open, or to ask anew.
    OpenWatch,
    /// The verdict watcher has something to close.
    CloseWatch,

    /// Ask whether the version may enter. Answered by `GatePassed` or `GateRefused`.
    AskGate { revision: Revision },
    /// Start a revision. Answered by `Provisioned` or `ProvisionFailed`.
    Provision { revision: Revision },
    /// Wait until a revision answers. Answered by `HealthPassed` or `HealthFailed`.
    CheckHealth { revision: Revision },
    /// Stop a revision, not before `after` has passed, and only if nothing needs it then.
    StopRevision { revision: Revision, after: Duration },
    /// Point the model's champion alias at what the revision runs.
    MoveChampion { revision: Revision },
}

/// Who does a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The endpoint, in the transaction of the decision.
    Endpoint,
    /// The outbox and the nudges, in the transaction of the decision.
    Told,
    /// A worker, later, at least once.
    Worker,
}

impl Command {
    /// Who does it.
    pub fn place(&self) -> Place {
        match self {
            Command::SetTraffic { .. }
            | Command::WithdrawTraffic { .. }
            | Command::Unpin
            | Command::MakeStable { .. }
            | Command::Block { .. } => Place::Endpoint,
            Command::Page(_)
            | Command::AnnounceRollback
            | Command::OpenWatch
            | Command::CloseWatch => Place::Told,
            Command::AskGate { .. }
            | Command::Provision { .. }
            | Command::CheckHealth { .. }
            | Command::StopRevision { .. }
            | Command::MoveChampion { .. } => Place::Worker,
        }
    }
}

/// Why people must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PageCode {
    /// A pin kept automation from putting traffic back.
    RollbackWithheld,
    /// A rollback has run out its time and goes on.
    RollbackStalled,
    /// There is nothing to put back.
    NoLastKnownGood,
    /// A revision that carries traffic has died.
    RevisionLost,
    /// The rollout is held and somebody must decide.
    RolloutPaused,
    /// Stable was called DEGRADED while a candidate is under way.
    StableAtFault,
}

impl PageCode {
    /// The stable word in events.
    pub fn code(self) -> &'static str {
        match self {
            PageCode::RollbackWithheld => "rollback_withheld",
            PageCode::RollbackStalled => "rollback_stalled",
            PageCode::NoLastKnownGood => "no_last_known_good",
            PageCode::RevisionLost => "revision_lost",
            PageCode::RolloutPaused => "rollout_paused",
            PageCode::StableAtFault => "stable_at_fault",
        }
    }
}
