//! The tests of a rollout: candidate against stable, and the absolute limit, fed observation by observation.

use slipway_statistics::sequential::{
    Arm, Claim, Comparator, Counts, DifferenceBounds, Evidence, EvidenceParts, OutOfRange,
    RateTest, difference_bounds, log_threshold, observations_until,
};

use super::policy::{Alphas, Policy};
use super::verdict::{Code, Numbers};

/// A rollout's evidence and its tests. A rejection that was seen once stands, as anytime-valid tests allow.
#[derive(Debug)]
pub struct Trial {
    evidence: Evidence,
    worse: Option<Comparator>,
    within: Comparator,
    margin: f64,
    limit: Option<Limit>,
    healthy: Option<bool>,
    healthy_alpha: f64,
    bounds: Option<KeptBounds>,
}

#[derive(Debug)]
struct Limit {
    test: RateTest,
    alpha: f64,
    rejected: bool,
}

/// Bounds are costly and move slowly, so they are kept while the counts grow by less than a part of themselves.
#[derive(Debug, Clone, Copy)]
struct KeptBounds {
    observations: u64,
    failures: u64,
    bounds: DifferenceBounds,
}

/// Candidate observations that a comparison with stable's history is tuned for. A clear fault needs fewer and a
/// slight one more; the bets are valid in any case.
const HISTORY_CANDIDATES: f64 = 60.0;

impl Trial {
    /// Goes on from stored evidence, or from none.
    pub fn resume(
        policy: &Policy,
        alphas: Alphas,
        has_stable: bool,
        parts: EvidenceParts,
    ) -> Result<Self, OutOfRange> {
        let margin = if has_stable {
            policy.margin
        } else {
            policy.absolute_margin()
        };
        let worse = match alphas.comparison {
            Some(alpha) => Some(Comparator::new(
                Claim::WorseBy {
                    delta: policy.delta,
                },
                alpha,
            )?),
            None => None,
        };
        let limit = match (policy.limit(), alphas.limit) {
            (Some(rate), Some(alpha)) => Some(Limit {
                test: RateTest::new(rate)?,
                alpha,
                rejected: false,
            }),
            _ => None,
        };
        let mut trial = Self {
            evidence: Evidence::from_parts(parts),
            worse,
            within: Comparator::new(Claim::WithinMargin { margin }, alphas.healthy)?,
            margin,
            limit,
            healthy: None,
            healthy_alpha: alphas.healthy,
            bounds: None,
        };
        if let Some(worse) = &mut trial.worse {
            worse.log_e(&trial.evidence);
        }
        trial.within.log_e(&trial.evidence);
        trial.check_limit();
        Ok(trial)
    }

    /// The split has changed.
    pub fn start_segment(&mut self) {
        self.evidence.start_segment(None);
    }

    /// Takes one observation; true if it made a test call the candidate degraded.
    pub fn observe(&mut self, arm: Arm, failed: bool) -> bool {
        self.record(
            arm,
            Counts {
                observations: 1,
                failures: u64::from(failed),
            },
        )
    }

    /// Takes observations of stable that were made before, while it had the traffic, as those that the candidate's
    /// next ones are compared with.
    pub fn record_history(&mut self, counts: Counts) {
        let share = HISTORY_CANDIDATES / (HISTORY_CANDIDATES + counts.observations as f64);
        self.evidence.start_segment(Some(share));
        self.record(Arm::Stable, counts);
    }

    fn record(&mut self, arm: Arm, counts: Counts) -> bool {
        let Counts {
            observations,
            failures,
        } = counts;
        let before = self.rejected().is_some();
        self.evidence.record(arm, observations, failures);
        if let Some(worse) = &mut self.worse {
            worse.recorded(&self.evidence, arm, observations, failures);
        }
        if self.within.rejection().is_none() {
            self.within
                .recorded(&self.evidence, arm, observations, failures);
        }
        // While healthy, only failures are looked at at once.
        if failures > 0 || self.healthy != Some(true) {
            self.healthy = None;
        }
        if arm == Arm::Candidate && failures > 0 {
            self.check_limit();
        }
        !before && self.rejected().is_some()
    }

