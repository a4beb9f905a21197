//! Anytime-valid tests on streams of failures and successes.
//!
//! Every test here may be looked at after each observation and stopped at any time: its evidence is an *e-process*
//! `E`, for which Ville's inequality gives `P(sup E >= 1/alpha) <= alpha` under the null hypothesis. The state of a
//! test is counts, so it can be stored, resumed and recomputed, and a batch of observations costs what one costs.
//!
//! * [`Evidence`] counts two arms, and [`Comparison`] judges "the candidate fails more than the stable arm"
//!   ([`Claim::WorseBy`]) or "the candidate is within a margin of it" ([`Claim::WithinMargin`]).
//! * [`Comparator`] watches one claim observation by observation and remembers its first rejection.
//! * [`RateTest`] rejects "the failure rate is at most p0"; [`rate_bounds`] brackets one failure rate.
//! * [`Detector`] watches for ever: it declares an average run length instead of an error probability.
//! * [`SampleRatio`] tells whether the observed split deviates from the configured one.
//!
//! # What is assumed
//!
//! Given the arm, and within one segment (a stretch of traffic with one split), outcomes are independent with one
//! failure rate per arm. The arms may be chosen in any way that does not look ahead, also by what happened before.
//! Users whose requests fail in clusters break the independence: count per client then, not per request.

mod comparator;
mod comparison;
mod detector;
mod evidence;
mod mixture;
mod projection;
mod rate;
mod sample_ratio;
mod special;
#[cfg(test)]
mod tests;

pub use comparator::{Comparator, Rejection};
pub use comparison::{Claim, Comparison, DifferenceBounds, difference_bounds};
pub use detector::{Detector, DetectorKind};
pub use evidence::{Arm, Counts, Evidence, EvidenceParts, Segment, Stratum};
pub use projection::{information, observations_until};
pub use rate::{RateTest, rate_bounds};
pub use sample_ratio::SampleRatio;

/// A parameter outside of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} must be {range}, not {value}")]
pub struct OutOfRange {
    /// The parameter's name.
    pub what: &'static str,
    /// The allowed range, in words.
    pub range: &'static str,
    /// What was given.
    pub value: f64,
}

/// The evidence, as a natural logarithm, at which a test of level `alpha` rejects: `ln(1/alpha)`.
pub fn log_threshold(alpha: f64) -> f64 {
    -alpha.ln()
}

pub(crate) fn check_probability(what: &'static str, value: f64) -> Result<f64, OutOfRange> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(OutOfRange {
            what,
            range: "above 0 and below 1",
            value,
        })
    }
}
