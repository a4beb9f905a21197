//! Scores of two classes, kept small: all that ranks need of them.
//!
//! [`ScoreSketch`] holds sorted, disjoint bins of scores with the number of positive and negative
//! rows in each. As long as there are at most `max_bins` different scores each bin is one score and
//! everything computed from it is exact, whatever the number of rows. Beyond that, neighbouring bins
//! are joined so that each holds about `4 / max_bins` of the rows, wherever the scores are dense;
//! [`ScoreSketch::unordered_share`] then says exactly how much an area under the curve may be off.
//! Memory is 24 bytes per bin, and as much again while rows are merged in; it does not grow with the
//! rows.

/// Bins of scores with the rows of either class in each.
#[derive(Debug, Clone)]
pub struct ScoreSketch {
    bins: Vec<Bin>,
    pending_positive: Vec<u64>,
    pending_negative: Vec<u64>,
    max_bins: usize,
    rows: u64,
}

/// Rows whose score lies in one range; a single score when the sketch is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    low: u64,
    high: u64,
    /// Rows with a positive label.
    pub positives: u32,
    /// Rows with a negative label.
    pub negatives: u32,
}

impl Bin {
    fn rows(&self) -> u64 {
        u64::from(self.positives) + u64::from(self.negatives)
    }
}

/// The most rows that a sketch can count.
pub const MAX_ROWS: u64 = u32::MAX as u64;

