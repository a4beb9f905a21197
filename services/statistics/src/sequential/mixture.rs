//! The bets of a two-arm test inside one segment, and their worst case over the unknown base rate.
//!
//! For a base rate `q` the null hypothesis is `p_candidate = q + shift`, `p_stable = q` (or further inside the
//! null). A bet multiplies the odds of both arms: the candidate's by `1 + t`, the stable arm's by `1 - t/r`, with
//! `r` stable observations per candidate observation. That pair has its information projection on the null at `q`
//! (Turner, Ly & Grünwald 2021 for blocks of fixed shape), so the least favourable base rate gains nothing, and
//! learning the base rate costs almost no evidence. For each `q` the likelihood ratio is a supermartingale under
//! the whole null; the smallest value over `q` is therefore an e-process.
//!
//! Under an odds bet an observation contributes `-ln(1 + a q)`, plus a constant when it failed. That is convex in
//! `q`, sums and log-sum-exp of convex functions are convex, and so the minimum is found safely by Newton steps.
//!
//! A base rate that one arm alone contradicts is excluded by a small share of one-arm bets ([`SIDE_SHARE`]).

use super::evidence::{Segment, Stratum};

/// Which side of the null hypothesis the alternative lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The candidate fails more than the null allows.
    Above,
    /// The candidate fails less than the null demands.
    Below,
}

/// A bet of the prior: its strength, and the share of the initial wealth that is put on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    strength: f64,
    pub(crate) log_weight: f64,
}

/// Log odds ratios on trial for [`Direction::Above`]: a geometric grid, since the precision with which an effect is
/// known when it is detected is proportional to the effect.
const ABOVE_FIRST: f64 = 0.4;
const ABOVE_STEP: f64 = 1.6;
const ABOVE: usize = 7;
/// Strengths `t` on trial for [`Direction::Below`] with their weights; 1 bets that the candidate never fails.
const BELOW: [(f64, f64); 6] = [
    (1.0, 0.4),
    (0.95, 0.2),
    (0.85, 0.15),
    (0.7, 0.11),
    (0.5, 0.08),
    (0.3, 0.06),
];
pub(crate) const MAX_EFFECTS: usize = 7;

/// The wealth on bets of one arm alone.
const SIDE_SHARE: f64 = 0.02;
/// What these bets multiply the odds by, less one.
const SIDE_UP: [f64; 4] = [0.3, 1.0, 5.0, SIDE_MAX - 1.0];
const SIDE_DOWN: [f64; 4] = [-0.25, -0.5, -0.83, -0.98];
/// The largest factor of one failure under a one-arm bet.
pub(crate) const SIDE_MAX: f64 = 50.0;

/// The minimum over the base rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minimum {
    pub(crate) log_e: f64,
    pub(crate) base_rate: f64,
}

/// The prior over effects of a direction.
pub(crate) fn effects(direction: Direction) -> Vec<Effect> {
    match direction {
        Direction::Above => (0..ABOVE)
            .map(|step| Effect {
                strength: (ABOVE_FIRST * ABOVE_STEP.powi(step as i32)).exp(),
                log_weight: -(ABOVE as f64).ln(),
            })
            .collect(),
        Direction::Below => BELOW
            .iter()
            .map(|&(strength, weight)| Effect {
                strength,
                log_weight: weight.ln(),
            })
            .collect(),
    }
}

/// One ratio class of a segment, with counts as real numbers so that a projection can extend them.
#[derive(Debug, Clone, Copy)]
struct Cell {
    ratio: f64,
    candidate: f64,
    candidate_failures: f64,
    stable: f64,
    stable_failures: f64,
}

/// A segment, prepared for evaluation.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    cells: Vec<Cell>,
    sum: Cell,
}

impl Table {
    pub(crate) fn new(segment: &Segment) -> Self {
        let cells: Vec<Cell> = segment.strata.iter().map(Cell::from).collect();
        let mut table = Self {
            cells,
            sum: Cell::empty(1.0),
        };
        table.total();
        table
    }

