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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missed_while_the_candidate_gets_little_traffic() {
        let claim = Claim::WorseBy { delta: 0.0 };
        let (threshold, mut found) = (log_threshold(0.01), 0);
        for seed in 1u64..20 {
            let mut evidence = Evidence::new();
            let mut live = Comparator::new(claim, 0.01).unwrap();
            let mut state = seed;
            for step in 0..3_000u64 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(seed | 1);
                let draw = (state >> 33) % 1_000;
                let (arm, failures) = match draw {
                    0..2 => (Arm::Candidate, 1),
                    2..4 => (Arm::Candidate, 0),
                    _ => (Arm::Stable, 0),
                };
                evidence.record(arm, 1, failures);
                if live.recorded(&evidence, arm, 1, failures).is_some() {
                    found += 1;
                    break;
                }
                if failures > 0 || step % 32 == 0 {
                    let log_e = Comparison::new(claim).unwrap().log_e(&evidence);
                    assert!(log_e < threshold, "{log_e} missed at {step} of seed {seed}");
                }
            }
        }
        assert!(found > 10, "{found}");
    }
}
