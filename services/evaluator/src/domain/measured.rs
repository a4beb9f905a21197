//! What was measured: the stored inputs of a judgement.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::metric::Metric;

/// All measurements of one evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Rows that were read.
    pub rows: u64,
    /// Over all rows.
    pub overall: Vec<Measurement>,
    /// In slices, by column in the suite's order and then by size.
    pub slices: Vec<Slice>,
    /// By group, in the order of their names.
    pub groups: Vec<Group>,
    /// What it was compared with.
    pub baseline: Baseline,
}

/// What a version was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// The suite compares with nothing.
    NotAsked,
    /// The alias does not exist.
    Missing {
        /// Its resource name.
        alias: String,
    },
    /// The alias points at the version itself.
    Itself {
        /// Its resource name.
        alias: String,
    },
    /// Another version.
    Version {
        /// Its resource name.
        name: String,
        /// Its digest.
        digest: String,
        /// The digest of its predictions.
        predictions_digest: String,
    },
}

/// A number, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// It has a value.
    Known {
        /// The value.
        value: f64,
        /// What it rests on.
        evidence: Evidence,
    },
    /// It has none on these rows.
    Undefined {
        /// Why, as a clause that fits after "because".
        why: String,
    },
}

impl Figure {
    /// The value, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Figure::Known { value, .. } => Some(*value),
            Figure::Undefined { .. } => None,
        }
    }
}

/// One metric over one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured.
    pub metric: Metric,
    /// Rows that it rests on: positive rows for recall, for instance.
    pub rows: u64,
    /// What came out.
    pub figure: Figure,
    /// The same on the baseline's predictions, and candidate minus baseline.
    pub comparison: Option<Comparison>,
}

/// A metric against the baseline's on the same rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's value, if it has one.
    pub baseline: Option<f64>,
    /// Candidate minus baseline.
    pub difference: Figure,
    /// The p-value of the test that belongs to it (McNemar's, DeLong's), for reports.
    pub p_value: Option<f64>,
}

/// The rows with one value in one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The column.
    pub column: String,
    /// The value.
    pub value: String,
    /// Rows in it.
    pub rows: u64,
    /// Whether it has enough rows to be judged.
    pub judged: bool,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

impl Slice {
    /// `column=value`.
    pub fn label(&self) -> String {
        format!("{}={}", self.column, self.value)
    }
}

/// One group of the fairness column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The value.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows in it that are predicted 1.
    pub selected: u64,
    /// Whether it has enough rows to be judged.
    pub judged: bool,
}

/// The measurement of `metric` among `measurements`.
pub fn find(measurements: &[Measurement], metric: Metric) -> Option<&Measurement> {
    measurements.iter().find(|m| m.metric == metric)
}