    /// Adds observations that have not been made, at the given ratio and rates.
    pub(crate) fn extend(
        &mut self,
        ratio: f64,
        candidates: f64,
        candidate_rate: f64,
        stable_rate: f64,
    ) {
        self.cells.push(Cell {
            ratio,
            candidate: candidates,
            candidate_failures: candidates * candidate_rate,
            stable: candidates * ratio,
            stable_failures: candidates * ratio * stable_rate,
        });
        self.total();
    }

    fn total(&mut self) {
        self.sum = self.cells.iter().fold(Cell::empty(1.0), |sum, cell| Cell {
            ratio: 1.0,
            candidate: sum.candidate + cell.candidate,
            candidate_failures: sum.candidate_failures + cell.candidate_failures,
            stable: sum.stable + cell.stable,
            stable_failures: sum.stable_failures + cell.stable_failures,
        });
    }

    /// The smallest log evidence of one effect over every base rate of the null with `p_candidate = q + shift`.
    pub(crate) fn minimum(&self, direction: Direction, effect: Effect, shift: f64) -> Minimum {
        let terms = Terms::new(self, direction, effect, shift);
        let (first, end) = ((-shift).max(0.0), (1.0 - shift).min(1.0) - 1e-9);
        let observations = self.sum.candidate + self.sum.stable;
        let failures = self.sum.candidate_failures + self.sum.stable_failures;
        let guess = if observations > 0.0 {
            failures / observations
        } else {
            first
        };
        minimise(first, end.max(first), guess, |q| terms.at(q))
    }
}

impl Cell {
    fn empty(ratio: f64) -> Self {
        Self {
            ratio,
            candidate: 0.0,
            candidate_failures: 0.0,
            stable: 0.0,
            stable_failures: 0.0,
        }
    }
}

impl From<&Stratum> for Cell {
    fn from(stratum: &Stratum) -> Self {
        Self {
            ratio: stratum.ratio(),
            candidate: stratum.candidate.observations as f64,
            candidate_failures: stratum.candidate.failures as f64,
            stable: stratum.stable.observations as f64,
            stable_failures: stratum.stable.failures as f64,
        }
    }
}

/// Adds the observations of one arm in one cell to a term: `n ln(1/(1 + a q))` and its two derivatives.
#[derive(Debug, Clone, Copy, Default)]
struct Curve {
    value: f64,
    slope: f64,
    bend: f64,
}

impl Curve {
    fn add(&mut self, observations: f64, odds_change: f64, rate: f64) {
        if observations > 0.0 {
            let divisor = 1.0 + odds_change * rate;
            let part = odds_change / divisor;
            self.value -= observations * divisor.ln();
            self.slope -= observations * part;
            self.bend += observations * part * part;
        }
    }
}

/// `k ln(1 + a)`, with 0 ln 0 = 0.
fn failure_gain(failures: f64, odds_change: f64) -> f64 {
    if failures > 0.0 {
        failures * odds_change.ln_1p()
    } else {
        0.0
    }
}

struct Terms<'a> {
    table: &'a Table,
    shift: f64,
    /// Per cell: the change of the candidate's and of the stable arm's odds.
    changes: Vec<(f64, f64)>,
    main: f64,
    candidate_side: [(f64, f64); 4],
    stable_side: [(f64, f64); 4],
}

impl<'a> Terms<'a> {
    fn new(table: &'a Table, direction: Direction, effect: Effect, shift: f64) -> Self {
        let mut main = (1.0 - SIDE_SHARE).ln();
        let changes = table
            .cells
            .iter()
            .map(|cell| {
                let (candidate, stable) = odds_changes(direction, effect.strength, cell.ratio);
                main += failure_gain(cell.candidate_failures, candidate);
                main += failure_gain(cell.stable_failures, stable);
                (candidate, stable)
            })
            .collect();
        let (candidate, stable) = match direction {
            Direction::Above => (SIDE_UP, SIDE_DOWN),
            Direction::Below => (SIDE_DOWN, SIDE_UP),
        };
        let each = (SIDE_SHARE / 8.0).ln();
        Self {
            table,
            shift,
            changes,
            main,
            candidate_side: candidate.map(|change| {
                (
                    change,
                    each + failure_gain(table.sum.candidate_failures, change),
                )
            }),
            stable_side: stable.map(|change| {
                (
                    change,
                    each + failure_gain(table.sum.stable_failures, change),
                )
            }),
        }
    }

