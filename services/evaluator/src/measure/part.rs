//! The accumulators of one set of rows: all of them, or one slice.

use slipway_statistics::auc::Auc;
use slipway_statistics::bootstrap::Plan;
use slipway_statistics::confusion::Confusion;
use slipway_statistics::mean::{MeanMethod, MeanSketch};
use slipway_statistics::measure::Undefined;
use slipway_statistics::normal;
use slipway_statistics::paired::{PairedCounts, PlacementSample, mcnemar};
use slipway_statistics::rank::ScoreSketch;

use super::join::Scored;
use crate::domain::evidence::Evidence;
use crate::domain::measured::{Comparison, Figure, Measurement};
use crate::domain::metric::Metric;

/// How much of a set of rows is kept, which decides up to where figures are exact.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Different scores up to which areas are exact.
    pub score_bins: usize,
    /// Rows up to which a mean loss is resampled row by row.
    pub losses: usize,
    /// Rows of a class up to which the correlation of two areas is exact.
    pub placements: usize,
}

impl Size {
    /// For all rows: about 30 MB.
    pub const ALL_ROWS: Size = Size {
        score_bins: 1 << 18,
        losses: 10_000,
        placements: 1 << 19,
    };
    /// For a slice: about 0.2 MB, and twice that with a baseline.
    pub const SLICE: Size = Size {
        score_bins: 1 << 11,
        losses: 500,
        placements: 1 << 11,
    };
}

/// What is accumulated of one set of rows.
#[derive(Debug)]
pub struct Part {
    /// Counts of right and wrong predictions.
    pub counts: Confusion,
    scores: Option<ScoreSketch>,
    losses: Option<MeanSketch>,
    paired: Option<Paired>,
}

/// What is accumulated of rows that have a counterpart.
#[derive(Debug)]
struct Paired {
    counts: PairedCounts,
    scores: Option<ScoreSketch>,
    placements: Option<PlacementSample>,
    loss_differences: Option<MeanSketch>,
}

/// What is wanted of a set of rows.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The area under the curve.
    pub areas: bool,
    /// The log loss.
    pub losses: bool,
    /// All of it against a baseline.
    pub paired: bool,
    /// Seed of samples.
    pub seed: u64,
}

impl Part {
    /// Nothing accumulated yet.
    pub fn new(wanted: Wanted, size: Size) -> Self {
        let scores = || wanted.areas.then(|| ScoreSketch::new(size.score_bins));
        let losses = || wanted.losses.then(|| MeanSketch::new(size.losses));
        Self {
            counts: Confusion::default(),
            scores: scores(),
            losses: losses(),
            paired: wanted.paired.then(|| Paired {
                counts: PairedCounts::default(),
                scores: scores(),
                placements: wanted
                    .areas
                    .then(|| PlacementSample::new(size.placements, wanted.seed)),
                loss_differences: losses(),
            }),
        }
    }

    /// Adds a row of the candidate; with a score comes its log loss.
    pub fn add(&mut self, label: bool, prediction: bool, score: Option<(f64, f64)>) {
        self.counts.add(label, prediction);
        if let Some((score, loss)) = score {
            if let Some(scores) = &mut self.scores {
                scores.push(score, label);
            }
            if let Some(losses) = &mut self.losses {
                losses.push(loss);
            }
        }
    }

    /// Adds the two predictions of one row; the candidate's was added before.
    pub fn pair(&mut self, here: &Scored, there: &Scored, loss_difference: Option<f64>) {
        let Some(paired) = &mut self.paired else {
            return;
        };
        paired
            .counts
            .add(here.label, here.prediction, there.prediction);
        if let (Some(candidate), Some(baseline)) = (here.score, there.score) {
            if let Some(scores) = &mut paired.scores {
                scores.push(baseline, here.label);
            }
            if let Some(placements) = &mut paired.placements {
                placements.push(candidate, baseline, here.label);
            }
        }
        if let (Some(differences), Some(difference)) =
            (&mut paired.loss_differences, loss_difference)
        {
            differences.push(difference);
        }
    }

    /// Measures `metric`, one that describes a set of rows, and compares it if `compare`.
    pub fn measure(&mut self, metric: Metric, compare: bool, plan: &Plan) -> Measurement {
        let (figure, rows) = self.figure(metric, plan);
        let comparison = if compare {
            self.comparison(metric, &figure, plan)
        } else {
            None
        };
        Measurement {
            metric,
            rows,
            figure,
            comparison,
        }
    }

    fn figure(&mut self, metric: Metric, plan: &Plan) -> (Figure, u64) {
        let counts = self.counts;
        let share = |part, whole, value: Result<f64, Undefined>| {
            (known(value, |_| Evidence::Share { part, whole }), whole)
        };
        match metric {
            Metric::Accuracy => share(counts.correct(), counts.rows(), counts.accuracy()),
            Metric::Precision => share(
                counts.true_positives,
                counts.predicted_positives(),
                counts.precision(),
            ),
            Metric::Recall => share(counts.true_positives, counts.positives(), counts.recall()),
            Metric::F1 => {
                let errors = counts.false_positives + counts.false_negatives;
                let true_positives = counts.true_positives;
                let evidence = |_| Evidence::F1 {
                    true_positives,
                    errors,
                };
                (known(counts.f1(), evidence), true_positives + errors)
            }
            Metric::RocAuc => {
                let figure = match self.scores.as_mut().map(Auc::of) {
                    Some(Ok(auc)) => Figure::Known {
                        value: auc.value,
                        evidence: auc.into(),
                    },
                    Some(Err(why)) => undefined(&why),
                    None => no_scores(),
                };
                (figure, counts.rows())
            }
            Metric::LogLoss => {
                let figure = self
                    .losses
                    .as_ref()
                    .map_or_else(no_scores, |l| mean(l, plan));
                (figure, counts.rows())
            }
            Metric::RowCount => {
                let value = counts.rows() as f64;
                let evidence = Evidence::Exact { value };
                (Figure::Known { value, evidence }, counts.rows())
            }
            Metric::DemographicParityDifference | Metric::DemographicParityRatio => (
                undefined(&"it is not a figure of one set of rows"),
                counts.rows(),
            ),
        }
    }