    /// The counts, to store.
    pub fn parts(&self) -> EvidenceParts {
        self.evidence.parts()
    }

    /// The counts of one arm.
    pub fn total(&self, arm: Arm) -> Counts {
        self.evidence.total(arm)
    }

    /// The test that calls the candidate degraded, if one does.
    pub fn rejected(&self) -> Option<Code> {
        if self
            .worse
            .as_ref()
            .is_some_and(|worse| worse.rejection().is_some())
        {
            return Some(Code::WorseThanStable);
        }
        self.limit
            .as_ref()
            .is_some_and(|limit| limit.rejected)
            .then_some(Code::OverLimit)
    }

    /// What the tests say now.
    pub fn verdict(&mut self) -> Code {
        if let Some(code) = self.rejected() {
            return code;
        }
        let (within, evidence) = (&mut self.within, &self.evidence);
        // Until the comparator has seen a first rejection, it knows without a computation that there is none.
        let seen = within.rejection().is_some();
        let healthy = *self
            .healthy
            .get_or_insert_with(|| seen && within.holds(evidence));
        if healthy {
            Code::WithinMargin
        } else {
            Code::MoreNeeded
        }
    }

    /// The numbers now.
    pub fn numbers(&mut self) -> Numbers {
        let has_stable = self.worse.is_some();
        // Successes of stable can undo "healthy" too, so slowly that looking now and then is enough.
        self.healthy = None;
        let verdict = self.verdict();
        // Kept bounds must not contradict the verdict that they are shown with.
        let healthy = verdict == Code::WithinMargin;
        let margin = self.margin;
        self.bounds = self
            .bounds
            .filter(|kept| healthy == (kept.bounds.upper <= margin));
        Numbers {
            candidate: self.total(Arm::Candidate),
            stable: self.total(Arm::Stable),
            difference: has_stable.then(|| self.bounds()),
            log_e_comparison: self
                .worse
                .as_mut()
                .map_or(0.0, |worse| worse.log_e(&self.evidence)),
            log_e_limit: self
                .limit
                .as_ref()
                .map_or(0.0, |limit| limit.test.log_e_since(&self.stretches())),
            needed: if verdict == Code::MoreNeeded {
                self.needed()
            } else {
                0
            },
        }
    }

    fn bounds(&mut self) -> DifferenceBounds {
        let (candidate, stable) = (self.total(Arm::Candidate), self.total(Arm::Stable));
        let observations = candidate.observations + stable.observations;
        let failures = candidate.failures + stable.failures;
        let fresh = |kept: &KeptBounds| {
            observations <= kept.observations + kept.observations / 32 && failures == kept.failures
        };
        if let Some(kept) = self.bounds.filter(fresh) {
            return kept.bounds;
        }
        let bounds = difference_bounds(&self.evidence, self.healthy_alpha);
        self.bounds = Some(KeptBounds {
            observations,
            failures,
            bounds,
        });
        bounds
    }

    /// The least number of candidate observations that brings a verdict, whichever it is.
    fn needed(&self) -> u64 {
        let healthy = observations_until(self.within.claim(), &self.evidence, self.healthy_alpha);
        let worse = self.worse.as_ref().and_then(|worse| {
            observations_until(worse.claim(), &self.evidence, (-worse.threshold()).exp())
        });
        let over = self.limit.as_ref().and_then(|limit| {
            limit
                .test
                .observations_until(self.total(Arm::Candidate), limit.alpha)
        });
        [healthy, worse, over]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(0)
    }

    fn check_limit(&mut self) {
        let stretches = self.stretches();
        if let Some(limit) = self.limit.as_mut().filter(|limit| !limit.rejected) {
            limit.rejected = limit.test.log_e_since(&stretches) >= log_threshold(limit.alpha);
        }
    }

    fn stretches(&self) -> Vec<Counts> {
        self.evidence
            .segments()
            .iter()
            .map(|segment| segment.total(Arm::Candidate))
            .collect()
    }
}
