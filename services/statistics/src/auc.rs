//! The area under the receiver operating characteristic and its confidence interval.
//!
//! The area is the Mann–Whitney statistic: the share of pairs of a positive and a negative row in
//! which the positive one has the higher score, ties counted one half.

use crate::measure::{Interval, Undefined};
use crate::normal;
use crate::rank::ScoreSketch;

/// An area under the curve with what its interval needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Auc {
    /// The area, in 0..=1.
    pub value: f64,
    /// Rows with a positive label.
    pub positives: u64,
    /// Rows with a negative label.
    pub negatives: u64,
    /// Variance over positive rows of the share of negatives below them (DeLong's S10).
    pub positive_variance: f64,
    /// Variance over negative rows of the share of positives above them (DeLong's S01).
    pub negative_variance: f64,
    /// `value` is off by at most this; 0 when exact.
    pub max_error: f64,
}

/// How an interval of the area was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AucMethod {
    /// DeLong's variance and the normal distribution.
    DeLong,
    /// Newcombe's method 5: a score interval, for areas next to 0 or 1 on few rows.
    Newcombe,
}

impl Auc {
    /// The area of the scores in `sketch`.
    ///
    /// DeLong's placements by midranks as in X. Sun and W. Xu, "Fast Implementation of DeLong's
    /// Algorithm", IEEE Signal Processing Letters 21 (2014). Undefined if one class has no rows.
    pub fn of(sketch: &mut ScoreSketch) -> Result<Self, Undefined> {
        let max_error = sketch.unordered_share() / 2.0;
        let bins = sketch.bins();
        let (positives, negatives) = bins.iter().fold((0u64, 0u64), |(p, n), bin| {
            (p + u64::from(bin.positives), n + u64::from(bin.negatives))
        });
        if positives + negatives == 0 {
            return Err(Undefined::NoRows);
        }
        if positives == 0 {
            return Err(Undefined::NoPositives);
        }
        if negatives == 0 {
            return Err(Undefined::NoNegatives);
        }

        // Twice the number of pairs in order, as an integer: exact up to the rows a sketch counts.
        let (mut pairs, mut below) = (0u128, 0u128);
        for bin in bins {
            let n = u128::from(bin.negatives);
            pairs += u128::from(bin.positives) * (2 * below + n);
            below += n;
        }
        let (p, n) = (positives as f64, negatives as f64);
        let value = pairs as f64 / (2.0 * p * n);

        let (mut negatives_below, mut positives_below) = (0.0, 0.0);
        let (mut positive_squares, mut negative_squares) = (0.0, 0.0);
        for bin in bins {
            let (bp, bn) = (f64::from(bin.positives), f64::from(bin.negatives));
            let placement = (negatives_below + bn / 2.0) / n;
            positive_squares += bp * (placement - value).powi(2);
            let placement = 1.0 - (positives_below + bp / 2.0) / p;
            negative_squares += bn * (placement - value).powi(2);
            negatives_below += bn;
            positives_below += bp;
        }
        Ok(Self {
            value,
            positives,
            negatives,
            positive_variance: spread(positive_squares, p),
            negative_variance: spread(negative_squares, n),
            max_error,
        })
    }

    /// DeLong's standard error.
    ///
    /// Source: E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, Biometrics 44 (1988) 837–845.
    pub fn standard_error(&self) -> f64 {
        let (p, n) = (self.positives as f64, self.negatives as f64);
        (self.positive_variance / p + self.negative_variance / n).sqrt()
    }

    /// The interval at confidence `level`, had there been `times` as many rows of the same kind
    /// (1: the rows at hand).
    ///
    /// DeLong's, unless the smaller class has fewer than five rows' worth of wrong (or right) pairs:
    /// there DeLong's variance collapses, down to zero width at an area of 1, and Newcombe's method
    /// 5 is used. Widened by `max_error`.
    pub fn interval(&self, level: f64, times: f64) -> (Interval, AucMethod) {
        let smaller = self.positives.min(self.negatives) as f64 * times;
        let (interval, method) = if smaller * self.value.min(1.0 - self.value) < 5.0 {
            (self.newcombe(level, times), AucMethod::Newcombe)
        } else {
            (self.delong(level, times), AucMethod::DeLong)
        };
        (interval.widened(self.max_error).clamped(0.0, 1.0), method)
    }

    fn delong(&self, level: f64, times: f64) -> Interval {
        let half = normal::critical(level) * self.standard_error() / times.sqrt();
        Interval::new(self.value - half, self.value + half)
    }

