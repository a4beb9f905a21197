//! Watches one claim: evaluates it only when an observation can have decided it, and remembers the first rejection.

use super::comparison::{Claim, Comparison, Evaluation};
use super::evidence::{Arm, Counts, Evidence};
use super::{OutOfRange, check_probability, log_threshold};

/// When a claim's null hypothesis was rejected, and on what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rejection {
    /// The candidate's counts.
    pub candidate: Counts,
    /// The stable arm's counts.
    pub stable: Counts,
    /// The log evidence, at least `ln(1/alpha)`.
    pub log_e: f64,
}

/// A claim, its level, and whether it has been shown. Amortised cost of an observation: nanoseconds, since the
/// evidence is computed only once the largest possible gain could have reached the threshold.
#[derive(Debug, Clone)]
pub struct Comparator {
    comparison: Comparison,
    threshold: f64,
    gains: Option<Evaluation>,
    headroom: f64,
    segments: usize,
    rejection: Option<Rejection>,
}

impl Comparator {
    /// Watches `claim` at level `alpha`.
    pub fn new(claim: Claim, alpha: f64) -> Result<Self, OutOfRange> {
        Ok(Self {
            comparison: Comparison::new(claim)?,
            threshold: log_threshold(check_probability("alpha", alpha)?),
            gains: None,
            headroom: 0.0,
            segments: 0,
            rejection: None,
        })
    }

    /// Tells what was just recorded in `evidence`. Returns the rejection if the claim is shown, now or earlier.
    pub fn recorded(
        &mut self,
        evidence: &Evidence,
        arm: Arm,
        observations: u64,
        failures: u64,
    ) -> Option<Rejection> {
        if self.rejection.is_some() {
            return self.rejection;
        }
        let successes = (observations - failures) as f64;
        let failures = failures as f64;
        if let Some(gains) = self.gains {
            self.headroom -= match arm {
                Arm::Candidate => {
                    successes * gains.candidate_success + failures * gains.candidate_failure
                }
                Arm::Stable => successes * gains.stable_success + failures * gains.stable_failure,
            };
        }
        if self.gains.is_none()
            || self.headroom <= 0.0
            || self.segments != evidence.segments().len()
        {
            self.evaluate(evidence);
        }
        self.rejection
    }

    /// The log evidence now, whether or not it was above the threshold before.
    pub fn log_e(&mut self, evidence: &Evidence) -> f64 {
        self.evaluate(evidence).log_e
    }

    /// True while the log evidence is at or above the threshold now.
    pub fn holds(&mut self, evidence: &Evidence) -> bool {
        self.evaluate(evidence).log_e >= self.threshold
    }

    /// The first rejection seen.
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// The claim.
    pub fn claim(&self) -> Claim {
        self.comparison.claim()
    }

    /// The log evidence at which the claim is shown.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    fn evaluate(&mut self, evidence: &Evidence) -> Evaluation {
        let evaluation = self.comparison.evaluate(evidence);
        self.gains = Some(evaluation);
        self.headroom = self.threshold - evaluation.log_e;
        self.segments = evidence.segments().len();
        if self.headroom <= 0.0 && self.rejection.is_none() {
            self.rejection = Some(Rejection {
                candidate: evidence.total(Arm::Candidate),
                stable: evidence.total(Arm::Stable),
                log_e: evaluation.log_e,
            });
        }
        evaluation
    }
}
