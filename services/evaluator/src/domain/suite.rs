//! What to evaluate and what must hold, as it is stored. [`super::check`] says what is wrong with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{ModelName, SuiteName};

use super::metric::Metric;
use super::stored_time;

/// A suite as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suite {
    /// Its name.
    pub name: SuiteName,
    /// Counts up with every change, from 1; goes on when a removed suite is made again.
    pub revision: i64,
    /// When this revision was made.
    #[serde(with = "stored_time")]
    pub update_time: Timestamp,
    /// What it says.
    pub spec: SuiteSpec,
}

/// The part of a suite that a user writes. An evaluation keeps a copy of the one it was asked with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteSpec {
    /// What the suite is for.
    pub description: String,
    /// The models that it is run on by itself.
    pub models: Models,
    /// Whether it runs by itself when a version is created.
    pub run_on_created: bool,
    /// Where the predictions are and how to read them.
    pub predictions: PredictionsSpec,
    /// What must hold; at least one.
    pub criteria: Vec<Criterion>,
    /// Columns whose values are slices.
    pub slice_columns: Vec<String>,
    /// Slices with fewer rows are reported and not judged.
    pub slice_min_rows: u64,
    /// The column of groups that are compared; absent: no fairness metrics.
    pub group_column: Option<String>,
    /// Groups with fewer rows are reported and not judged.
    pub group_min_rows: u64,
    /// The alias that comparative criteria compare with.
    pub baseline_alias: String,
    /// Whether a missing baseline is INCONCLUSIVE instead of NOT_APPLICABLE.
    pub baseline_required: bool,
    /// Confidence level of the intervals.
    pub confidence: f64,
    /// How long a PASS counts as evidence.
    pub valid_for: Duration,
    /// Seed of the resampling.
    pub bootstrap_seed: u64,
    /// Number of resamples.
    pub bootstrap_resamples: u32,
}

/// The models of the workspace that a suite is run on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Models {
    /// All of them.
    All,
    /// Those with these ids.
    Only(Vec<String>),
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// Where predictions are and how to read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionsSpec {
    /// The role of the artifact in the version.
    pub role: String,
    /// How it is written; absent: by its file name, its media type or its first byte.
    pub format: Option<Format>,
    /// Column of the true label.
    pub label_column: String,
    /// Column of the predicted label; absent: the score against `decision_threshold`.
    pub prediction_column: Option<String>,
    /// Column of the score.
    pub score_column: Option<String>,
    /// Column that identifies a row.
    pub id_column: Option<String>,
    /// A score at or above it predicts 1.
    pub decision_threshold: f64,
}

/// One thing that must hold: one metric and at least one bound on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// What is measured.
    pub metric: Metric,
    /// At least this.
    pub min: Option<f64>,
    /// At most this.
    pub max: Option<f64>,
    /// Worse than the baseline by at most this.
    pub max_regression: Option<f64>,
    /// What it is decided on.
    pub decide_on: DecideOn,
    /// Whether it must hold in every slice that is judged as well.
    pub in_slices: bool,
}

/// What a criterion is decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecideOn {
    /// All of the confidence interval must be on one side.
    Interval,
    /// The point estimate.
    Point,
}

impl SuiteSpec {
    /// A suite without criteria and with every default, for a builder to fill in.
    pub fn with_defaults() -> Self {
        Self {
            description: String::new(),
            models: Models::Only(Vec::new()),
            run_on_created: false,
            predictions: PredictionsSpec {
                role: "predictions".to_owned(),
                format: None,
                label_column: "label".to_owned(),
                prediction_column: None,
                score_column: None,
                id_column: None,
                decision_threshold: 0.5,
            },
            criteria: Vec::new(),
            slice_columns: Vec::new(),
            slice_min_rows: 30,
            group_column: None,
            group_min_rows: 30,
            baseline_alias: "champion".to_owned(),
            baseline_required: false,
            confidence: 0.95,
            valid_for: Duration::from_secs(30 * 24 * 3600),
            bootstrap_seed: 0,
            bootstrap_resamples: 1_000,
        }
    }

    /// Whether it is run by itself on new versions of `model`, a model of its workspace.
    pub fn runs_on(&self, model: &ModelName) -> bool {
        self.run_on_created
            && match &self.models {
                Models::All => true,
                Models::Only(ids) => ids.iter().any(|id| id == model.id()),
            }
    }

    /// Whether a criterion compares with the baseline.
    pub fn compares(&self) -> bool {
        self.criteria.iter().any(|c| c.max_regression.is_some())
    }

    /// The metrics that must be measured in slices.
    pub fn slice_metrics(&self) -> impl Iterator<Item = Metric> {
        self.criteria
            .iter()
            .filter(|c| c.in_slices)
            .map(|c| c.metric)
    }
}