    /// The areas whose score statistic does not reject, with the variance of Hanley and McNeil
    /// (Radiology 143, 1982) at the tested area and class sizes averaged.
    ///
    /// Source: R. G. Newcombe, Statistics in Medicine 25 (2006) 559–573, method 5.
    fn newcombe(&self, level: f64, times: f64) -> Interval {
        let z = normal::critical(level);
        let (p, n) = (self.positives as f64 * times, self.negatives as f64 * times);
        let others = ((p + n) / 2.0 - 1.0).max(0.0);
        let outside = |area: f64| {
            let spread = 1.0 + others * (1.0 - area) / (2.0 - area) + others * area / (1.0 + area);
            let variance = area * (1.0 - area) * spread / (p * n);
            (self.value - area).abs() > z * variance.sqrt()
        };
        let edge = |mut out: f64, mut within: f64| {
            if !outside(out) {
                return out;
            }
            for _ in 0..100 {
                let middle = f64::midpoint(out, within);
                if outside(middle) {
                    out = middle;
                } else {
                    within = middle;
                }
            }
            within
        };
        Interval::new(edge(0.0, self.value), edge(1.0, self.value))
    }
}

/// The unbiased variance from a sum of squares over `rows` rows; 0 for a single row.
fn spread(squares: f64, rows: f64) -> f64 {
    if rows > 1.0 {
        squares / (rows - 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Albumin, total protein, 10 − K-G score and outcome of 43 patients with ovarian cancer, from
    /// DeLong, DeLong and Clarke-Pearson (1988), as printed in the SAS/STAT guide, "Comparing
    /// Receiver Operating Characteristic Curves".
    pub(crate) const OVARIAN: [(f64, f64, f64, bool); 43] = {
        const fn row(alb: f64, tp: f64, score: f64, pop: u8) -> (f64, f64, f64, bool) {
            (alb, tp, 10.0 - score, pop == 1)
        }
        [
            row(3.0, 5.8, 10.0, 0),
            row(3.2, 6.3, 5.0, 1),
            row(3.9, 6.8, 3.0, 1),
            row(2.8, 4.8, 6.0, 0),
            row(3.2, 5.8, 3.0, 1),
            row(0.9, 4.0, 5.0, 0),
            row(2.5, 5.7, 8.0, 0),
            row(1.6, 5.6, 5.0, 1),
            row(3.8, 5.7, 5.0, 1),
            row(3.7, 6.7, 6.0, 1),
            row(3.2, 5.4, 4.0, 1),
            row(3.8, 6.6, 6.0, 1),
            row(4.1, 6.6, 5.0, 1),
            row(3.6, 5.7, 5.0, 1),
            row(4.3, 7.0, 4.0, 1),
            row(3.6, 6.7, 4.0, 0),
            row(2.3, 4.4, 6.0, 1),
            row(4.2, 7.6, 4.0, 0),
            row(4.0, 6.6, 6.0, 0),
            row(3.5, 5.8, 6.0, 1),
            row(3.8, 6.8, 7.0, 1),
            row(3.0, 4.7, 8.0, 0),
            row(4.5, 7.4, 5.0, 1),
            row(3.7, 7.4, 5.0, 1),
            row(3.1, 6.6, 6.0, 1),
            row(4.1, 8.2, 6.0, 1),
            row(4.3, 7.0, 5.0, 1),
            row(4.3, 6.5, 4.0, 1),
            row(3.2, 5.1, 5.0, 1),
            row(2.6, 4.7, 6.0, 1),
            row(3.3, 6.8, 6.0, 0),
            row(1.7, 4.0, 7.0, 0),
            row(3.7, 6.1, 5.0, 1),
            row(3.3, 6.3, 7.0, 1),
            row(4.2, 7.7, 6.0, 1),
            row(3.5, 6.2, 5.0, 1),
            row(2.9, 5.7, 9.0, 0),
            row(2.1, 4.8, 7.0, 1),
            row(2.8, 6.2, 8.0, 0),
            row(4.0, 7.0, 7.0, 1),
            row(3.3, 5.7, 6.0, 1),
            row(3.7, 6.9, 5.0, 1),
            row(3.6, 6.6, 5.0, 1),
        ]
    };

    fn auc(rows: impl IntoIterator<Item = (f64, bool)>) -> Result<Auc, Undefined> {
        let mut sketch = ScoreSketch::new(1 << 12);
        rows.into_iter().for_each(|(s, l)| sketch.push(s, l));
        Auc::of(&mut sketch)
    }

    /// SAS/STAT guide, table "ROC Association Statistics" of that example.
    #[test]
    fn area_and_standard_error_agree_with_sas() {
        let scores = |column: usize| OVARIAN.iter().map(move |r| ([r.0, r.1, r.2][column], r.3));
        for (column, area, error) in [
            (0, 0.7366, 0.0927),
            (1, 0.6478, 0.1000),
            (2, 0.7258, 0.1028),
        ] {
            let found = auc(scores(column)).unwrap();
            assert!((found.value - area).abs() < 5e-5, "{found:?}");
            assert!((found.standard_error() - error).abs() < 5e-5, "{found:?}");
        }
    }

    /// The rating data of Hanley and McNeil, Radiology 143 (1982), table I: 51 abnormal and 58
    /// normal CT images in five ratings; area 0.893 with ties one half.
    #[test]
    fn ties_count_one_half_as_in_hanley_and_mcneil() {
        let normal = [33, 6, 6, 11, 2];
        let abnormal = [3, 2, 2, 11, 33];
        let rows = (0..5).flat_map(|rating| {
            let row = move |label| (rating as f64, label);
            let normals = std::iter::repeat_n(row(false), normal[rating]);
            normals.chain(std::iter::repeat_n(row(true), abnormal[rating]))
        });
        let found = auc(rows).unwrap();
        assert!((found.value - 0.893).abs() < 5e-4, "{found:?}");
    }

    /// scikit-learn's `roc_auc_score` documentation: y = [0, 0, 1, 1],
    /// scores = [0.1, 0.4, 0.35, 0.8] has 0.75.
    #[test]
    fn agrees_with_the_scikit_learn_example() {
        let rows = [(0.1, false), (0.4, false), (0.35, true), (0.8, true)];
        assert_eq!(auc(rows).unwrap().value, 0.75);
    }

    #[test]
    fn is_undefined_without_one_of_the_classes() {
        assert_eq!(auc([]), Err(Undefined::NoRows));
        assert_eq!(auc([(0.5, false)]), Err(Undefined::NoPositives));
        assert_eq!(auc([(0.5, true)]), Err(Undefined::NoNegatives));
    }

    #[test]
    fn a_perfect_area_on_few_rows_is_not_certain_and_more_rows_narrow_it() {
        let few = auc((0..10).map(|i| (f64::from(i), i >= 5))).unwrap();
        assert_eq!(few.value, 1.0);
        let (interval, method) = few.interval(0.95, 1.0);
        assert_eq!(method, AucMethod::Newcombe);
        assert!(
            interval.low > 0.5 && interval.low < 0.8 && interval.high == 1.0,
            "{interval:?}"
        );
        assert!(few.interval(0.95, 100.0).0.low > 0.99);
    }

    proptest! {
        #[test]
        fn equals_counting_every_pair(rows in proptest::collection::vec((0u8..20, any::<bool>()), 2..120)) {
            let rows: Vec<(f64, bool)> = rows.into_iter().map(|(s, l)| (f64::from(s) / 7.0, l)).collect();
            let positives: Vec<f64> = rows.iter().filter(|r| r.1).map(|r| r.0).collect();
            let negatives: Vec<f64> = rows.iter().filter(|r| !r.1).map(|r| r.0).collect();
            prop_assume!(positives.len() > 1 && negatives.len() > 1);
            let order = |p: f64, n: f64| if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
            let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
            let above: Vec<f64> = positives.iter().map(|p| mean(&negatives.iter().map(|n| order(*p, *n)).collect::<Vec<_>>())).collect();
            let below: Vec<f64> = negatives.iter().map(|n| mean(&positives.iter().map(|p| order(*p, *n)).collect::<Vec<_>>())).collect();
            let variance = |v: &[f64]| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>() / (v.len() - 1) as f64;
            let found = auc(rows).unwrap();
            prop_assert!((found.value - mean(&above)).abs() < 1e-12);
            prop_assert!((found.positive_variance - variance(&above)).abs() < 1e-12);
            prop_assert!((found.negative_variance - variance(&below)).abs() < 1e-12);
            prop_assert!(found.interval(0.95, 1.0).0.contains(found.value));
        }

        #[test]
        fn a_small_sketch_is_off_by_at_most_what_it_says(rows in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 50..400)) {
            prop_assume!(rows.iter().any(|r| r.1) && rows.iter().any(|r| !r.1));
            let exact = auc(rows.clone()).unwrap();
            let mut sketch = ScoreSketch::new(16);
            rows.into_iter().for_each(|(s, l)| sketch.push(s, l));
            let rough = Auc::of(&mut sketch).unwrap();
            prop_assert!((rough.value - exact.value).abs() <= rough.max_error + 1e-12);
        }

        #[test]
        fn a_rising_transformation_changes_nothing(rows in proptest::collection::vec((-5.0..5.0f64, any::<bool>()), 2..100)) {
            prop_assume!(rows.iter().any(|r| r.1) && rows.iter().any(|r| !r.1));
            let there = auc(rows.clone()).unwrap();
            let moved = auc(rows.into_iter().map(|(s, l)| (s.exp() * 3.0 - 2.0, l))).unwrap();
            prop_assert!((there.value - moved.value).abs() < 1e-12);
        }
    }
}
