//! Confidence intervals of proportions, of their differences and of their ratios.
//!
//! Counts are `f64`, so that a caller can ask what the interval would be with more rows of the same
//! kind. All intervals are score intervals or are recovered from them: none has zero width at 0 or
//! at 1, so that few perfect rows never look like certainty.

use crate::measure::{Interval, Undefined};
use crate::normal;

/// The Wilson score interval of `successes` of `trials` at confidence `level`.
///
/// Source: E. B. Wilson, JASA 22 (1927); recommended by Brown, Cai and DasGupta, Statistical
/// Science 16 (2001), equation (4). Contract: 0 ≤ `successes` ≤ `trials`.
pub fn wilson(successes: f64, trials: f64, level: f64) -> Result<Interval, Undefined> {
    if trials <= 0.0 {
        return Err(Undefined::NoRows);
    }
    let z = normal::critical(level);
    let z2 = z * z;
    let p = successes / trials;
    let centre = (successes + z2 / 2.0) / (trials + z2);
    let half = z * (trials * p * (1.0 - p) + z2 / 4.0).max(0.0).sqrt() / (trials + z2);
    // At 0 and at all the bound is exact; rounding must not move it inside.
    let low = if successes <= 0.0 { 0.0 } else { centre - half };
    let high = if successes >= trials {
        1.0
    } else {
        centre + half
    };
    Ok(Interval::new(low, high).clamped(0.0, 1.0))
}

/// The interval of p1 − p2 for two independent proportions, each `(successes, trials)`.
///
/// Source: R. G. Newcombe, Statistics in Medicine 17 (1998) 873–890, method 10: square and add the
/// distances to the Wilson limits.
pub fn difference(
    first: (f64, f64),
    second: (f64, f64),
    level: f64,
) -> Result<Interval, Undefined> {
    let (a, b) = (
        wilson(first.0, first.1, level)?,
        wilson(second.0, second.1, level)?,
    );
    let (p1, p2) = (first.0 / first.1, second.0 / second.1);
    let d = p1 - p2;
    let low = d - (p1 - a.low).hypot(b.high - p2);
    let high = d + (a.high - p1).hypot(p2 - b.low);
    Ok(Interval::new(low, high).clamped(-1.0, 1.0))
}

/// The interval of p1 / p2 for two independent proportions, each `(successes, trials)`.
///
/// Source: A. Donner and G. Y. Zou, Statistical Methods in Medical Research 21 (2012) 347–359: the
/// limits are recovered from the Wilson limits (MOVER-R). The upper limit is infinite when the lower
/// Wilson limit of p2 is 0. Undefined when both proportions are 0.
pub fn ratio(first: (f64, f64), second: (f64, f64), level: f64) -> Result<Interval, Undefined> {
    let (a, b) = (
        wilson(first.0, first.1, level)?,
        wilson(second.0, second.1, level)?,
    );
    let (p1, p2) = (first.0 / first.1, second.0 / second.1);
    if p1 <= 0.0 && p2 <= 0.0 {
        return Err(Undefined::NothingSelected);
    }
    let product = p1 * p2;
    let root = |l1: f64, u2: f64| {
        let radicand = product * product - l1 * u2 * (2.0 * p1 - l1) * (2.0 * p2 - u2);
        radicand.max(0.0).sqrt()
    };
    // The smaller root of r² u2 (2 p2 − u2) − 2 p1 p2 r + l1 (2 p1 − l1), in the form that does not
    // divide by u2 (2 p2 − u2), which may be 0.
    let low = if a.low <= 0.0 {
        0.0
    } else {
        a.low * (2.0 * p1 - a.low) / (product + root(a.low, b.high))
    };
    let high = if b.low <= 0.0 {
        f64::INFINITY
    } else {
        (product + root(a.high, b.low)) / (b.low * (2.0 * p2 - b.low))
    };
    Ok(Interval::new(low.clamp(0.0, high), high))
}

