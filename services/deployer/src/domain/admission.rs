//! What happens with a second rollout while one runs on the same endpoint.

use serde::{Deserialize, Serialize};

use super::rollout::{Phase, Rollout};

/// The endpoint's policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondRollout {
    /// The running one is superseded while it has no traffic; later the second is refused.
    #[default]
    SupersedeBeforeShifting,
    /// The second waits.
    Queue,
    /// The second is refused.
    Refuse,
    /// The running one is rolled back, and the second follows.
    Supersede,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It begins.
    Begin,
    /// It waits for its turn.
    Wait,
    /// The running one is superseded; it waits until that one has ended, which may be at once.
    Supersede,
    /// It is refused.
    Refuse,
}

/// Whether a new rollout may begin while `running` has not ended. A rollback is never superseded: what comes
/// waits for it.
pub fn admit(policy: SecondRollout, running: Option<&Rollout>) -> Admission {
    let Some(running) = running.filter(|running| !running.ended()) else {
        return Admission::Begin;
    };
    let going_back = matches!(running.phase, Phase::RollingBack(_));
    match policy {
        SecondRollout::Queue => Admission::Wait,
        SecondRollout::Refuse => Admission::Refuse,
        SecondRollout::SupersedeBeforeShifting if running.before_shifting() => Admission::Supersede,
        SecondRollout::SupersedeBeforeShifting => Admission::Refuse,
        SecondRollout::Supersede if going_back => Admission::Wait,
        SecondRollout::Supersede => Admission::Supersede,
    }
}
