//! Whether the arms get the traffic that they should: an e-process against the configured split, for an alert only.
//!
//! Sticky users cluster their requests, so a deviation says "look at the split", and nothing about the revisions.

use super::{OutOfRange, check_probability};

/// Sequential test of the candidate's share (Lindon & Malek 2022): each observation multiplies the evidence by the
/// predicted over the configured probability of its arm. Stays valid while the share changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    candidate: f64,
    stable: f64,
    log_e: f64,
}

/// How many observations the configured share counts for in the prediction.
const PRIOR_WEIGHT: f64 = 20.0;

impl SampleRatio {
    /// A fresh test of a split that begins with this candidate share.
    pub fn new(candidate_share: f64) -> Result<Self, OutOfRange> {
        let share = check_probability("candidate_share", candidate_share)?;
        Ok(Self {
            candidate: PRIOR_WEIGHT * share,
            stable: PRIOR_WEIGHT * (1.0 - share),
            log_e: 0.0,
        })
    }

    /// Takes one observation that was made while the candidate's share was `candidate_share`; returns the log
    /// evidence. A share of 0 or 1 leaves no choice and tells nothing.
    pub fn observe(&mut self, is_candidate: bool, candidate_share: f64) -> f64 {
        if candidate_share > 0.0 && candidate_share < 1.0 {
            let predicted = self.candidate / (self.candidate + self.stable);
            self.log_e += if is_candidate {
                (predicted / candidate_share).ln()
            } else {
                ((1.0 - predicted) / (1.0 - candidate_share)).ln()
            };
            if is_candidate {
                self.candidate += 1.0;
            } else {
                self.stable += 1.0;
            }
        }
        self.log_e
    }

    /// The natural logarithm of the e-value.
    pub fn log_e(&self) -> f64 {
        self.log_e
    }
}

#[cfg(test)]
mod tests {
    use super::super::special::ln_beta;
    use super::*;

    #[test]
    fn equals_the_beta_binomial_bayes_factor() {
        // Lindon & Malek 2022, equation (6), with two arms and a Dirichlet prior around the configured share.
        let mut test = SampleRatio::new(0.3).unwrap();
        let arms = [true, false, false, true, true, false, true, true];
        for arm in arms {
            test.observe(arm, 0.3);
        }
        let (k, n) = (5.0, 8.0);
        let expected = ln_beta(6.0 + k, 14.0 + n - k)
            - ln_beta(6.0, 14.0)
            - k * 0.3f64.ln()
            - (n - k) * 0.7f64.ln();
        assert!((test.log_e() - expected).abs() < 1e-12);
    }

    #[test]
    fn a_wrong_split_is_found_and_a_right_one_is_not() {
        let (mut wrong, mut right) = (
            SampleRatio::new(0.5).unwrap(),
            SampleRatio::new(0.5).unwrap(),
        );
        for step in 0..2_000 {
            wrong.observe(step % 5 < 3, 0.5);
            right.observe(step % 2 == 0, 0.5);
        }
        assert!(wrong.log_e() > 100f64.ln() && right.log_e() < 0.0);
    }
}
