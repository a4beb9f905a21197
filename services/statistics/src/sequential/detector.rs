//! Watches for ever: e-detectors for a failure rate that rises above a limit (Shin, Ramdas & Rinaldo 2022).
//!
//! An e-process may raise one false alarm with probability alpha over all time. A monitor that runs for ever will
//! raise one some day; it declares how many observations that takes on average, while nothing is wrong, instead.

use super::{OutOfRange, check_probability};

/// How the evidence since each possible change point is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectorKind {
    /// Shiryaev–Roberts, `M = L (M + 1)`: the sum over change points; a little sooner on small changes.
    ShiryaevRoberts,
    /// CUSUM, `M = L max(M, 1)`: the largest over change points.
    Cusum,
}

/// Odds ratios on trial, of the failure rate over the limit; equal weights.
const ALTERNATIVES: [f64; 5] = [1.5, 2.5, 4.5, 9.0, 20.0];
/// Keeps the statistics finite however long an alarm is ignored.
const HIGHEST: f64 = 1e200;

/// An e-detector for `p > limit` with an average run length of at least `run_length` observations between false
/// alarms, whatever `p <= limit` holds. Its state is five numbers; an observation costs ten multiplications.
#[derive(Debug, Clone, PartialEq)]
pub struct Detector {
    kind: DetectorKind,
    limit: f64,
    run_length: f64,
    statistics: [f64; ALTERNATIVES.len()],
}

impl Detector {
    /// A fresh detector.
    pub fn new(kind: DetectorKind, limit: f64, run_length: f64) -> Result<Self, OutOfRange> {
        let limit = check_probability("limit", limit)?;
        if !(run_length >= 1.0 && run_length.is_finite()) {
            return Err(OutOfRange {
                what: "run_length",
                range: "at least 1",
                value: run_length,
            });
        }
        Ok(Self {
            kind,
            limit,
            run_length,
            statistics: [0.0; ALTERNATIVES.len()],
        })
    }

    /// Goes on from stored [`Detector::statistics`].
    pub fn resume(&mut self, statistics: &[f64]) {
        for (slot, &value) in self.statistics.iter_mut().zip(statistics) {
            *slot = if value.is_finite() && value > 0.0 {
                value.min(HIGHEST)
            } else {
                0.0
            };
        }
    }

    /// One number per alternative: the whole state.
    pub fn statistics(&self) -> &[f64] {
        &self.statistics
    }

    /// The declared average run length between false alarms, in observations.
    pub fn run_length(&self) -> f64 {
        self.run_length
    }

    /// Takes one observation; true while the alarm stands.
    pub fn observe(&mut self, failed: bool) -> bool {
        if failed {
            self.failures(1)
        } else {
            self.successes(1)
        }
    }

    /// Takes successes that came one after the other, at once.
    pub fn successes(&mut self, count: u64) -> bool {
        let limit = self.limit;
        self.apply(count, |odds| 1.0 / (1.0 + (odds - 1.0) * limit))
    }

    /// Takes failures that came one after the other, at once.
    pub fn failures(&mut self, count: u64) -> bool {
        let limit = self.limit;
        self.apply(count, |odds| odds / (1.0 + (odds - 1.0) * limit))
    }

    /// The e-detector's value: the alarm stands while it is at least the run length.
    pub fn value(&self) -> f64 {
        self.statistics.iter().sum::<f64>() / ALTERNATIVES.len() as f64
    }

    /// Whether the alarm stands.
    pub fn alarmed(&self) -> bool {
        self.value() >= self.run_length
    }

    /// Starts afresh after an alarm.
    pub fn reset(&mut self) {
        self.statistics = [0.0; ALTERNATIVES.len()];
    }

    fn apply(&mut self, count: u64, likelihood_ratio: impl Fn(f64) -> f64) -> bool {
        if count > 0 {
            for (statistic, odds) in self.statistics.iter_mut().zip(ALTERNATIVES) {
                let ratio = likelihood_ratio(odds);
                let power = ratio.powf(count as f64);
                let next = match self.kind {
                    // M_n = L^n M + (L + L^2 + … + L^n); L is never 1.
                    DetectorKind::ShiryaevRoberts => {
                        power * *statistic + ratio * (power - 1.0) / (ratio - 1.0)
                    }
                    DetectorKind::Cusum if ratio < 1.0 => (power * *statistic).max(ratio),
                    DetectorKind::Cusum => power * statistic.max(1.0),
                };
                *statistic = if next.is_nan() {
                    HIGHEST
                } else {
                    next.min(HIGHEST)
                };
            }
        }
        self.alarmed()
    }
}
