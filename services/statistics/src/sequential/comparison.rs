//! A claim about two arms and the evidence for it.
//!
//! The e-value of a claim is a mixture over effect sizes (a fixed prior, in [`super::mixture`]), of the product over
//! segments of each segment's worst case over its base rate. [`Claim::WorseBy`] also mixes over the segment at which
//! the trouble began, so that a long good past does not hide a candidate that turns bad.

use super::evidence::{Arm, Evidence, Segment};
use super::mixture::{self, Direction, Effect, MAX_EFFECTS, Minimum, SIDE_MAX, Table};
use super::{OutOfRange, log_threshold};

/// What is to be shown about `p_candidate - p_stable`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Claim {
    /// Rejects "the candidate fails no more than the stable arm plus `delta`".
    WorseBy {
        /// The tolerated difference, from 0 to below 1.
        delta: f64,
    },
    /// Rejects "the candidate fails at least `margin` more than the stable arm".
    WithinMargin {
        /// The difference to exclude, above -1 and below 1.
        margin: f64,
    },
}

impl Claim {
    fn direction(self) -> Direction {
        match self {
            Claim::WorseBy { .. } => Direction::Above,
            Claim::WithinMargin { .. } => Direction::Below,
        }
    }

    fn shift(self) -> f64 {
        match self {
            Claim::WorseBy { delta } => delta,
            Claim::WithinMargin { margin } => margin,
        }
    }
}

/// The wealth kept for restarts at later segments, for [`Claim::WorseBy`].
const RESTART_SHARE: f64 = 0.1;

/// Computes the evidence for one claim. It keeps the results of closed segments, so it belongs to one [`Evidence`]
/// and to what grows out of it; another one needs another `Comparison`.
#[derive(Debug, Clone)]
pub struct Comparison {
    claim: Claim,
    effects: Vec<Effect>,
    closed: Vec<[f64; MAX_EFFECTS]>,
}

/// The log evidence, and by how much one more observation can raise it at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evaluation {
    pub(crate) log_e: f64,
    pub(crate) candidate_success: f64,
    pub(crate) candidate_failure: f64,
    pub(crate) stable_success: f64,
    pub(crate) stable_failure: f64,
}

impl Comparison {
    /// A comparison without evidence. Refuses a shift outside of its range.
    pub fn new(claim: Claim) -> Result<Self, OutOfRange> {
        match claim {
            Claim::WorseBy { delta } if !(0.0..1.0).contains(&delta) => {
                return Err(OutOfRange {
                    what: "delta",
                    range: "at least 0 and below 1",
                    value: delta,
                });
            }
            Claim::WithinMargin { margin } if !(margin > -1.0 && margin < 1.0) => {
                return Err(OutOfRange {
                    what: "margin",
                    range: "above -1 and below 1",
                    value: margin,
                });
            }
            Claim::WorseBy { .. } | Claim::WithinMargin { .. } => {}
        }
        Ok(Self::unchecked(claim))
    }

    fn unchecked(claim: Claim) -> Self {
        Self {
            claim,
            effects: mixture::effects(claim.direction()),
            closed: Vec::new(),
        }
    }

    /// The claim.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The natural logarithm of the e-value; 0 without observations.
    pub fn log_e(&mut self, evidence: &Evidence) -> f64 {
        self.evaluate(evidence).log_e
    }

    pub(crate) fn evaluate(&mut self, evidence: &Evidence) -> Evaluation {
        self.refresh_closed(evidence.segments());
        let open = self.minima(&Table::new(evidence.last()));
        let ratio_gain = match self.claim.direction() {
            Direction::Above => 1.0 + 1.2 * evidence.ratio().max(1.0),
            Direction::Below => 1.0 + 1.2 / evidence.ratio().min(1.0),
        };
        let failure_gain = ratio_gain.max(SIDE_MAX).ln();
        let highest = open
            .iter()
            .map(|minimum| minimum.base_rate)
            .fold(0.0, f64::max);
        let log_e = self.mix(evidence.segments().len(), &open);
        let shift = self.claim.shift();
        match self.claim.direction() {
            Direction::Above => Evaluation {
                log_e,
                candidate_success: 0.0,
                candidate_failure: failure_gain,
                stable_success: -(-highest).ln_1p(),
                stable_failure: 0.0,
            },
            Direction::Below => Evaluation {
                log_e,
                candidate_success: -(-(highest + shift).clamp(0.0, 1.0 - 1e-9)).ln_1p(),
                candidate_failure: 0.0,
                stable_success: 0.0,
                stable_failure: failure_gain,
            },
        }
    }

    /// The log evidence if the open segment were extended by observations at the given ratio and rates.
    pub(crate) fn extended(
        &mut self,
        evidence: &Evidence,
        candidates: f64,
        candidate_rate: f64,
        stable_rate: f64,
    ) -> f64 {
        self.refresh_closed(evidence.segments());
        let mut table = Table::new(evidence.last());
        table.extend(evidence.ratio(), candidates, candidate_rate, stable_rate);
        let open = self.minima(&table);
        self.mix(evidence.segments().len(), &open)
    }