/// The interval of p1 − p2 for two proportions on the same rows: `only_first` rows are successes of
/// the first alone, `only_second` of the second alone, out of `rows`.
///
/// Source: T. Tango, Statistics in Medicine 17 (1998) 891–908: the score interval, by bisection on
/// the score statistic with the nuisance probability at its constrained maximum likelihood. With no
/// disagreement at all its half width is z² / (rows + z²).
pub fn paired_difference(
    only_first: f64,
    only_second: f64,
    rows: f64,
    level: f64,
) -> Result<Interval, Undefined> {
    if rows <= 0.0 {
        return Err(Undefined::NoRows);
    }
    let z = normal::critical(level);
    let (b, c, n) = (only_first, only_second, rows);
    let estimate = (b - c) / n;
    // Decreases in d, from above +z at -1 to below -z at +1, except at the estimate ±1 itself.
    let score = |d: f64| {
        let linear = -b - c + (2.0 * n - b + c) * d;
        let constant = -c * d * (1.0 - d);
        let discriminant = (linear * linear - 8.0 * n * constant).max(0.0);
        let p21 = (discriminant.sqrt() - linear) / (4.0 * n);
        let variance = n * (2.0 * p21 + d * (1.0 - d));
        let distance = b - c - n * d;
        if variance > 0.0 {
            distance / variance.sqrt()
        } else if distance == 0.0 {
            0.0
        } else {
            f64::INFINITY.copysign(distance)
        }
    };
    let low = bisect(-1.0, estimate, |d| score(d) > z);
    let high = bisect(estimate, 1.0, |d| score(d) > -z);
    Ok(Interval::new(low.min(estimate), high.max(estimate)))
}

