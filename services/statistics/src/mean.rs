//! The mean of a per-row loss, with an interval: log loss, and the difference of two log losses on
//! the same rows.

use crate::bootstrap::{self, Plan};
use crate::measure::{Interval, Undefined};
use crate::{normal, proportion};

/// Probabilities are clipped to this distance from 0 and 1 before the logarithm is taken.
pub const CLIP: f64 = 1e-15;

/// How far from the mean the loss of a row is taken to be whose like was not seen: one nat.
pub const UNSEEN_LOSS: f64 = 1.0;

/// The negative log likelihood of one row, natural logarithm.
///
/// `score` is the predicted probability of a positive label, clipped by [`CLIP`]: a certain and
/// wrong prediction costs 34.5, not infinity.
pub fn log_loss(label: bool, score: f64) -> f64 {
    let likelihood = if label { score } else { 1.0 - score };
    -likelihood.clamp(CLIP, 1.0 - CLIP).ln()
}

/// Mean and variance of a stream of values in constant memory; the values themselves as long as
/// they are few.
///
/// Source of the update: B. P. Welford, Technometrics 4 (1962) 419–420.
#[derive(Debug, Clone)]
pub struct MeanSketch {
    rows: u64,
    mean: f64,
    squares: f64,
    kept: Vec<f64>,
    keep: usize,
}

/// The mean with what its interval needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Rows it is over.
    pub rows: u64,
    /// Its standard error.
    pub standard_error: f64,
}

/// How an interval of a mean was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeanMethod {
    /// Percentile bootstrap over the rows.
    Bootstrap,
    /// Normal distribution: for rows that are too many to keep, where the two agree.
    Normal,
}

impl MeanSketch {
    /// An empty sketch that keeps up to `keep` rows for a bootstrap.
    pub fn new(keep: usize) -> Self {
        Self {
            rows: 0,
            mean: 0.0,
            squares: 0.0,
            kept: Vec::new(),
            keep,
        }
    }

    /// Adds a finite value.
    pub fn push(&mut self, value: f64) {
        debug_assert!(value.is_finite(), "{value} is no finite number");
        self.rows += 1;
        let step = value - self.mean;
        self.mean += step / self.rows as f64;
        self.squares += step * (value - self.mean);
        if self.rows as usize <= self.keep {
            self.kept.push(value);
        } else if !self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }

    /// The mean of what was added.
    pub fn mean(&self) -> Result<Mean, Undefined> {
        if self.rows == 0 {
            return Err(Undefined::NoRows);
        }
        let rows = self.rows as f64;
        let variance = if self.rows > 1 {
            self.squares / (rows - 1.0)
        } else {
            0.0
        };
        Ok(Mean {
            value: self.mean,
            rows: self.rows,
            standard_error: (variance / rows).sqrt(),
        })
    }

    /// The interval of the mean: by bootstrap as long as all rows were kept, by the normal
    /// distribution beyond. Undefined under two rows.
    ///
    /// Rows that happen to lose alike say nothing of a row that was not seen: the interval is widened to
    /// [`proportion::unseen`] on either side, as if such rows were [`UNSEEN_LOSS`] away.
    pub fn interval(&self, plan: &Plan) -> Result<(Interval, MeanMethod), Undefined> {
        let mean = self.mean()?;
        if self.rows < 2 {
            return Err(Undefined::TooFewRows {
                rows: self.rows,
                needed: 2,
            });
        }
        let least = UNSEEN_LOSS * proportion::unseen(self.rows as f64, plan.level);
        let floor = Interval::new(mean.value - least, mean.value + least);
        if self.rows as usize <= self.keep {
            let resampled = bootstrap::of_mean(&self.kept, plan)?;
            return Ok((resampled.interval.hull(floor), MeanMethod::Bootstrap));
        }
        let half = normal::critical(plan.level) * mean.standard_error;
        Ok((
            Interval::new(mean.value - half, mean.value + half).hull(floor),
            MeanMethod::Normal,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> Plan {
        Plan {
            seed: 1,
            resamples: 2_000,
            level: 0.95,
        }
    }

    /// The example of scikit-learn's `log_loss` documentation (0.21616…), to all digits by
    /// scikit-learn 1.9: probabilities of spam 0.9, 0.1, 0.2, 0.65 for spam, ham, ham, spam.
    #[test]
    fn agrees_with_the_scikit_learn_example() {
        let mut sketch = MeanSketch::new(100);
        for (label, score) in [(true, 0.9), (false, 0.1), (false, 0.2), (true, 0.65)] {
            sketch.push(log_loss(label, score));
        }
        assert!((sketch.mean().unwrap().value - 0.216_161_874_680_579_12).abs() < 1e-12);
    }

    #[test]
    fn certainty_is_clipped() {
        assert!((log_loss(true, 0.0) - 34.538_776_394_910_684).abs() < 1e-9);
        assert!(log_loss(false, 0.0) < 1e-14);
    }

    #[test]
    fn is_undefined_on_no_rows_and_has_no_interval_on_one() {
        let mut sketch = MeanSketch::new(10);
        assert_eq!(sketch.mean(), Err(Undefined::NoRows));
        sketch.push(1.0);
        assert!(sketch.mean().is_ok());
        assert!(matches!(
            sketch.interval(&plan()),
            Err(Undefined::TooFewRows { .. })
        ));
    }

    #[test]
    fn a_few_equal_losses_are_no_certainty() {
        for keep in [0, 10] {
            let mut sketch = MeanSketch::new(keep);
            (0..3).for_each(|_| sketch.push(log_loss(true, 1.0)));
            let (few, _) = sketch.interval(&plan()).unwrap();
            assert!(few.low < 0.0 && few.high > 0.5, "{few:?}");
            (0..2_000).for_each(|_| sketch.push(log_loss(true, 1.0)));
            let (many, _) = sketch.interval(&plan()).unwrap();
            assert!(many.high < 0.002 && many.high > 0.0, "{many:?}");
        }
    }

    #[test]
    fn the_two_methods_agree_on_many_rows() {
        let (mut kept, mut streamed) = (MeanSketch::new(5_000), MeanSketch::new(0));
        for i in 0..4_000u32 {
            let value = f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24);
            kept.push(-value.max(1e-9).ln());
            streamed.push(-value.max(1e-9).ln());
        }
        let (a, by_rows) = kept.interval(&plan()).unwrap();
        let (b, by_moments) = streamed.interval(&plan()).unwrap();
        assert_eq!(
            (by_rows, by_moments),
            (MeanMethod::Bootstrap, MeanMethod::Normal)
        );
        let width = b.high - b.low;
        assert!((a.low - b.low).abs() < 0.08 * width && (a.high - b.high).abs() < 0.08 * width);
    }

    proptest! {
        #[test]
        fn mean_and_error_are_the_textbook_ones(values in proptest::collection::vec(0.0..40.0f64, 2..200)) {
            let mut sketch = MeanSketch::new(0);
            values.iter().for_each(|v| sketch.push(*v));
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let found = sketch.mean().unwrap();
            prop_assert!((found.value - mean).abs() < 1e-9);
            prop_assert!((found.standard_error - (variance / n).sqrt()).abs() < 1e-9);
        }
    }
}
