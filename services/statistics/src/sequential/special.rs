//! The gamma and beta functions that the beta-binomial mixtures need, in logarithms.

/// `ln Γ(x)` for `x > 0`: Lanczos' approximation with g = 7 and nine terms, relative error about 1e-15.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = TERMS.iter().zip(1..).fold(FIRST, |sum, (term, step)| {
        sum + term / (x + f64::from(step))
    });
    let t = x + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// `ln B(a, b)`.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// `ln P(X > x)` for `X ~ Beta(a, b)`, accurate also where the tail is tiny.
pub(crate) fn ln_beta_tail(a: f64, b: f64, x: f64) -> f64 {
    if 1.0 - x < (b + 1.0) / (a + b + 2.0) {
        ln_beta_head_direct(b, a, 1.0 - x)
    } else {
        (-ln_beta_head_direct(a, b, x).exp()).ln_1p()
    }
}

/// `ln P(X <= x)` for `X ~ Beta(a, b)` by the continued fraction, which converges fast for `x < (a+1)/(a+b+2)`.
fn ln_beta_head_direct(a: f64, b: f64, x: f64) -> f64 {
    a * x.ln() + b * (-x).ln_1p() - a.ln() - ln_beta(a, b) + beta_fraction(a, b, x).ln()
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const LEAST: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < LEAST { LEAST } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..20_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let factor = d * c;
        fraction *= factor;
        if (factor - 1.0).abs() < 1e-14 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_matches_known_values() {
        // Γ(1/2) = √π; Γ(10) = 9! (Abramowitz & Stegun, table 6.1 and 6.4).
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
        assert!((ln_gamma(10.0) - 362_880f64.ln()).abs() < 1e-12);
        assert!((ln_gamma(1e6) - 12_815_504.569_147_61).abs() < 1e-6);
    }

    #[test]
    fn beta_tail_matches_binomial_sums() {
        // P(Beta(k, n-k+1) > x) = P(Bin(n, x) < k) (Abramowitz & Stegun 26.5.24).
        assert!((ln_beta_tail(2.0, 3.0, 0.5).exp() - (1.0 + 4.0) / 16.0).abs() < 1e-14);
        let below = (0..3)
            .map(|i| [1.0, 10.0, 45.0][i] * 0.05f64.powi(i as i32) * 0.95f64.powi(10 - i as i32));
        assert!((ln_beta_tail(3.0, 8.0, 0.05).exp() - below.sum::<f64>()).abs() < 1e-13);
        // A tail far below the smallest double: P(Beta(1, b) > x) = (1-x)^b.
        assert!((ln_beta_tail(1.0, 1e5, 0.05) - 1e5 * 0.95f64.ln()).abs() < 1e-6);
    }
}
