//! What a measurement can be: a value, or *undefined* with the reason; and the interval around it.
//!
//! An undefined metric is never reported as 0 or 1. Whoever gates on it decides what its absence
//! means, and can say why it is absent.

/// Why a metric has no value on the rows at hand. `Display` is a clause that fits after "because".
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Undefined {
    /// Nothing was counted.
    #[error("there are no rows")]
    NoRows,
    /// The metric conditions on positive labels.
    #[error("no row has a positive label")]
    NoPositives,
    /// The metric conditions on negative labels.
    #[error("no row has a negative label")]
    NoNegatives,
    /// Precision conditions on positive predictions.
    #[error("no row is predicted positive")]
    NoPredictedPositives,
    /// F1 has neither positive labels nor positive predictions.
    #[error("no row has a positive label or a positive prediction")]
    NothingPositive,
    /// A spread cannot be estimated from so few rows.
    #[error("{rows} rows are too few for an interval, which takes {needed}")]
    TooFewRows {
        /// Rows at hand.
        rows: u64,
        /// Rows it takes.
        needed: u64,
    },
    /// A comparison between groups has fewer than two groups to compare.
    #[error("{groups} of the groups has enough rows, and a comparison takes two")]
    TooFewGroups {
        /// Groups that can be compared.
        groups: usize,
    },
    /// A group is below the minimum size.
    #[error("group `{group}` has {rows} rows, fewer than the minimum of {minimum}")]
    GroupTooSmall {
        /// The group.
        group: String,
        /// Its rows.
        rows: u64,
        /// The minimum.
        minimum: u64,
    },
    /// A ratio of rates of which all are zero.
    #[error("no group has a row that is predicted positive")]
    NothingSelected,
    /// A resampling distribution has too many resamples without a value.
    #[error("{undefined} of {resamples} resamples have no value")]
    Resamples {
        /// Resamples without a value.
        undefined: u32,
        /// All resamples.
        resamples: u32,
    },
}

/// A two-sided confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound; never below `low`.
    pub high: f64,
}

impl Interval {
    /// An interval from its bounds, in order.
    pub fn new(low: f64, high: f64) -> Self {
        debug_assert!(low <= high, "{low} > {high}");
        Self { low, high }
    }

    /// Whether `value` lies in the closed interval.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The same interval, cut to `low..=high`.
    pub fn clamped(self, low: f64, high: f64) -> Self {
        Self {
            low: self.low.clamp(low, high),
            high: self.high.clamp(low, high),
        }
    }

    /// The same interval, wider by `by` on each side.
    pub fn widened(self, by: f64) -> Self {
        Self {
            low: self.low - by,
            high: self.high + by,
        }
    }

    /// The smallest interval that covers both.
    pub fn hull(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}