    /// Value, slope and bend of the log evidence at a base rate.
    fn at(&self, base_rate: f64) -> Curve {
        let candidate_rate = base_rate + self.shift;
        let mut sum = LogSum::default();
        let mut main = Curve {
            value: self.main,
            ..Curve::default()
        };
        for (cell, &(candidate, stable)) in self.table.cells.iter().zip(&self.changes) {
            main.add(cell.candidate, candidate, candidate_rate);
            main.add(cell.stable, stable, base_rate);
        }
        sum.add(main);
        for &(change, constant) in &self.candidate_side {
            let mut side = Curve {
                value: constant,
                ..Curve::default()
            };
            side.add(self.table.sum.candidate, change, candidate_rate);
            sum.add(side);
        }
        for &(change, constant) in &self.stable_side {
            let mut side = Curve {
                value: constant,
                ..Curve::default()
            };
            side.add(self.table.sum.stable, change, base_rate);
            sum.add(side);
        }
        sum.curve()
    }
}

/// What a bet of the given strength multiplies the odds of candidate and stable by, less one.
fn odds_changes(direction: Direction, strength: f64, ratio: f64) -> (f64, f64) {
    match direction {
        Direction::Above => {
            let share = (strength - 1.0) / (strength + ratio);
            (ratio * share, -share)
        }
        Direction::Below => (-strength, strength / ratio),
    }
}

/// Log-sum-exp of curves, with derivatives, in one pass.
#[derive(Debug)]
struct LogSum {
    highest: f64,
    weight: f64,
    slope: f64,
    second: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self {
            highest: f64::NEG_INFINITY,
            weight: 0.0,
            slope: 0.0,
            second: 0.0,
        }
    }
}

impl LogSum {
    fn add(&mut self, term: Curve) {
        if term.value == f64::NEG_INFINITY {
            return;
        }
        let weight = if term.value > self.highest {
            let scale = (self.highest - term.value).exp();
            self.weight *= scale;
            self.slope *= scale;
            self.second *= scale;
            self.highest = term.value;
            1.0
        } else {
            (term.value - self.highest).exp()
        };
        self.weight += weight;
        self.slope += weight * term.slope;
        self.second += weight * (term.slope * term.slope + term.bend);
    }

    fn curve(&self) -> Curve {
        let slope = self.slope / self.weight;
        Curve {
            value: self.highest + self.weight.ln(),
            slope,
            bend: (self.second / self.weight - slope * slope).max(0.0),
        }
    }
}

/// Minimises a convex function on `[first, end]` by Newton steps that a bracket keeps safe. The value returned is
/// below the true minimum rather than above it, by the size of the last step's gain at most.
fn minimise(first: f64, end: f64, guess: f64, at: impl Fn(f64) -> Curve) -> Minimum {
    const TOLERANCE: f64 = 1e-7;
    let (mut low, mut high) = (first, end);
    let mut x = guess.clamp(first, end);
    let mut last = Curve::default();
    for _ in 0..60 {
        last = at(x);
        let at_edge = (x <= first && last.slope >= 0.0) || (x >= end && last.slope <= 0.0);
        if at_edge {
            return Minimum {
                log_e: last.value,
                base_rate: x,
            };
        }
        if last.slope > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let gain = if last.bend > 0.0 {
            0.5 * last.slope * last.slope / last.bend
        } else {
            f64::INFINITY
        };
        if gain <= TOLERANCE || high - low <= 1e-15 {
            return Minimum {
                log_e: last.value - gain.min(TOLERANCE),
                base_rate: x,
            };
        }
        let newton = x - last.slope / last.bend;
        x = if newton > low && newton < high {
            newton
        } else if low == first && x > first && last.slope > 0.0 {
            first
        } else if high == end && x < end && last.slope < 0.0 {
            end
        } else {
            0.5 * (low + high)
        };
    }
    Minimum {
        log_e: last.value - last.slope.abs() * (high - low),
        base_rate: x,
    }
}
