//! Two classifiers on the same rows: a candidate against a baseline.
//!
//! [`PairedCounts`] is the sufficient statistic of everything that depends on labels and predictions
//! alone; [`PlacementSample`] adds the correlation of two areas under the curve. Differences are
//! candidate minus baseline.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::auc::Auc;
use crate::bootstrap::{self, Plan};
use crate::confusion::Confusion;
use crate::measure::{Interval, Undefined};
use crate::{normal, proportion, rank};

/// Rows by label and both predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairedCounts {
    /// Rows at `4 label + 2 candidate + baseline`, each 0 or 1.
    pub cells: [u64; 8],
}

impl PairedCounts {
    /// Counts one row.
    pub fn add(&mut self, label: bool, candidate: bool, baseline: bool) {
        self.cells[4 * usize::from(label) + 2 * usize::from(candidate) + usize::from(baseline)] +=
            1;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// The counts of the candidate alone.
    pub fn candidate(&self) -> Confusion {
        confusion(&self.cells, 2)
    }

    /// The counts of the baseline alone.
    pub fn baseline(&self) -> Confusion {
        confusion(&self.cells, 1)
    }

    /// Rows that only the candidate, and that only the baseline, predicts right.
    pub fn disagreements(&self) -> (u64, u64) {
        let (positive, negative) = (
            self.positive_disagreements(),
            (self.cells[1], self.cells[2]),
        );
        (positive.0 + negative.0, positive.1 + negative.1)
    }

    /// The same among rows with a positive label.
    pub fn positive_disagreements(&self) -> (u64, u64) {
        (self.cells[6], self.cells[5])
    }

    /// Bootstrap of the difference of a metric of the two confusion counts, for metrics whose
    /// denominators differ between the two (precision, F1). Widened by
    /// [`proportion::unseen`] of the rows that the metric rests on, as counted by `basis`.
    pub fn difference(
        &self,
        plan: &Plan,
        metric: impl Fn(&Confusion) -> Result<f64, Undefined>,
        basis: impl Fn(&Confusion) -> u64,
    ) -> Result<PairedDifference, Undefined> {
        let (candidate, baseline) = (self.candidate(), self.baseline());
        let value = metric(&candidate)? - metric(&baseline)?;
        let resampled = bootstrap::of_counts(self.cells, plan, |cells| {
            let (c, b) = (metric(&confusion(cells, 2)), metric(&confusion(cells, 1)));
            Some(c.ok()? - b.ok()?)
        })?;
        let rows = basis(&candidate).min(basis(&baseline)) as f64;
        let least = proportion::unseen(rows, plan.level);
        let floor = Interval::new(value - least, value + least);
        Ok(PairedDifference {
            value,
            interval: resampled.interval.hull(floor).clamped(-1.0, 1.0),
        })
    }
}

/// A difference between candidate and baseline with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedDifference {
    /// Candidate minus baseline.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
}

/// The confusion counts of the classifier whose prediction is the bit `bit` of the cell number.
fn confusion(cells: &[u64; 8], bit: usize) -> Confusion {
    let mut counts = Confusion::default();
    for (cell, rows) in cells.iter().enumerate() {
        match (cell & 4 != 0, cell & bit != 0) {
            (true, true) => counts.true_positives += rows,
            (false, true) => counts.false_positives += rows,
            (true, false) => counts.false_negatives += rows,
            (false, false) => counts.true_negatives += rows,
        }
    }
    counts
}

/// The exact two-sided p-value of McNemar's test: `only_first` and `only_second` discordant rows are
/// binomial with one half if the two classifiers are right equally often.
///
/// Source: Q. McNemar, Psychometrika 12 (1947) 153–157, in its exact form. 1 without discordant rows.
pub fn mcnemar(only_first: u64, only_second: u64) -> f64 {
    let (fewer, all) = (only_first.min(only_second), only_first + only_second);
    if all == 0 {
        return 1.0;
    }
    let (k, n) = (fewer as f64, all as f64);
    let log_term = libm::lgamma(n + 1.0)
        - libm::lgamma(k + 1.0)
        - libm::lgamma(n - k + 1.0)
        - n * std::f64::consts::LN_2;
    // Terms fall towards 0 rows; what is left out is below the rounding of the sum.
    let (mut term, mut sum, mut at) = (1.0, 0.0, k);
    while term > sum * f64::EPSILON {
        sum += term;
        term *= at / (n - at + 1.0);
        at -= 1.0;
    }
    (2.0 * sum * log_term.exp()).min(1.0)
}