/// The point in `low..=high` where `before` turns from true to false.
fn bisect(mut low: f64, mut high: f64, before: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if before(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// How far a share that was never seen among `rows` rows may still be from 0, by the score bound:
/// z² / (rows + z²).
///
/// A resampling interval cannot show a disagreement that the rows do not contain; it is widened to
/// at least this.
pub fn unseen(rows: f64, level: f64) -> f64 {
    let z = normal::critical(level);
    z * z / (rows + z * z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(found: Interval, low: f64, high: f64, digits: i32) {
        let off = 0.51 * 10f64.powi(-digits);
        assert!(
            (found.low - low).abs() < off && (found.high - high).abs() < off,
            "{found:?} is not [{low}, {high}]"
        );
    }

    /// Newcombe, Statistics in Medicine 17 (1998) 857–872, table I, method 3 (Wilson).
    #[test]
    fn wilson_gives_the_published_intervals() {
        check(wilson(81.0, 263.0, 0.95).unwrap(), 0.2553, 0.3662, 4);
        check(wilson(15.0, 148.0, 0.95).unwrap(), 0.0624, 0.1605, 4);
        check(wilson(0.0, 20.0, 0.95).unwrap(), 0.0, 0.1611, 4);
        check(wilson(1.0, 29.0, 0.95).unwrap(), 0.0061, 0.1718, 4);
    }

    #[test]
    fn wilson_of_nothing_is_undefined() {
        assert_eq!(wilson(0.0, 0.0, 0.95), Err(Undefined::NoRows));
    }

    /// Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10.
    #[test]
    fn difference_gives_the_published_intervals() {
        let d = |a: (f64, f64), b: (f64, f64)| difference(a, b, 0.95).unwrap();
        check(d((56.0, 70.0), (48.0, 80.0)), 0.0524, 0.3339, 4);
        check(d((9.0, 10.0), (3.0, 10.0)), 0.1705, 0.8090, 4);
        check(d((6.0, 7.0), (2.0, 7.0)), 0.0582, 0.8062, 4);
        check(d((5.0, 56.0), (0.0, 29.0)), -0.0381, 0.1926, 4);
        check(d((0.0, 10.0), (0.0, 20.0)), -0.1611, 0.2775, 4);
        check(d((10.0, 10.0), (0.0, 20.0)), 0.6791, 1.0, 4);
    }

    /// Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850–2875: airway
    /// hyper-responsiveness before and after transplantation, cells 1, 1, 7, 12; Tango's interval.
    #[test]
    fn paired_difference_gives_the_published_interval() {
        check(
            paired_difference(1.0, 7.0, 21.0, 0.95).unwrap(),
            -0.517,
            -0.026,
            3,
        );
    }

    #[test]
    fn rows_without_disagreement_still_have_an_interval() {
        let same = paired_difference(0.0, 0.0, 190.0, 0.95).unwrap();
        let z2 = normal::critical(0.95).powi(2);
        check(same, -z2 / (190.0 + z2), z2 / (190.0 + z2), 9);
    }

    /// 30/60 over 40/60: `statsmodels` 0.15 gives [0.5422, 1.0183] by the score method and
    /// [0.5501, 1.0225] by logarithms (`confint_proportions_2indep`, compare="ratio").
    #[test]
    fn ratio_is_close_to_other_methods() {
        check(
            ratio((30.0, 60.0), (40.0, 60.0), 0.95).unwrap(),
            0.546,
            1.0205,
            2,
        );
    }

    #[test]
    fn ratio_is_undefined_only_when_nothing_is_selected() {
        assert_eq!(
            ratio((0.0, 9.0), (0.0, 9.0), 0.95),
            Err(Undefined::NothingSelected)
        );
        let none_of_many = ratio((0.0, 50.0), (25.0, 50.0), 0.95).unwrap();
        assert_eq!(none_of_many.low, 0.0);
        assert!(none_of_many.high > 0.0 && none_of_many.high < 0.3);
        assert_eq!(
            ratio((5.0, 50.0), (0.0, 50.0), 0.95).unwrap().high,
            f64::INFINITY
        );
    }

    proptest! {
        #[test]
        fn wilson_inverts_the_score_test(n in 1u32..2000, share in 0.0..=1.0f64, level in 0.5..0.999f64) {
            let n = f64::from(n);
            let k = (n * share).round();
            let i = wilson(k, n, level).unwrap();
            let z = normal::critical(level);
            prop_assert!(i.contains(k / n));
            for bound in [i.low, i.high] {
                if bound > 0.0 && bound < 1.0 {
                    let score = (k / n - bound) / (bound * (1.0 - bound) / n).sqrt();
                    prop_assert!((score.abs() - z).abs() < 1e-5, "{score} is not {z}");
                }
            }
        }

        #[test]
        fn more_rows_of_the_same_kind_never_widen(b in 0u32..50, c in 0u32..50, rest in 1u32..500) {
            let n = f64::from(b + c + rest);
            let small = paired_difference(b.into(), c.into(), n, 0.95).unwrap();
            let large = paired_difference(f64::from(b) * 4.0, f64::from(c) * 4.0, n * 4.0, 0.95).unwrap();
            prop_assert!(large.high - large.low <= small.high - small.low + 1e-9);
            prop_assert!(small.contains(f64::from(b) / n - f64::from(c) / n));
        }

        #[test]
        fn swapping_the_two_mirrors_the_difference(b in 0u32..60, c in 0u32..60, rest in 0u32..300) {
            prop_assume!(b + c + rest > 0);
            let n = f64::from(b + c + rest);
            let there = paired_difference(b.into(), c.into(), n, 0.9).unwrap();
            let back = paired_difference(c.into(), b.into(), n, 0.9).unwrap();
            prop_assert!((there.low + back.high).abs() < 1e-6 && (there.high + back.low).abs() < 1e-6);
        }

        #[test]
        fn the_ratio_lies_in_its_interval(k1 in 0u32..100, k2 in 0u32..100, n1 in 1u32..100, n2 in 1u32..100) {
            prop_assume!(k1 <= n1 && k2 <= n2 && k1 + k2 > 0);
            let (a, b) = ((f64::from(k1), f64::from(n1)), (f64::from(k2), f64::from(n2)));
            let i = ratio(a, b, 0.95).unwrap();
            prop_assert!(i.low >= 0.0 && i.low <= i.high);
            if k2 > 0 {
                let r = (a.0 / a.1) / (b.0 / b.1);
                prop_assert!(i.low <= r + 1e-9 && r <= i.high + 1e-9, "{r} not in {i:?}");
            }
        }
    }
}