    fn refresh_closed(&mut self, segments: &[Segment]) {
        let closed = segments.len() - 1;
        self.closed.truncate(closed);
        for segment in &segments[self.closed.len()..closed] {
            let mut row = [0.0; MAX_EFFECTS];
            for (slot, minimum) in row.iter_mut().zip(self.minima(&Table::new(segment))) {
                *slot = minimum.log_e;
            }
            self.closed.push(row);
        }
    }

    fn minima(&self, table: &Table) -> Vec<Minimum> {
        let (direction, shift) = (self.claim.direction(), self.claim.shift());
        self.effects
            .iter()
            .map(|&effect| table.minimum(direction, effect, shift))
            .collect()
    }

    /// Mixes over effects and, for [`Claim::WorseBy`], over the segment in which the effect began.
    fn mix(&self, segments: usize, open: &[Minimum]) -> f64 {
        let mut parts = Vec::with_capacity(segments * self.effects.len() + 1);
        let mut sums: Vec<f64> = self
            .effects
            .iter()
            .zip(open)
            .map(|(effect, minimum)| effect.log_weight + minimum.log_e)
            .collect();
        let mut unused = 1.0;
        for start in (0..segments).rev() {
            let share = self.share_of_start(start);
            if share > 0.0 {
                unused -= share;
                parts.extend(sums.iter().map(|sum| sum + share.ln()));
            }
            if let Some(row) = start
                .checked_sub(1)
                .and_then(|before| self.closed.get(before))
            {
                for (sum, part) in sums.iter_mut().zip(row) {
                    *sum += part;
                }
            }
        }
        if unused > 1e-12 {
            parts.push(unused.ln());
        }
        log_sum_exp(&parts)
    }

    fn share_of_start(&self, segment: usize) -> f64 {
        match (self.claim.direction(), segment) {
            (Direction::Above, 0) => 1.0 - RESTART_SHARE,
            (Direction::Above, later) => RESTART_SHARE / (later as f64 * (later as f64 + 1.0)),
            (Direction::Below, 0) => 1.0,
            (Direction::Below, _) => 0.0,
        }
    }
}

/// A confidence sequence for `p_candidate - p_stable`: each bound holds at all times together with probability at
/// least `1 - alpha`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DifferenceBounds {
    /// The candidate fails at least this much more; -1 without evidence.
    pub lower: f64,
    /// The candidate fails at most this much more; 1 without evidence.
    pub upper: f64,
}

/// Inverts both claims: the upper bound is below a margin exactly when [`Claim::WithinMargin`] of it is rejected at
/// `alpha`, and the lower bound is above 0 when the one-start form of [`Claim::WorseBy`] is. Evidence is monotone in
/// the shift; each bound is found to `1e-4` and rounded to the safe side.
pub fn difference_bounds(evidence: &Evidence, alpha: f64) -> DifferenceBounds {
    let (candidate, stable) = (evidence.total(Arm::Candidate), evidence.total(Arm::Stable));
    let Some(rate) = candidate.rate() else {
        return DifferenceBounds {
            lower: -1.0,
            upper: 1.0,
        };
    };
    let observed = rate - stable.rate().unwrap_or(0.0);
    let tables: Vec<Table> = evidence.segments().iter().map(Table::new).collect();
    let threshold = log_threshold(alpha);
    let excess = |direction: Direction, shift: f64| {
        let parts: Vec<f64> = mixture::effects(direction)
            .into_iter()
            .map(|effect| {
                let product = tables
                    .iter()
                    .map(|table| table.minimum(direction, effect, shift).log_e);
                effect.log_weight + product.sum::<f64>()
            })
            .collect();
        log_sum_exp(&parts) - threshold
    };
    let width =
        4.0 / (1.0 + (candidate.observations.min(stable.observations.max(1))) as f64).sqrt();
    DifferenceBounds {
        lower: -edge(-observed, width, |shift| excess(Direction::Above, -shift)),
        upper: edge(observed, width, |shift| excess(Direction::Below, shift)),
    }
}

/// The least shift above `start` at which the increasing function `excess` is at least 0, to `1e-4` and not below
/// the true one; 1 if there is none below 1. Widens a bracket from `start`, then narrows it by the Illinois method.
fn edge(start: f64, width: f64, excess: impl Fn(f64) -> f64) -> f64 {
    const TOLERANCE: f64 = 1e-4;
    const LAST: f64 = 1.0 - 1e-6;
    let (mut low, mut low_value) = (start.clamp(-LAST, LAST), -1.0);
    let (mut high, mut step) = (low, width.max(0.01));
    let mut high_value = loop {
        high = (high + step).min(LAST);
        let value = excess(high);
        if value >= 0.0 {
            break value;
        }
        if high == LAST {
            return 1.0;
        }
        (low, low_value) = (high, value);
        step *= 2.0;
    };
    for _ in 0..60 {
        if high - low <= TOLERANCE {
            break;
        }
        let fraction = (-low_value / (high_value - low_value)).clamp(0.05, 0.95);
        let middle = low + fraction * (high - low);
        let value = excess(middle);
        if value >= 0.0 {
            (high, high_value) = (middle, value);
            low_value *= 0.5;
        } else {
            (low, low_value) = (middle, value);
            high_value *= 0.5;
        }
    }
    high
}

pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    highest
        + values
            .iter()
            .map(|value| (value - highest).exp())
            .sum::<f64>()
            .ln()
}
