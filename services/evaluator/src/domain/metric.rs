//! The metrics that a suite may ask for, and what each of them needs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of rows predicted right.
    Accuracy,
    /// TP / (TP + FP).
    Precision,
    /// TP / (TP + FN).
    Recall,
    /// 2 TP / (2 TP + FP + FN).
    F1,
    /// Area under the receiver operating characteristic.
    RocAuc,
    /// Mean negative log likelihood.
    LogLoss,
    /// Largest difference of selection rates between groups.
    DemographicParityDifference,
    /// Smallest ratio of selection rates between groups.
    DemographicParityRatio,
    /// Number of rows.
    RowCount,
}

impl Metric {
    /// Every metric, in the order of reports.
    pub const ALL: [Metric; 9] = [
        Metric::RowCount,
        Metric::Accuracy,
        Metric::Precision,
        Metric::Recall,
        Metric::F1,
        Metric::RocAuc,
        Metric::LogLoss,
        Metric::DemographicParityDifference,
        Metric::DemographicParityRatio,
    ];

    /// Its name in suites, reasons and reports.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::F1 => "f1",
            Metric::RocAuc => "roc_auc",
            Metric::LogLoss => "log_loss",
            Metric::DemographicParityDifference => "demographic_parity_difference",
            Metric::DemographicParityRatio => "demographic_parity_ratio",
            Metric::RowCount => "row_count",
        }
    }

    /// The metric of that name, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is computed from scores rather than from predicted labels.
    pub fn needs_scores(self) -> bool {
        matches!(self, Metric::RocAuc | Metric::LogLoss)
    }

    /// Whether it compares groups.
    pub fn needs_groups(self) -> bool {
        matches!(
            self,
            Metric::DemographicParityDifference | Metric::DemographicParityRatio
        )
    }

    /// Whether it describes a set of rows, so that it can be measured in a slice, and compared with a
    /// baseline on the same rows.
    pub fn is_of_rows(self) -> bool {
        !self.needs_groups() && self != Metric::RowCount
    }

    /// Whether a smaller value is better. Decides what a regression is; the others are better when
    /// they are larger.
    pub fn smaller_is_better(self) -> bool {
        matches!(self, Metric::LogLoss | Metric::DemographicParityDifference)
    }

    /// Whether its values lie in 0..=1.
    pub fn is_share(self) -> bool {
        !matches!(self, Metric::LogLoss | Metric::RowCount)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
