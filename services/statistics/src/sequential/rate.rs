//! One stream: an e-process against "the failure rate is at most p0", and a confidence sequence for the rate.

use super::comparison::log_sum_exp;
use super::evidence::Counts;
use super::special::{ln_beta, ln_beta_tail};
use super::{OutOfRange, check_probability, log_threshold};

/// Tests `p <= p0` with a one-sided beta-binomial mixture: the prior over the alternative is a beta distribution cut
/// off at `p0` (Howard, Ramdas, McAuliffe & Sekhon 2021, section 3.3). Under any `p <= p0` the evidence is a
/// supermartingale. The test itself holds no observations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateTest {
    limit: f64,
    a: f64,
    b: f64,
    log_tail: f64,
}

/// The wealth kept for restarts at later segments.
const RESTART_SHARE: f64 = 0.1;
/// The prior's shape: flat in the logarithm of a small rate, cut off at the limit.
const PRIOR: (f64, f64) = (0.25, 1.0);

impl RateTest {
    /// A test against `p <= limit`.
    pub fn new(limit: f64) -> Result<Self, OutOfRange> {
        Self::with_prior(limit, PRIOR.0, PRIOR.1)
    }

    /// A test against `p <= limit` with a `Beta(a, b)` prior cut off at the limit.
    pub fn with_prior(limit: f64, a: f64, b: f64) -> Result<Self, OutOfRange> {
        let limit = check_probability("limit", limit)?;
        for (what, value) in [("a", a), ("b", b)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(OutOfRange {
                    what,
                    range: "above 0",
                    value,
                });
            }
        }
        Ok(Self {
            limit,
            a,
            b,
            log_tail: ln_beta_tail(a, b, limit),
        })
    }

    /// The limit.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// The log evidence of one stream of counts; 0 without observations.
    pub fn log_e(&self, counts: Counts) -> f64 {
        if counts.observations == 0 {
            return 0.0;
        }
        self.log_e_of(counts.observations as f64, counts.failures as f64)
    }

    /// The log evidence of consecutive stretches, oldest first, mixed over the stretch in which the fault began, so
    /// that a long good past does not hide it.
    pub fn log_e_since(&self, stretches: &[Counts]) -> f64 {
        let mut parts = Vec::with_capacity(stretches.len() + 1);
        let mut since = Counts::default();
        let mut unused = 1.0;
        for (start, counts) in stretches.iter().enumerate().rev() {
            since.observations += counts.observations;
            since.failures += counts.failures;
            let later = start as f64;
            let share = if start == 0 {
                1.0 - RESTART_SHARE
            } else {
                RESTART_SHARE / (later * (later + 1.0))
            };
            unused -= share;
            parts.push(share.ln() + self.log_e(since));
        }
        if unused > 1e-12 {
            parts.push(unused.ln());
        }
        log_sum_exp(&parts)
    }

    /// Observations still needed at the observed rate until the log evidence of `counts` reaches `ln(1/alpha)`;
    /// 0 if it has, `None` if the rate does not lead there.
    pub fn observations_until(&self, counts: Counts, alpha: f64) -> Option<u64> {
        let threshold = log_threshold(alpha);
        if self.log_e(counts) >= threshold {
            return Some(0);
        }
        let rate = counts.rate().filter(|rate| *rate > self.limit)?;
        let shown = |more: f64| {
            let observations = counts.observations as f64 + more;
            self.log_e_of(observations, counts.failures as f64 + more * rate) >= threshold
        };
        let mut high = 1.0;
        while !shown(high) {
            high *= 2.0;
            if high > 1e9 {
                return None;
            }
        }
        let mut low = high / 2.0;
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

    pub(crate) fn log_e_of(&self, observations: f64, failures: f64) -> f64 {
        let successes = observations - failures;
        let (a, b) = (self.a + failures, self.b + successes);
        ln_beta_tail(a, b, self.limit) - self.log_tail + ln_beta(a, b)
            - ln_beta(self.a, self.b)
            - failures * self.limit.ln()
            - successes * (-self.limit).ln_1p()
    }
}

/// An anytime-valid confidence interval for one failure rate, at level `1 - alpha`: the rates that the beta-binomial
/// mixture with Jeffreys' prior does not reject (Robbins 1970). `(0, 1)` without observations.
pub fn rate_bounds(counts: Counts, alpha: f64) -> (f64, f64) {
    if counts.observations == 0 {
        return (0.0, 1.0);
    }
    let (failures, successes) = (
        counts.failures as f64,
        (counts.observations - counts.failures) as f64,
    );
    let evidence = log_mixture(failures, successes, 0.5, 0.5);
    let threshold = log_threshold(alpha);
    let rejected = |rate: f64| {
        let part = |count: f64, rate: f64| if count > 0.0 { count * rate.ln() } else { 0.0 };
        evidence - part(failures, rate) - part(successes, 1.0 - rate) >= threshold
    };
    let observed = failures / (failures + successes);
    (
        outermost(0.0, observed, &rejected),
        outermost(1.0, observed, &rejected),
    )
}

