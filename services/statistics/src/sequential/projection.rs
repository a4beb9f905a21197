//! How many more observations a claim needs if things go on as they are.

use super::comparison::{Claim, Comparison};
use super::evidence::{Arm, Evidence};
use super::log_threshold;

/// Beyond this, a projection says nothing useful.
const FARTHEST: f64 = 1e9;

/// Candidate observations still needed until `claim` is shown at level `alpha`, at the observed rates and ratio;
/// 0 if it is shown, `None` if the observed rates do not lead there. Without observations it assumes no failures.
pub fn observations_until(claim: Claim, evidence: &Evidence, alpha: f64) -> Option<u64> {
    let candidate = evidence.total(Arm::Candidate).rate().unwrap_or(0.0);
    let stable = evidence.total(Arm::Stable).rate().unwrap_or(0.0);
    let mut comparison = Comparison::new(claim).ok()?;
    let threshold = log_threshold(alpha);
    if comparison.log_e(evidence) >= threshold {
        return Some(0);
    }
    let leads_there = match claim {
        Claim::WorseBy { delta } => candidate > stable + delta,
        Claim::WithinMargin { margin } => candidate < stable + margin,
    };
    if !leads_there {
        return None;
    }
    let mut shown = |more: f64| comparison.extended(evidence, more, candidate, stable) >= threshold;
    let mut high = 8.0;
    while !shown(high) {
        high *= 2.0;
        if high > FARTHEST {
            return None;
        }
    }
    let mut low = if high > 8.0 { high / 2.0 } else { 0.0 };
    while high - low > (0.01 * high).max(0.5) {
        let middle = 0.5 * (low + high);
        if shown(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high.ceil() as u64)
}

/// The information per candidate observation against "worse by at most `delta`", with `ratio` stable observations
/// for each: the smallest over `q` of `KL(p_c || q + delta) + ratio KL(p_s || q)`. No test of level `alpha` can
/// need fewer than about `ln(1/alpha)` divided by it (Wald's bound). 0 if the candidate is not worse by `delta`.
pub fn information(candidate: f64, stable: f64, ratio: f64, delta: f64) -> f64 {
    if candidate <= stable + delta {
        return 0.0;
    }
    let (mut low, mut high) = (stable, candidate - delta);
    let at = |q: f64| divergence(candidate, q + delta) + ratio * divergence(stable, q);
    for _ in 0..200 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if at(left) < at(right) {
            high = right;
        } else {
            low = left;
        }
    }
    at(0.5 * (low + high))
}

/// The Kullback–Leibler divergence of two Bernoulli distributions, in nats.
pub(crate) fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}
