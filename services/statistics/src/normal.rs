//! The standard normal distribution: quantile, tail probabilities, and the critical values of
//! confidence intervals.

/// The quantile of the standard normal distribution at `p`.
///
/// `p` outside (0, 1) gives the infinity on that side; NaN gives NaN. The relative error is about
/// 1e-16. Source: M. J. Wichura, "Algorithm AS 241: The Percentage Points of the Normal
/// Distribution", Applied Statistics 37 (1988), routine PPND16.
pub fn quantile(p: f64) -> f64 {
    if p.is_nan() {
        return f64::NAN;
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * ratio(r, &CENTRE_ABOVE, &CENTRE_BELOW);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let magnitude = if r <= 5.0 {
        ratio(r - 1.6, &MIDDLE_ABOVE, &MIDDLE_BELOW)
    } else {
        ratio(r - 5.0, &TAIL_ABOVE, &TAIL_BELOW)
    };
    if q < 0.0 { -magnitude } else { magnitude }
}

/// P(Z > z) for a standard normal Z, without cancellation in the upper tail.
pub fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

/// P(|Z| > |z|): the two-sided p-value of a z statistic.
pub fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The critical value of a two-sided interval at confidence `level`: 1.96 for 0.95.
///
/// Contract: `level` is in (0, 1).
pub fn critical(level: f64) -> f64 {
    // The tail, not 0.5 + level / 2, so that levels next to 1 keep their digits.
    -quantile((1.0 - level) / 2.0)
}

/// Two polynomials' ratio at `x`, coefficients from the constant upwards.
fn ratio(x: f64, above: &[f64; 8], below: &[f64; 8]) -> f64 {
    let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    horner(above) / horner(below)
}

const CENTRE_ABOVE: [f64; 8] = [
    3.387_132_872_796_366_5,
    1.331_416_678_917_843_8e2,
    1.971_590_950_306_551_3e3,
    1.373_169_376_550_946e4,
    4.592_195_393_154_987e4,
    6.726_577_092_700_87e4,
    3.343_057_558_358_813e4,
    2.509_080_928_730_122_7e3,
];
const CENTRE_BELOW: [f64; 8] = [
    1.0,
    4.231_333_070_160_091e1,
    6.871_870_074_920_579e2,
    5.394_196_021_424_751e3,
    2.121_379_430_158_659_7e4,
    3.930_789_580_009_271e4,
    2.872_908_573_572_194_3e4,
    5.226_495_278_852_545e3,
];
const MIDDLE_ABOVE: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    2.417_807_251_774_506e-1,
    2.272_384_498_926_918_4e-2,
    7.745_450_142_783_414e-4,
];
const MIDDLE_BELOW: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    6.897_673_349_851e-1,
    1.481_039_764_274_800_8e-1,
    1.519_866_656_361_645_7e-2,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const TAIL_ABOVE: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    2.965_605_718_285_048_7e-1,
    2.653_218_952_657_612_4e-2,
    1.242_660_947_388_078_4e-3,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const TAIL_BELOW: [f64; 8] = [
    1.0,
    5.998_322_065_558_88e-1,
    1.369_298_809_227_358e-1,
    1.487_536_129_085_061_5e-2,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(found: f64, wanted: f64) {
        assert!(
            (found - wanted).abs() <= 1e-14 * wanted.abs().max(1.0),
            "{found} is not {wanted}"
        );
    }

    /// The three check values printed in Wichura (1988).
    #[test]
    fn quantile_gives_the_check_values_of_as_241() {
        near(quantile(0.25), -0.674_489_750_196_081_7);
        near(quantile(0.001), -3.090_232_306_167_813_5);
        near(quantile(1e-20), -9.262_340_089_798_408);
    }

    #[test]
    fn quantile_is_total() {
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
        assert!(quantile(f64::NAN).is_nan());
        assert_eq!(quantile(0.5), 0.0);
    }

    #[test]
    fn critical_values_are_the_usual_ones() {
        near(critical(0.95), 1.959_963_984_540_054);
        near(critical(0.99), 2.575_829_303_548_900_4);
        near(two_sided(1.959_963_984_540_054), 0.05);
        near(upper_tail(0.0), 0.5);
    }

    proptest! {
        #[test]
        fn the_tail_of_a_quantile_is_its_probability(p in 1e-12..0.5f64) {
            let back = upper_tail(-quantile(p));
            prop_assert!((back / p - 1.0).abs() < 1e-11, "{p} came back as {back}");
        }

        #[test]
        fn the_quantile_is_odd(p in 1e-6..0.5f64) {
            prop_assert!((quantile(p) + quantile(1.0 - p)).abs() < 1e-8);
        }
    }
}
