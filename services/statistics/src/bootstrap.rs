//! Seeded bootstrap intervals, by the percentile method. The resampling unit is the row.
//!
//! Resampling rows that fall into K kinds is drawing the K counts from a multinomial distribution:
//! exact, and independent of the number of rows. Source: B. Efron and R. J. Tibshirani, *An
//! Introduction to the Bootstrap* (1993), chapter 13. The generator is ChaCha8, so the same plan
//! over the same counts gives the same interval on every machine.

use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::Binomial;

use crate::measure::{Interval, Undefined};

/// How to resample. Part of the record of whatever was computed by it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Seed of the generator.
    pub seed: u64,
    /// Number of resamples, at least 2.
    pub resamples: u32,
    /// Confidence level of the interval, in (0, 1).
    pub level: f64,
}

/// What a bootstrap found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampled {
    /// The percentile interval at the plan's level.
    pub interval: Interval,
    /// The standard deviation of the statistic over the resamples.
    pub standard_error: f64,
}

/// Resamples rows of `K` kinds, of which there are `counts`.
///
/// Resamples in which `statistic` has no value are left out; when they are more than one tail of
/// the interval the whole interval is undefined.
pub fn of_counts<const K: usize>(
    counts: [u64; K],
    plan: &Plan,
    statistic: impl Fn(&[u64; K]) -> Option<f64>,
) -> Result<Resampled, Undefined> {
    let rows: u64 = counts.iter().sum();
    if rows == 0 {
        return Err(Undefined::NoRows);
    }
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut values = Vec::with_capacity(plan.resamples as usize);
    for _ in 0..plan.resamples {
        let resample = multinomial(&counts, rows, &mut random);
        values.extend(statistic(&resample).filter(|value| value.is_finite()));
    }
    summarise(values, plan)
}

/// Resamples the mean of `values`.
pub fn of_mean(values: &[f64], plan: &Plan) -> Result<Resampled, Undefined> {
    let rows = values.len() as u64;
    if rows < 2 {
        return Err(Undefined::TooFewRows { rows, needed: 2 });
    }
    let pick = Uniform::new(0, values.len()).map_err(|_| Undefined::NoRows)?;
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let means = (0..plan.resamples)
        .map(|_| {
            let sum: f64 = (0..rows).map(|_| values[pick.sample(&mut random)]).sum();
            sum / rows as f64
        })
        .collect();
    summarise(means, plan)
}

/// Draws `rows` rows into kinds with the probabilities `counts / rows`, one conditional binomial
/// after another.
fn multinomial<const K: usize>(counts: &[u64; K], rows: u64, random: &mut ChaCha8Rng) -> [u64; K] {
    let mut drawn = [0; K];
    let (mut left, mut weight) = (rows, rows);
    for (kind, count) in counts.iter().enumerate() {
        if left == 0 || weight == 0 {
            break;
        }
        drawn[kind] = if *count >= weight {
            left
        } else {
            let share = *count as f64 / weight as f64;
            Binomial::new(left, share)
                .expect("a share of counts is a probability")
                .sample(random)
        };
        left -= drawn[kind];
        weight -= count;
    }
    drawn
}

fn summarise(mut values: Vec<f64>, plan: &Plan) -> Result<Resampled, Undefined> {
    let undefined = plan.resamples - values.len() as u32;
    let tail = (1.0 - plan.level) / 2.0;
    if values.len() < 2 || f64::from(undefined) > tail * f64::from(plan.resamples) {
        return Err(Undefined::Resamples {
            undefined,
            resamples: plan.resamples,
        });
    }
    values.sort_unstable_by(f64::total_cmp);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Ok(Resampled {
        interval: Interval::new(percentile(&values, tail), percentile(&values, 1.0 - tail)),
        standard_error: (squares / (values.len() - 1) as f64).sqrt(),
    })
}

/// The percentile at `share` of sorted values, linear between order statistics.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = sorted[at.floor() as usize];
    let above = sorted[at.ceil() as usize];
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal;
    use proptest::prelude::*;

    const PLAN: Plan = Plan {
        seed: 7,
        resamples: 4_000,
        level: 0.95,
    };

    fn share(counts: &[u64; 2]) -> Option<f64> {
        Some(counts[0] as f64 / (counts[0] + counts[1]) as f64)
    }

    #[test]
    fn the_same_plan_gives_the_same_interval() {
        let first = of_counts([30, 70], &PLAN, share).unwrap();
        assert_eq!(first, of_counts([30, 70], &PLAN, share).unwrap());
        let other = Plan { seed: 8, ..PLAN };
        assert_ne!(first, of_counts([30, 70], &other, share).unwrap());
    }

    /// The bootstrap standard error of a proportion is sqrt(p (1 − p) / n), exactly, as the number
    /// of resamples grows (Efron and Tibshirani 1993, chapter 5).
    #[test]
    fn standard_errors_are_those_of_the_plug_in_formula() {
        let found = of_counts([300, 700], &PLAN, share).unwrap();
        let formula = (0.3f64 * 0.7 / 1000.0).sqrt();
        assert!(
            (found.standard_error / formula - 1.0).abs() < 0.04,
            "{found:?}"
        );
        let half = normal::critical(0.95) * formula;
        assert!(
            (found.interval.low - (0.3 - half)).abs() < 0.002,
            "{found:?}"
        );
        assert!(
            (found.interval.high - (0.3 + half)).abs() < 0.002,
            "{found:?}"
        );
    }

    #[test]
    fn counts_and_rows_agree() {
        let rows: Vec<f64> = (0..1000).map(|i| if i < 300 { 1.0 } else { 0.0 }).collect();
        let by_rows = of_mean(&rows, &PLAN).unwrap();
        let by_counts = of_counts([300, 700], &PLAN, share).unwrap();
        assert!((by_rows.standard_error / by_counts.standard_error - 1.0).abs() < 0.06);
    }

    #[test]
    fn resamples_without_a_value_make_it_undefined() {
        let sometimes = |c: &[u64; 2]| (c[0] > 0).then(|| c[1] as f64 / c[0] as f64);
        let found = of_counts([1, 50], &PLAN, sometimes);
        assert!(
            matches!(found, Err(Undefined::Resamples { .. })),
            "{found:?}"
        );
        assert_eq!(of_counts([0, 0], &PLAN, share), Err(Undefined::NoRows));
        assert_eq!(
            of_mean(&[1.0], &PLAN),
            Err(Undefined::TooFewRows { rows: 1, needed: 2 })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_resample_has_as_many_rows(counts in proptest::array::uniform5(0u64..1_000_000), seed in any::<u64>()) {
            let rows: u64 = counts.iter().sum();
            prop_assume!(rows > 0);
            let drawn = multinomial(&counts, rows, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert_eq!(drawn.iter().sum::<u64>(), rows);
            prop_assert!(drawn.iter().zip(&counts).all(|(d, c)| *c > 0 || *d == 0));
        }
    }
}