/// A key that orders as the scores do; −0 and +0 are one key.
///
/// Contract: `score` is not NaN.
pub(crate) fn key(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

impl ScoreSketch {
    /// An empty sketch that is exact up to `max_bins` (at least 8) different scores.
    pub fn new(max_bins: usize) -> Self {
        Self {
            bins: Vec::new(),
            pending_positive: Vec::new(),
            pending_negative: Vec::new(),
            max_bins: max_bins.max(8),
            rows: 0,
        }
    }

    /// Adds a row. Rows beyond [`MAX_ROWS`] are a caller's error.
    ///
    /// Contract: `score` is not NaN.
    pub fn push(&mut self, score: f64, positive: bool) {
        debug_assert!(!score.is_nan(), "a score must be a number");
        debug_assert!(self.rows < MAX_ROWS, "too many rows");
        self.rows += 1;
        if positive {
            self.pending_positive.push(key(score));
        } else {
            self.pending_negative.push(key(score));
        }
        if self.pending_positive.len() + self.pending_negative.len() >= self.max_bins {
            self.settle();
        }
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The bins in the order of their scores, all rows included.
    pub fn bins(&mut self) -> &[Bin] {
        self.settle();
        &self.bins
    }

    /// The share of pairs of a positive and a negative row that fell into one bin though their
    /// scores may differ. Half of it bounds the error of the area under the curve; 0 when exact.
    pub fn unordered_share(&mut self) -> f64 {
        self.settle();
        let (mut positives, mut negatives, mut unordered) = (0u128, 0u128, 0u128);
        for bin in &self.bins {
            let (p, n) = (u128::from(bin.positives), u128::from(bin.negatives));
            positives += p;
            negatives += n;
            if bin.low < bin.high {
                unordered += p * n;
            }
        }
        if positives == 0 || negatives == 0 {
            return 0.0;
        }
        unordered as f64 / (positives as f64 * negatives as f64)
    }

    /// Sorts the pending rows into the bins.
    fn settle(&mut self) {
        if self.pending_positive.is_empty() && self.pending_negative.is_empty() {
            return;
        }
        self.pending_positive.sort_unstable();
        self.pending_negative.sort_unstable();
        self.bins = merge(&self.bins, &self.pending_positive, &self.pending_negative);
        self.pending_positive.clear();
        self.pending_negative.clear();
        if self.bins.len() > self.max_bins {
            self.join();
        }
    }

    /// Joins neighbours while together they hold at most `4 / max_bins` of the rows. Two neighbours
    /// in the result hold more than that, so at most half of `max_bins` bins are left.
    fn join(&mut self) {
        let budget = 4 * self.rows / self.max_bins as u64;
        let mut joined: Vec<Bin> = Vec::with_capacity(self.max_bins / 2 + 1);
        for bin in &self.bins {
            match joined.last_mut() {
                Some(last) if last.rows() + bin.rows() <= budget => {
                    last.high = bin.high;
                    last.positives += bin.positives;
                    last.negatives += bin.negatives;
                }
                _ => joined.push(*bin),
            }
        }
        self.bins = joined;
    }
}

/// Merges sorted keys of both classes into sorted, disjoint bins.
fn merge(bins: &[Bin], positive: &[u64], negative: &[u64]) -> Vec<Bin> {
    let mut out = Vec::with_capacity(bins.len() + positive.len().max(negative.len()));
    let mut bins = bins.iter().copied().peekable();
    let (mut p, mut n) = (0, 0);
    loop {
        let next = match (positive.get(p), negative.get(n)) {
            (Some(a), Some(b)) => *a.min(b),
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (None, None) => break,
        };
        while let Some(bin) = bins.next_if(|bin| bin.high < next) {
            out.push(bin);
        }
        let mut bin = bins.next_if(|bin| bin.low <= next).unwrap_or(Bin {
            low: next,
            high: next,
            positives: 0,
            negatives: 0,
        });
        bin.positives += take_up_to(positive, &mut p, bin.high);
        bin.negatives += take_up_to(negative, &mut n, bin.high);
        out.push(bin);
    }
    out.extend(bins);
    out
}

/// Moves `at` past the keys up to and including `high`, and says how many there were.
fn take_up_to(keys: &[u64], at: &mut usize, high: u64) -> u32 {
    let mut count = 0;
    while keys.get(*at).is_some_and(|key| *key <= high) {
        *at += 1;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_order_as_scores_do() {
        let scores = [
            f64::NEG_INFINITY,
            -2.5,
            -1e-300,
            0.0,
            1e-300,
            0.5,
            1.0,
            f64::INFINITY,
        ];
        assert!(scores.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert_eq!(key(0.0), key(-0.0));
    }

    #[test]
    fn stays_exact_for_any_number_of_rows_with_few_scores() {
        let mut sketch = ScoreSketch::new(128);
        for i in 0..50_000u32 {
            sketch.push(f64::from(i % 100) / 100.0, i % 3 == 0);
        }
        assert_eq!(sketch.bins().len(), 100);
        assert_eq!(sketch.unordered_share(), 0.0);
        assert_eq!(sketch.bins().iter().map(Bin::rows).sum::<u64>(), 50_000);
    }

    #[test]
    fn stays_small_when_every_score_differs() {
        let mut sketch = ScoreSketch::new(1024);
        for i in 0..200_000u64 {
            let score = (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64;
            sketch.push(score, i % 2 == 0);
        }
        assert!(sketch.bins().len() <= 1024);
        let share = sketch.unordered_share();
        assert!(share > 0.0 && share < 8.0 / 1024.0, "{share}");
    }

    proptest! {
        #[test]
        fn keeps_every_row_in_disjoint_ordered_bins(
            rows in proptest::collection::vec((-3.0..3.0f64, any::<bool>()), 0..600),
            max_bins in 8usize..64,
        ) {
            let mut sketch = ScoreSketch::new(max_bins);
            rows.iter().for_each(|(s, l)| sketch.push(*s, *l));
            let bins = sketch.bins().to_vec();
            let positives = rows.iter().filter(|(_, l)| *l).count() as u64;
            prop_assert_eq!(bins.iter().map(|b| u64::from(b.positives)).sum::<u64>(), positives);
            prop_assert_eq!(bins.iter().map(Bin::rows).sum::<u64>(), rows.len() as u64);
            prop_assert!(bins.iter().all(|b| b.low <= b.high));
            prop_assert!(bins.windows(2).all(|w| w[0].high < w[1].low));
            prop_assert!(bins.len() <= max_bins);
        }
    }
}
