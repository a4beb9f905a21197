//! Verdicts and the reasons for them.

use serde::{Deserialize, Serialize};

use super::metric::Metric;

/// The outcome of an evaluation, or of one criterion. The order is the order of the fold: what was
/// shown to be bad outweighs what could not be measured, and that outweighs what is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Everything that must hold was shown to hold.
    Pass,
    /// Not enough evidence to say either.
    Inconclusive,
    /// It could not be measured.
    Error,
    /// Something that must hold was shown not to hold.
    Fail,
}

impl Verdict {
    /// Its name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Error => "ERROR",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One reason for a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// What this part says; absent when it could not apply and does not count.
    pub verdict: Option<Verdict>,
    /// A stable UPPER_SNAKE name; see [`code`].
    pub code: String,
    /// In words and numbers.
    pub text: String,
    /// The metric, if it is about one.
    pub metric: Option<Metric>,
    /// The slice, if it is about one: `column=value`.
    pub slice: Option<String>,
    /// Rows that are needed in all to decide, if more would help.
    pub rows_needed: Option<u64>,
}

impl Reason {
    /// A reason that is about the evaluation as a whole.
    pub fn general(verdict: Verdict, code: &str, text: impl Into<String>) -> Self {
        Self {
            verdict: Some(verdict),
            code: code.to_owned(),
            text: text.into(),
            metric: None,
            slice: None,
            rows_needed: None,
        }
    }

    /// It could not be measured.
    pub fn error(code: &str, text: impl Into<String>) -> Self {
        Self::general(Verdict::Error, code, text)
    }
}

/// The stable names of reasons. Those of unreadable predictions are in `predictions::fault`.
pub mod code {
    /// The criterion holds.
    pub const HOLDS: &str = "HOLDS";
    /// Shown to be below `min`.
    pub const BELOW_MIN: &str = "BELOW_MIN";
    /// Shown to be above `max`.
    pub const ABOVE_MAX: &str = "ABOVE_MAX";
    /// Shown to be worse than the baseline by more than `max_regression`.
    pub const REGRESSION: &str = "REGRESSION";
    /// The interval is on both sides of the bound.
    pub const NOT_ENOUGH_ROWS: &str = "NOT_ENOUGH_ROWS";
    /// Looks bad in one of many slices, which chance alone may do.
    pub const NOT_SIGNIFICANT_AMONG_SLICES: &str = "NOT_SIGNIFICANT_AMONG_SLICES";
    /// The metric has no value on these rows.
    pub const UNDEFINED: &str = "UNDEFINED";
    /// There is no baseline to compare with.
    pub const NO_BASELINE: &str = "NO_BASELINE";
    /// The version is the baseline.
    pub const IS_THE_BASELINE: &str = "IS_THE_BASELINE";
    /// Slices below the minimum size.
    pub const SLICES_NOT_JUDGED: &str = "SLICES_NOT_JUDGED";
    /// Groups below the minimum size.
    pub const GROUPS_NOT_JUDGED: &str = "GROUPS_NOT_JUDGED";
    /// No criterion could be applied.
    pub const NOTHING_APPLIED: &str = "NOTHING_APPLIED";
    /// More reasons of this kind than are listed.
    pub const MORE: &str = "MORE";
    /// No suite runs on the model.
    pub const NO_SUITE: &str = "NO_SUITE";
    /// The version has no predictions.
    pub const NO_PREDICTIONS: &str = "NO_PREDICTIONS";
    /// The baseline has no predictions.
    pub const BASELINE_HAS_NO_PREDICTIONS: &str = "BASELINE_HAS_NO_PREDICTIONS";
    /// The version is gone, or is not the one that was asked for.
    pub const VERSION_NOT_FOUND: &str = "VERSION_NOT_FOUND";
    /// The registry says another digest than the one that was asked for.
    pub const VERSION_DIGEST_MISMATCH: &str = "VERSION_DIGEST_MISMATCH";
    /// The registry answers something that is not an answer.
    pub const REGISTRY_ANSWER: &str = "REGISTRY_ANSWER";
    /// Not begun in time.
    pub const NOT_STARTED_IN_TIME: &str = "NOT_STARTED_IN_TIME";
    /// Not done in time.
    pub const NOT_DONE_IN_TIME: &str = "NOT_DONE_IN_TIME";
    /// The worker was lost too often.
    pub const WORKER_LOST: &str = "WORKER_LOST";
    /// Somebody cancelled it.
    pub const CANCELLED: &str = "CANCELLED";
}
