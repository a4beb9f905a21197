//! What a watch says, complete.

use slipway_platform::clock::Timestamp;

use crate::domain::policy::{Alphas, Policy};
use crate::domain::subject::Subject;
use crate::domain::verdict::Finding;

/// A verdict with everything that it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was judged.
    pub subject: Subject,
    /// How.
    pub policy: Policy,
    /// The level of each test.
    pub alphas: Alphas,
    /// What was found.
    pub finding: Finding,
    /// The id of the decision, when degraded.
    pub decision_id: String,
    /// The alert, when degraded.
    pub alert: String,
    /// When it was said.
    pub time: Timestamp,
    /// Access-log streams that are open.
    pub log_streams: u32,
    /// Log entries that are known to be lost.
    pub lost_entries: u64,
    /// When the last observation came.
    pub last_observation: Option<Timestamp>,
}
