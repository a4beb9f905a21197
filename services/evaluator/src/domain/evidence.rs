//! What a measured figure rests on: enough to compute its interval at any confidence, and what it would
//! be with more rows of the same kind.

use serde::{Deserialize, Serialize};
use slipway_statistics::auc::{Auc, AucMethod};
use slipway_statistics::confusion::f1_interval;
use slipway_statistics::measure::Interval;
use slipway_statistics::paired::AucDifference;
use slipway_statistics::parity::{self, Group};
use slipway_statistics::{normal, proportion};

/// The sufficient statistics of one figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A number that has no uncertainty.
    Exact {
        /// The number.
        value: f64,
    },
    /// `part` of `whole` rows.
    Share {
        /// Rows counted.
        part: u64,
        /// Rows it is a share of.
        whole: u64,
    },
    /// F1.
    F1 {
        /// Positive rows predicted positive.
        true_positives: u64,
        /// Rows predicted wrong.
        errors: u64,
    },
    /// An area under the curve.
    Area {
        /// The area.
        value: f64,
        /// Rows with a positive label.
        positives: u64,
        /// Rows with a negative label.
        negatives: u64,
        /// DeLong's S10.
        positive_variance: f64,
        /// DeLong's S01.
        negative_variance: f64,
        /// The area is off by at most this.
        max_error: f64,
    },
    /// A figure whose interval was computed from the rows themselves.
    Sampled {
        /// The figure.
        value: f64,
        /// Lower bound at `level`.
        low: f64,
        /// Upper bound at `level`.
        high: f64,
        /// Its confidence level.
        level: f64,
        /// How it was computed.
        method: String,
    },
    /// A figure of rows that are too few for an interval.
    Bare {
        /// The figure.
        value: f64,
        /// Why it has no interval.
        why: String,
    },
    /// A difference of two shares on the same rows.
    PairedShare {
        /// Rows that only the candidate has right.
        only_candidate: u64,
        /// Rows that only the baseline has right.
        only_baseline: u64,
        /// Rows in all.
        rows: u64,
    },
    /// A difference of two areas on the same rows.
    PairedArea {
        /// The difference.
        value: f64,
        /// DeLong's standard error.
        standard_error: f64,
        /// The difference is off by at most this.
        max_error: f64,
        /// Rows of the smaller class.
        smaller_class: u64,
    },
    /// The demographic parity difference of groups.
    ParityDifference {
        /// The groups that are compared.
        groups: Vec<Counted>,
    },
    /// The demographic parity ratio of groups.
    ParityRatio {
        /// The groups that are compared.
        groups: Vec<Counted>,
    },
}

/// A group with its counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The group.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows in it that are predicted 1.
    pub selected: u64,
}

impl Evidence {
    /// The interval at confidence `level`, had there been `times` as many rows of the same kind (1: the
    /// rows at hand), and the name of its method. Absent when there is none.
    pub fn interval(&self, level: f64, times: f64) -> Option<(Interval, &str)> {
        match self {
            Evidence::Exact { value } => Some((Interval::new(*value, *value), "exact")),
            Evidence::Share { part, whole } => {
                let (part, whole) = (*part as f64 * times, *whole as f64 * times);
                Some((proportion::wilson(part, whole, level).ok()?, "wilson"))
            }
            Evidence::F1 {
                true_positives,
                errors,
            } => {
                let (right, wrong) = (*true_positives as f64 * times, *errors as f64 * times);
                Some((f1_interval(right, wrong, level).ok()?, "wilson-f1"))
            }
            Evidence::Area { .. } => {
                let (interval, method) = self.area()?.interval(level, times);
                let method = match method {
                    AucMethod::DeLong => "delong",
                    AucMethod::Newcombe => "newcombe-5",
                };
                Some((interval, method))
            }
            Evidence::Sampled {
                value,
                low,
                high,
                level: at,
                method,
            } => {
                let scale = normal::critical(level) / normal::critical(*at) / times.sqrt();
                let interval = Interval::new(
                    value - (value - low) * scale,
                    value + (high - value) * scale,
                );
                Some((interval, method))
            }
            Evidence::Bare { .. } => None,
            Evidence::PairedShare {
                only_candidate,
                only_baseline,
                rows,
            } => {
                let scaled = |count: &u64| *count as f64 * times;
                let (b, c) = (scaled(only_candidate), scaled(only_baseline));
                let interval = proportion::paired_difference(b, c, scaled(rows), level).ok()?;
                Some((interval, "tango"))
            }
            Evidence::PairedArea {
                value,
                standard_error,
                max_error,
                smaller_class,
            } => {
                let difference = AucDifference {
                    value: *value,
                    standard_error: *standard_error,
                    max_error: *max_error,
                    smaller_class: *smaller_class,
                };
                Some((difference.interval(level, times), "delong-paired"))
            }
            Evidence::ParityDifference { groups } => {
                let parity = parity::difference(&as_groups(groups), level, times).ok()?;
                Some((parity.interval, "newcombe-10-pairs"))
            }
            Evidence::ParityRatio { groups } => {
                let parity = parity::ratio(&as_groups(groups), level, times).ok()?;
                Some((parity.interval, "mover-r-pairs"))
            }
        }
    }

    /// Why there is no interval, if there is none.
    pub fn why_no_interval(&self) -> Option<&str> {
        match self {
            Evidence::Bare { why, .. } => Some(why),
            _ => None,
        }
    }

    fn area(&self) -> Option<Auc> {
        match self {
            Evidence::Area {
                value,
                positives,
                negatives,
                positive_variance,
                negative_variance,
                max_error,
            } => Some(Auc {
                value: *value,
                positives: *positives,
                negatives: *negatives,
                positive_variance: *positive_variance,
                negative_variance: *negative_variance,
                max_error: *max_error,
            }),
            _ => None,
        }
    }
}

impl From<Auc> for Evidence {
    fn from(auc: Auc) -> Self {
        Evidence::Area {
            value: auc.value,
            positives: auc.positives,
            negatives: auc.negatives,
            positive_variance: auc.positive_variance,
            negative_variance: auc.negative_variance,
            max_error: auc.max_error,
        }
    }
}

impl From<AucDifference> for Evidence {
    fn from(difference: AucDifference) -> Self {
        Evidence::PairedArea {
            value: difference.value,
            standard_error: difference.standard_error,
            max_error: difference.max_error,
            smaller_class: difference.smaller_class,
        }
    }
}

fn as_groups(counted: &[Counted]) -> Vec<Group> {
    counted
        .iter()
        .map(|group| Group {
            name: group.name.clone(),
            rows: group.rows,
            selected: group.selected,
        })
        .collect()
}