/// A sample of paired scores per class, from which the covariance of two areas is estimated.
///
/// It keeps every row as long as a class has at most `keep`, and then a uniform, seeded sample of
/// `keep` of them; the areas themselves always rest on all rows. The correlation of two classifiers
/// is then known to about 1 / sqrt(`keep`). Memory is 16 bytes per kept row.
#[derive(Debug, Clone)]
pub struct PlacementSample {
    keep: usize,
    random: ChaCha8Rng,
    positive: Reservoir,
    negative: Reservoir,
}

#[derive(Debug, Clone, Default)]
struct Reservoir {
    seen: u64,
    kept: Vec<(u64, u64)>,
}

impl Reservoir {
    /// Algorithm R of J. S. Vitter, ACM Transactions on Mathematical Software 11 (1985).
    fn push(&mut self, pair: (u64, u64), keep: usize, random: &mut ChaCha8Rng) {
        self.seen += 1;
        if self.kept.len() < keep {
            self.kept.push(pair);
            return;
        }
        let at = random.random_range(0..self.seen);
        if let Some(slot) = usize::try_from(at)
            .ok()
            .and_then(|at| self.kept.get_mut(at))
        {
            *slot = pair;
        }
    }
}

/// Two areas under the curve on the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AucDifference {
    /// Candidate minus baseline.
    pub value: f64,
    /// DeLong's standard error of the difference.
    pub standard_error: f64,
    /// `value` is off by at most this; 0 when exact.
    pub max_error: f64,
    /// Rows of the smaller class.
    pub smaller_class: u64,
}

impl AucDifference {
    /// The z statistic; absent when the two order the rows alike.
    pub fn z(&self) -> Option<f64> {
        (self.standard_error > 0.0).then(|| self.value / self.standard_error)
    }

    /// The interval at confidence `level`, had there been `times` as many rows of the same kind.
    ///
    /// Two classifiers that order all rows alike have a standard error of 0; the interval is then
    /// that of a share that was never seen among the rows of the smaller class.
    pub fn interval(&self, level: f64, times: f64) -> Interval {
        let half = if self.standard_error > 0.0 {
            normal::critical(level) * self.standard_error / times.sqrt()
        } else {
            proportion::unseen(self.smaller_class as f64 * times, level)
        };
        Interval::new(self.value - half, self.value + half)
            .widened(self.max_error)
            .clamped(-1.0, 1.0)
    }
}

impl PlacementSample {
    /// An empty sample of at most `keep` rows per class.
    pub fn new(keep: usize, seed: u64) -> Self {
        Self {
            keep: keep.max(2),
            random: ChaCha8Rng::seed_from_u64(seed),
            positive: Reservoir::default(),
            negative: Reservoir::default(),
        }
    }

    /// Adds a row with both scores. Contract: neither is NaN.
    pub fn push(&mut self, candidate: f64, baseline: f64, positive: bool) {
        let pair = (rank::key(candidate), rank::key(baseline));
        let class = if positive {
            &mut self.positive
        } else {
            &mut self.negative
        };
        class.push(pair, self.keep, &mut self.random);
    }

    /// Whether every row was kept, so that nothing is estimated from a sample.
    pub fn is_complete(&self) -> bool {
        self.positive.seen as usize <= self.keep && self.negative.seen as usize <= self.keep
    }

