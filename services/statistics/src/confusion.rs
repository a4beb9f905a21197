//! Counts of a binary classifier's right and wrong predictions, and the metrics that are ratios of
//! them.
//!
//! Definitions as in scikit-learn's `metrics` guide, except that a zero denominator is
//! [`Undefined`] and not 0.

use crate::measure::{Interval, Undefined};
use crate::proportion;

/// The confusion counts of a set of rows. Adding is exact, so counts of parts can be merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confusion {
    /// Positive rows predicted positive.
    pub true_positives: u64,
    /// Negative rows predicted positive.
    pub false_positives: u64,
    /// Positive rows predicted negative.
    pub false_negatives: u64,
    /// Negative rows predicted negative.
    pub true_negatives: u64,
}

impl Confusion {
    /// Counts one row.
    pub fn add(&mut self, label: bool, prediction: bool) {
        match (label, prediction) {
            (true, true) => self.true_positives += 1,
            (false, true) => self.false_positives += 1,
            (true, false) => self.false_negatives += 1,
            (false, false) => self.true_negatives += 1,
        }
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.false_negatives += other.false_negatives;
        self.true_negatives += other.true_negatives;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.positives() + self.negatives()
    }

    /// Rows with a positive label.
    pub fn positives(&self) -> u64 {
        self.true_positives + self.false_negatives
    }

    /// Rows with a negative label.
    pub fn negatives(&self) -> u64 {
        self.false_positives + self.true_negatives
    }

    /// Rows predicted positive.
    pub fn predicted_positives(&self) -> u64 {
        self.true_positives + self.false_positives
    }

    /// Rows predicted right.
    pub fn correct(&self) -> u64 {
        self.true_positives + self.true_negatives
    }

    /// Share of rows that are predicted right.
    pub fn accuracy(&self) -> Result<f64, Undefined> {
        share(self.correct(), self.rows(), Undefined::NoRows)
    }

    /// TP / (TP + FP).
    pub fn precision(&self) -> Result<f64, Undefined> {
        share(
            self.true_positives,
            self.predicted_positives(),
            Undefined::NoPredictedPositives,
        )
    }

    /// TP / (TP + FN), also called sensitivity or true positive rate.
    pub fn recall(&self) -> Result<f64, Undefined> {
        share(
            self.true_positives,
            self.positives(),
            Undefined::NoPositives,
        )
    }

    /// 2 TP / (2 TP + FP + FN).
    pub fn f1(&self) -> Result<f64, Undefined> {
        share(
            2 * self.true_positives,
            2 * self.true_positives + self.false_positives + self.false_negatives,
            Undefined::NothingPositive,
        )
    }

    /// Share of rows that are predicted positive.
    pub fn selection_rate(&self) -> Result<f64, Undefined> {
        share(self.predicted_positives(), self.rows(), Undefined::NoRows)
    }
}

/// The confidence interval of F1 from its counts, at confidence `level`.
///
/// F1 = 2J / (1 + J) with J = TP / (TP + FP + FN). Given how many rows are not true negatives, TP is
/// binomial with probability J, so the Wilson interval of J, mapped by that increasing function, is
/// an interval of F1 that stays informative at F1 = 1, where a bootstrap has no width. Source: K. F. Y.
/// Lam, V. Gopal and J. Qian, "Confidence Intervals for the F1 Score: A Comparison of Four Methods"
/// (arXiv:2309.14621), which finds Wilson intervals free of overshoot and degeneracy.
pub fn f1_interval(true_positives: f64, errors: f64, level: f64) -> Result<Interval, Undefined> {
    let trials = true_positives + errors;
    if trials <= 0.0 {
        return Err(Undefined::NothingPositive);
    }
    let jaccard = proportion::wilson(true_positives, trials, level)?;
    let f1 = |j: f64| 2.0 * j / (1.0 + j);
    Ok(Interval::new(f1(jaccard.low), f1(jaccard.high)))
}

fn share(part: u64, whole: u64, otherwise: Undefined) -> Result<f64, Undefined> {
    if whole == 0 {
        return Err(otherwise);
    }
    Ok(part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(tp: u64, fp: u64, fn_: u64, tn: u64) -> Confusion {
        Confusion {
            true_positives: tp,
            false_positives: fp,
            false_negatives: fn_,
            true_negatives: tn,
        }
    }

    /// scikit-learn's `precision_recall_fscore_support` example in the user guide:
    /// y_pred = [0, 1, 0, 0], y_true = [0, 1, 0, 1] has precision 1.0, recall 0.5, F1 0.66….
    #[test]
    fn agrees_with_the_scikit_learn_guide() {
        let mut c = Confusion::default();
        for (label, prediction) in [(0, 0), (1, 1), (0, 0), (1, 0)] {
            c.add(label == 1, prediction == 1);
        }
        assert_eq!(c.precision(), Ok(1.0));
        assert_eq!(c.recall(), Ok(0.5));
        assert_eq!(c.f1(), Ok(2.0 / 3.0));
        assert_eq!(c.accuracy(), Ok(0.75));
    }

    #[test]
    fn a_zero_denominator_is_undefined_and_says_why() {
        let nothing = Confusion::default();
        assert_eq!(nothing.accuracy(), Err(Undefined::NoRows));
        assert_eq!(nothing.f1(), Err(Undefined::NothingPositive));
        let none_selected = counts(0, 0, 3, 7);
        assert_eq!(
            none_selected.precision(),
            Err(Undefined::NoPredictedPositives)
        );
        assert_eq!(none_selected.recall(), Ok(0.0));
        assert_eq!(none_selected.f1(), Ok(0.0));
        let no_positives = counts(0, 1, 0, 9);
        assert_eq!(no_positives.recall(), Err(Undefined::NoPositives));
    }

    #[test]
    fn a_perfect_f1_on_few_rows_is_not_certain() {
        let few = f1_interval(10.0, 0.0, 0.95).unwrap();
        assert!(few.low < 0.85 && few.high == 1.0, "{few:?}");
    }

    proptest! {
        #[test]
        fn f1_is_the_harmonic_mean_and_lies_in_its_interval(
            tp in 1u64..5000, fp in 0u64..5000, fn_ in 0u64..5000, tn in 0u64..5000,
        ) {
            let c = counts(tp, fp, fn_, tn);
            let (p, r, f1) = (c.precision().unwrap(), c.recall().unwrap(), c.f1().unwrap());
            prop_assert!((f1 - 2.0 * p * r / (p + r)).abs() < 1e-12);
            let interval = f1_interval(tp as f64, (fp + fn_) as f64, 0.95).unwrap();
            prop_assert!(interval.contains(f1), "{f1} not in {interval:?}");
        }

        #[test]
        fn merging_parts_counts_the_whole(rows in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..200), cut in 0usize..200) {
            let count = |rows: &[(bool, bool)]| {
                let mut c = Confusion::default();
                rows.iter().for_each(|(l, p)| c.add(*l, *p));
                c
            };
            let cut = cut.min(rows.len());
            let mut merged = count(&rows[..cut]);
            merged.merge(&count(&rows[cut..]));
            prop_assert_eq!(merged, count(&rows));
        }
    }
}