    fn comparison(&mut self, metric: Metric, figure: &Figure, plan: &Plan) -> Option<Comparison> {
        let paired = self.paired.as_mut()?;
        let counts = paired.counts;
        let shares = |(only_candidate, only_baseline): (u64, u64), rows: u64, why: Undefined| {
            let value = (only_candidate as f64 - only_baseline as f64) / rows as f64;
            let figure = known(if rows == 0 { Err(why) } else { Ok(value) }, |_| {
                Evidence::PairedShare {
                    only_candidate,
                    only_baseline,
                    rows,
                }
            });
            (figure, Some(mcnemar(only_candidate, only_baseline)))
        };
        let baseline = counts.baseline();
        let (value, (difference, p_value)) = match metric {
            Metric::Accuracy => (
                baseline.accuracy().ok(),
                shares(counts.disagreements(), counts.rows(), Undefined::NoRows),
            ),
            Metric::Recall => (
                baseline.recall().ok(),
                shares(
                    counts.positive_disagreements(),
                    baseline.positives(),
                    Undefined::NoPositives,
                ),
            ),
            Metric::Precision => (
                baseline.precision().ok(),
                (
                    resampled(
                        &counts,
                        plan,
                        Confusion::precision,
                        Confusion::predicted_positives,
                    ),
                    None,
                ),
            ),
            Metric::F1 => (
                baseline.f1().ok(),
                (
                    resampled(&counts, plan, Confusion::f1, not_true_negatives),
                    None,
                ),
            ),
            Metric::RocAuc => areas(self.scores.as_mut()?, paired)?,
            Metric::LogLoss => {
                let differences = paired.loss_differences.as_ref()?;
                let difference = mean(differences, plan);
                let value = figure.value().zip(difference.value()).map(|(c, d)| c - d);
                (value, (difference, None))
            }
            Metric::RowCount
            | Metric::DemographicParityDifference
            | Metric::DemographicParityRatio => return None,
        };
        Some(Comparison {
            baseline: value,
            difference,
            p_value,
        })
    }
}

type Compared = (Option<f64>, (Figure, Option<f64>));

fn areas(scores: &mut ScoreSketch, paired: &mut Paired) -> Option<Compared> {
    let candidate = Auc::of(scores);
    let baseline = Auc::of(paired.scores.as_mut()?);
    let value = baseline.as_ref().ok().map(|auc| auc.value);
    let compared = match (candidate, baseline) {
        (Ok(candidate), Ok(baseline)) => paired.placements.as_ref()?.compare(&candidate, &baseline),
        (Err(why), _) | (_, Err(why)) => Err(why),
    };
    let p_value = compared
        .as_ref()
        .ok()
        .and_then(|d| d.z())
        .map(normal::two_sided);
    let figure = match compared {
        Ok(difference) => Figure::Known {
            value: difference.value,
            evidence: difference.into(),
        },
        Err(why) => undefined(&why),
    };
    Some((value, (figure, p_value)))
}

fn resampled(
    counts: &PairedCounts,
    plan: &Plan,
    metric: impl Fn(&Confusion) -> Result<f64, Undefined>,
    basis: impl Fn(&Confusion) -> u64,
) -> Figure {
    match counts.difference(plan, metric, basis) {
        Ok(found) => Figure::Known {
            value: found.value,
            evidence: Evidence::Sampled {
                value: found.value,
                low: found.interval.low,
                high: found.interval.high,
                level: plan.level,
                method: method(plan),
            },
        },
        Err(why) => undefined(&why),
    }
}

fn mean(sketch: &MeanSketch, plan: &Plan) -> Figure {
    let value = match sketch.mean() {
        Ok(mean) => mean.value,
        Err(why) => return undefined(&why),
    };
    let evidence = match sketch.interval(plan) {
        Ok((interval, how)) => Evidence::Sampled {
            value,
            low: interval.low.min(value),
            high: interval.high.max(value),
            level: plan.level,
            method: match how {
                MeanMethod::Bootstrap => method(plan),
                MeanMethod::Normal => "normal".to_owned(),
            },
        },
        Err(why) => Evidence::Bare {
            value,
            why: why.to_string(),
        },
    };
    Figure::Known { value, evidence }
}

/// Everything that it takes to draw the same resamples again.
fn method(plan: &Plan) -> String {
    format!(
        "bootstrap-percentile, {} resamples of rows, seed {}",
        plan.resamples, plan.seed
    )
}

fn not_true_negatives(counts: &Confusion) -> u64 {
    counts.rows() - counts.true_negatives
}

fn known(value: Result<f64, Undefined>, evidence: impl FnOnce(f64) -> Evidence) -> Figure {
    match value {
        Ok(value) => Figure::Known {
            value,
            evidence: evidence(value),
        },
        Err(why) => undefined(&why),
    }
}

fn undefined(why: &impl ToString) -> Figure {
    Figure::Undefined {
        why: why.to_string(),
    }
}

fn no_scores() -> Figure {
    undefined(&"no scores were read")
}
