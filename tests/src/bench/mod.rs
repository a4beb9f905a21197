//! What benchmarks share. `docs/benchmarks.md` has their figures.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`callers`] | callers at once on a few connections, for the length of a turn |
//! | [`spread`] | median, 99th percentile and longest of many durations |
//! | [`peers`] | programs of others that a figure stands beside: pgbench, Kafka's producer |
//! | [`upstream`] | model servers that answer, or fail, at once |

pub mod callers;
pub mod peers;
pub mod spread;
pub mod upstream;

use anyhow::{Result, ensure};

pub use callers::{CALLERS, Turn, connect, turn};
pub use spread::Spread;
pub use upstream::Upstream;

/// Refuses a debug build, whose figures say nothing.
pub fn is_release_build() -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "this is a debug build: run it with `cargo bench`"
    );
    Ok(())
}

/// What was asked for on the command line: the words that do not begin with `-`, which `cargo bench` adds.
pub fn words() -> Vec<String> {
    let arguments = std::env::args().skip(1);
    arguments.filter(|word| !word.starts_with('-')).collect()
}

/// The middle one by size of an odd number of figures; the upper one of the two of an even number.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `reached` or `NOT reached`.
pub fn verdict(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "NOT reached" }
}