/// The rejected rate nearest to `observed` on the side of `edge`, or the edge if it is not rejected.
fn outermost(edge: f64, observed: f64, rejected: &impl Fn(f64) -> bool) -> f64 {
    if observed == edge {
        return edge;
    }
    let (mut out, mut inside) = (edge, observed);
    for _ in 0..60 {
        let middle = 0.5 * (out + inside);
        if rejected(middle) {
            out = middle;
        } else {
            inside = middle;
        }
    }
    out
}

/// The log marginal likelihood of failures and successes under a `Beta(a, b)` prior.
pub(crate) fn log_mixture(failures: f64, successes: f64, a: f64, b: f64) -> f64 {
    ln_beta(a + failures, b + successes) - ln_beta(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters of the check values in the tests of the ConfSeq package (Howard et al.,
    /// `uniform_boundaries_unittest.cpp`): g = 0.2, h = 0.8, that is p0 = 0.2, tuned for v = 100 at alpha = 0.05.
    fn confseq_prior(one_sided: bool) -> (f64, f64) {
        let alpha: f64 = if one_sided { 0.1 } else { 0.05 };
        let log = 2.0 * (1.0 / alpha).ln();
        let r = 100.0 / (log + log.ln_1p()) - 0.2 * 0.8;
        (r / 0.8, r / 0.2)
    }

    /// Intrinsic time v and sum s as counts: n = v/(gh), failures = s + n p0.
    fn confseq_counts(s: f64, v: f64) -> (f64, f64) {
        let observations = v / 0.16;
        (observations, s + 0.2 * observations)
    }

    #[test]
    fn one_sided_mixture_matches_confseq() {
        let (a, b) = confseq_prior(true);
        let test = RateTest::with_prior(0.2, a, b).unwrap();
        let (n, k) = confseq_counts(10.0, 100.0);
        assert!(
            (test.log_e_of(n, k) - -0.071_340_19).abs() < 1e-5,
            "{}",
            test.log_e_of(n, k)
        );
        let (n, k) = confseq_counts(28.412_38, 100.0);
        assert!(
            (test.log_e_of(n, k) - 20f64.ln()).abs() < 1e-5,
            "{}",
            test.log_e_of(n, k)
        );
    }

    #[test]
    fn two_sided_mixture_matches_confseq() {
        let (a, b) = confseq_prior(false);
        for (s, expected) in [(10.0, -0.694_101_2), (31.430_8, 20f64.ln())] {
            let (n, k) = confseq_counts(s, 100.0);
            let log_e = log_mixture(k, n - k, a, b) - k * 0.2f64.ln() - (n - k) * 0.8f64.ln();
            assert!(
                (log_e - expected).abs() < 1e-5,
                "{log_e} instead of {expected}"
            );
        }
    }

    #[test]
    fn bounds_hold_the_rate_and_shrink() {
        let few = rate_bounds(
            Counts {
                observations: 50,
                failures: 5,
            },
            0.05,
        );
        let many = rate_bounds(
            Counts {
                observations: 5000,
                failures: 500,
            },
            0.05,
        );
        assert!(few.0 < many.0 && many.0 < 0.1 && 0.1 < many.1 && many.1 < few.1);
        assert_eq!(rate_bounds(Counts::default(), 0.05), (0.0, 1.0));
        assert_eq!(
            rate_bounds(
                Counts {
                    observations: 9,
                    failures: 0
                },
                0.05
            )
            .0,
            0.0
        );
        assert_eq!(
            rate_bounds(
                Counts {
                    observations: 9,
                    failures: 9
                },
                0.05
            )
            .1,
            1.0
        );
    }

    #[test]
    fn a_fault_after_a_long_good_past_is_found() {
        let test = RateTest::new(0.05).unwrap();
        let past = Counts {
            observations: 5_000,
            failures: 50,
        };
        let now = Counts {
            observations: 150,
            failures: 30,
        };
        let together = Counts {
            observations: 5_150,
            failures: 80,
        };
        assert!(test.log_e(together) < 0.0);
        assert!(test.log_e_since(&[past, now]) > 100f64.ln());
    }

    #[test]
    fn a_projection_is_where_the_evidence_arrives() {
        let test = RateTest::new(0.05).unwrap();
        let seen = Counts {
            observations: 20,
            failures: 4,
        };
        let more = test.observations_until(seen, 0.01).unwrap();
        let then = Counts {
            observations: 20 + more,
            failures: 4 + more.div_ceil(5),
        };
        assert!(test.log_e(then) >= 100f64.ln());
        assert_eq!(test.observations_until(then, 0.01), Some(0));
        assert_eq!(
            test.observations_until(
                Counts {
                    observations: 100,
                    failures: 1
                },
                0.01
            ),
            None
        );
    }
}
