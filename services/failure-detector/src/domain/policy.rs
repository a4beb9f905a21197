//! How a subject is judged, with every default filled in, and how its alpha is shared out.

use std::time::Duration;

use slipway_platform::Violations;

/// The rules of a judgement. Each number is finite and in range once [`Policy::check`] found nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Chance that a healthy candidate is ever called degraded in a rollout.
    pub alpha: f64,
    /// Healthy: the candidate fails at most this much more than stable.
    pub margin: f64,
    /// Degraded: the candidate fails by more than this more than stable.
    pub delta: f64,
    /// The absolute limit of the failure rate; 1 turns it off.
    pub max_failure_rate: f64,
    /// A revision that gives nothing but failures for this long has stopped answering.
    pub stopped_answering_after: Duration,
    /// An access log that is silent for this long cannot be relied on.
    pub stale_after: Duration,
    /// gRPC status codes that are failures.
    pub grpc_failure_codes: Vec<i32>,
    /// Observations between false alarms of the steady watch, on average.
    pub average_run_length: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            margin: 0.05,
            delta: 0.0,
            max_failure_rate: 0.05,
            stopped_answering_after: Duration::from_secs(10),
            stale_after: Duration::from_secs(15),
            grpc_failure_codes: Self::DEFAULT_GRPC_FAILURE_CODES.to_vec(),
            average_run_length: 1e6,
        }
    }
}

/// The longest window that a policy may ask for.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);
/// gRPC knows 17 codes; a list of more is a mistake.
const GRPC_CODES_MAX: usize = 17;

impl Policy {
    /// UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
    pub const DEFAULT_GRPC_FAILURE_CODES: [i32; 5] = [2, 4, 13, 14, 15];

    /// Notes what is out of range, as fields below `field`.
    pub fn check(&self, field: &str, violations: &mut Violations) {
        let mut require = |holds: bool, name: &str, range: &str| {
            violations.require(holds, format!("{field}.{name}"), format!("must be {range}"));
        };
        let open = |value: f64| value > 0.0 && value < 1.0;
        require(
            (1e-9..=0.5).contains(&self.alpha),
            "alpha",
            "from 1e-9 to 0.5",
        );
        require(open(self.margin), "margin", "above 0 and below 1");
        require(
            (0.0..1.0).contains(&self.delta),
            "delta",
            "at least 0 and below 1",
        );
        let limit = self.max_failure_rate;
        require(
            limit > 0.0 && limit <= 1.0,
            "max_failure_rate",
            "above 0 and at most 1",
        );
        let window = |value: Duration| !value.is_zero() && value <= WINDOW_MAX;
        require(
            window(self.stopped_answering_after),
            "stopped_answering_after",
            "above 0 and at most 24 h",
        );
        require(
            window(self.stale_after),
            "stale_after",
            "above 0 and at most 24 h",
        );
        let codes = &self.grpc_failure_codes;
        let known =
            codes.len() <= GRPC_CODES_MAX && codes.iter().all(|code| (1..=16).contains(code));
        require(known, "grpc_failure_codes", "codes from 1 to 16");
        let length = self.average_run_length;
        require(
            (100.0..=1e15).contains(&length),
            "average_run_length",
            "from 100 to 1e15",
        );
    }

    /// The absolute limit, if there is one.
    pub fn limit(&self) -> Option<f64> {
        (self.max_failure_rate < 1.0).then_some(self.max_failure_rate)
    }

    /// What a candidate without a stable revision has to stay below to be called healthy.
    pub fn absolute_margin(&self) -> f64 {
        self.limit().unwrap_or(self.margin)
    }
}

/// The level of each test of a rollout. Those that can call a candidate degraded sum to the policy's alpha.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alphas {
    /// "No worse than stable by more than delta".
    pub comparison: Option<f64>,
    /// "Fails at most max_failure_rate".
    pub limit: Option<f64>,
    /// "Fails at least margin more than stable", whose rejection is healthy: an error of another kind.
    pub healthy: f64,
}

impl Alphas {
    /// Shares `policy.alpha` out: `comparison_share` of it goes to the comparison where both tests exist.
    pub fn share(policy: &Policy, has_stable: bool, comparison_share: f64) -> Self {
        let (comparison, limit) = match (has_stable, policy.limit().is_some()) {
            (true, true) => (Some(comparison_share), Some(1.0 - comparison_share)),
            (true, false) => (Some(1.0), None),
            (false, true) => (None, Some(1.0)),
            (false, false) => (None, None),
        };
        let part = |share: Option<f64>| share.map(|share| share * policy.alpha);
        Self {
            comparison: part(comparison),
            limit: part(limit),
            healthy: policy.alpha,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_nonsense_is_not() {
        let mut violations = Violations::new();
        Policy::default().check("judgement", &mut violations);
        assert!(violations.is_empty(), "{violations}");
        let nonsense = Policy {
            alpha: f64::NAN,
            margin: 0.0,
            delta: -0.1,
            max_failure_rate: 1.5,
            stopped_answering_after: Duration::ZERO,
            stale_after: Duration::from_secs(1 << 30),
            grpc_failure_codes: vec![0],
            average_run_length: f64::INFINITY,
        };
        nonsense.check("judgement", &mut violations);
        assert_eq!(violations.iter().count(), 8);
    }

    #[test]
    fn the_shares_sum_to_alpha() {
        let policy = Policy::default();
        for has_stable in [true, false] {
            let alphas = Alphas::share(&policy, has_stable, 0.75);
            let sum = alphas.comparison.unwrap_or(0.0) + alphas.limit.unwrap_or(0.0);
            assert!((sum - policy.alpha).abs() < 1e-15);
        }
        let off = Policy {
            max_failure_rate: 1.0,
            ..policy
        };
        assert_eq!(Alphas::share(&off, false, 0.75).limit, None);
        assert_eq!(Alphas::share(&off, true, 0.75).comparison, Some(0.01));
    }
}
