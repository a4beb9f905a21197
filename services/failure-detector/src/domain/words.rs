//! Numbers as people read them.

use slipway_statistics::sequential::Counts;

/// `18.2 % (20 of 110)`, or `nothing yet`.
pub fn rate(counts: Counts) -> String {
    match counts.rate() {
        Some(rate) => format!(
            "{} ({} of {})",
            percent(rate),
            counts.failures,
            counts.observations
        ),
        None => "nothing yet".to_owned(),
    }
}

/// `18.2 %`, with more digits where the rate is small.
pub fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    if percent != 0.0 && percent.abs() < 0.1 {
        format!("{percent:.3} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// An e-value from its logarithm: `143`, `0.02`, `3e12`.
pub fn e_value(log_e: f64) -> String {
    let value = log_e.exp();
    match log_e {
        _ if log_e > 13.8 => format!("{value:.0e}"),
        _ if log_e > 2.3 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}