    /// Compares the areas of the two, which the caller computed over all rows.
    ///
    /// Source: DeLong, DeLong and Clarke-Pearson (1988): z = Δ / sqrt(c11 + c22 − 2 c12), with the
    /// covariances of placements over the kept rows. Undefined with fewer than two rows in a class.
    pub fn compare(&self, candidate: &Auc, baseline: &Auc) -> Result<AucDifference, Undefined> {
        let (p, n) = (&self.positive.kept, &self.negative.kept);
        for (rows, none) in [(p, Undefined::NoPositives), (n, Undefined::NoNegatives)] {
            match rows.len() {
                0 => return Err(none),
                1 => return Err(Undefined::TooFewRows { rows: 1, needed: 2 }),
                _ => {}
            }
        }
        let above = variance_of_difference(p, n);
        let below = variance_of_difference(n, p);
        let variance = above / candidate.positives as f64 + below / candidate.negatives as f64;
        Ok(AucDifference {
            value: candidate.value - baseline.value,
            standard_error: variance.max(0.0).sqrt(),
            max_error: candidate.max_error + baseline.max_error,
            smaller_class: candidate.positives.min(candidate.negatives),
        })
    }
}

/// The variance over `rows` of the candidate's placement among `others` minus the baseline's.
fn variance_of_difference(rows: &[(u64, u64)], others: &[(u64, u64)]) -> f64 {
    let mut first: Vec<u64> = others.iter().map(|pair| pair.0).collect();
    let mut second: Vec<u64> = others.iter().map(|pair| pair.1).collect();
    first.sort_unstable();
    second.sort_unstable();
    // Twice the midrank is an integer: equal placements differ by exactly 0.
    let twice_below = |sorted: &[u64], key: u64| {
        sorted.partition_point(|k| *k < key) + sorted.partition_point(|k| *k <= key)
    };
    let scale = 1.0 / (2.0 * others.len() as f64);
    let (mut mean, mut squares) = (0.0, 0.0);
    for (i, pair) in rows.iter().enumerate() {
        let there = twice_below(&first, pair.0) as f64;
        let here = twice_below(&second, pair.1) as f64;
        let value = (there - here) * scale;
        let step = value - mean;
        mean += step / (i + 1) as f64;
        squares += step * (value - mean);
    }
    squares / (rows.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auc::tests::OVARIAN;
    use crate::rank::ScoreSketch;
    use proptest::prelude::*;

    fn compare(rows: &[(f64, f64, bool)], keep: usize) -> Result<AucDifference, Undefined> {
        let mut sample = PlacementSample::new(keep, 3);
        let (mut first, mut second) = (ScoreSketch::new(4096), ScoreSketch::new(4096));
        for (a, b, label) in rows {
            sample.push(*a, *b, *label);
            first.push(*a, *label);
            second.push(*b, *label);
        }
        sample.compare(&Auc::of(&mut first)?, &Auc::of(&mut second)?)
    }

    /// SAS/STAT guide, "Comparing Receiver Operating Characteristic Curves", contrast estimates:
    /// albumin − K-G 0.0108 (0.0953), chi-square 0.0127; total protein − K-G −0.0780 (0.1046),
    /// 0.5554.
    #[test]
    fn contrasts_agree_with_sas() {
        let albumin: Vec<_> = OVARIAN.iter().map(|r| (r.0, r.2, r.3)).collect();
        let protein: Vec<_> = OVARIAN.iter().map(|r| (r.1, r.2, r.3)).collect();
        for (rows, value, error, chi2) in [
            (albumin, 0.0108, 0.0953, 0.0127),
            (protein, -0.0780, 0.1046, 0.5554),
        ] {
            let found = compare(&rows, 100).unwrap();
            assert!((found.value - value).abs() < 6e-5, "{found:?}");
            assert!((found.standard_error - error).abs() < 6e-5, "{found:?}");
            assert!(
                (found.z().unwrap().powi(2) - chi2).abs() < 6e-5,
                "{found:?}"
            );
        }
    }

    #[test]
    fn equal_rankings_are_not_certain_to_be_equal() {
        let rows: Vec<_> = OVARIAN.iter().map(|r| (r.0, r.0 * 2.0, r.3)).collect();
        let found = compare(&rows, 100).unwrap();
        assert_eq!(
            (found.value, found.standard_error, found.z()),
            (0.0, 0.0, None)
        );
        let interval = found.interval(0.95, 1.0);
        assert!(interval.low < -0.1 && interval.high > 0.1, "{interval:?}");
    }

    #[test]
    fn a_sample_of_the_rows_estimates_the_same_error() {
        let noise = |i: u64, salt: u64| {
            let mixed = (i ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 11) as f64 / (1u64 << 53) as f64
        };
        let rows: Vec<_> = (0..20_000u64)
            .map(|i| {
                let label = i % 3 == 0;
                let shared = noise(i, 0x1234_5678) + if label { 0.3 } else { 0.0 };
                (
                    shared + 0.3 * noise(i, 77),
                    shared + 0.3 * noise(i, 991),
                    label,
                )
            })
            .collect();
        let all = compare(&rows, 50_000).unwrap();
        let some = compare(&rows, 2_000).unwrap();
        assert_eq!(all.value, some.value);
        assert!(
            (some.standard_error / all.standard_error - 1.0).abs() < 0.1,
            "{all:?} {some:?}"
        );
    }

    /// Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013): 1 against 7
    /// discordant pairs have the exact p-value 0.0703. 2 against 10: by SciPy 1.17's `binomtest`.
    #[test]
    fn mcnemar_gives_the_published_values() {
        assert!((mcnemar(1, 7) - 0.070_312_5).abs() < 1e-12);
        assert!((mcnemar(2, 10) - 0.038_574_218_75).abs() < 1e-12);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 5), 1.0);
    }

    #[test]
    fn mcnemar_of_millions_of_rows_is_quick_and_close_to_the_normal() {
        let (b, c) = (5_000_000u64, 5_004_000u64);
        let z = ((c - b) as f64 - 1.0) / ((b + c) as f64).sqrt();
        assert!((mcnemar(b, c) / normal::two_sided(z) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn precision_that_never_disagreed_is_widened_by_what_was_not_seen() {
        let counts = PairedCounts {
            cells: [40, 0, 0, 0, 0, 0, 0, 10],
        };
        let plan = Plan {
            seed: 0,
            resamples: 500,
            level: 0.95,
        };
        let found = counts
            .difference(&plan, Confusion::precision, Confusion::predicted_positives)
            .unwrap();
        assert_eq!(found.value, 0.0);
        assert!((found.interval.high - proportion::unseen(10.0, 0.95)).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn margins_of_the_pairs_are_the_confusion_counts(rows in proptest::collection::vec(any::<(bool, bool, bool)>(), 0..300)) {
            let mut counts = PairedCounts::default();
            let (mut candidate, mut baseline) = (Confusion::default(), Confusion::default());
            let (mut only_first, mut only_second) = (0, 0);
            for (label, c, b) in rows {
                counts.add(label, c, b);
                candidate.add(label, c);
                baseline.add(label, b);
                only_first += u64::from(c == label && b != label);
                only_second += u64::from(c != label && b == label);
            }
            prop_assert_eq!(counts.candidate(), candidate);
            prop_assert_eq!(counts.baseline(), baseline);
            prop_assert_eq!(counts.disagreements(), (only_first, only_second));
        }

        #[test]
        fn mcnemar_is_a_symmetric_probability(b in 0u64..400, c in 0u64..400) {
            let p = mcnemar(b, c);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert!((p - mcnemar(c, b)).abs() < 1e-12);
        }

        #[test]
        fn swapping_the_two_mirrors_the_areas(rows in proptest::collection::vec((0.0..1.0f64, 0.0..1.0f64, any::<bool>()), 8..80)) {
            prop_assume!(rows.iter().filter(|r| r.2).count() > 1 && rows.iter().filter(|r| !r.2).count() > 1);
            let swapped: Vec<_> = rows.iter().map(|r| (r.1, r.0, r.2)).collect();
            let (there, back) = (compare(&rows, 100).unwrap(), compare(&swapped, 100).unwrap());
            prop_assert!((there.value + back.value).abs() < 1e-12);
            prop_assert!((there.standard_error - back.standard_error).abs() < 1e-12);
        }
    }
}
