//! How many durations are spread.

use std::fmt;
use std::time::Duration;

/// The spread of many durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many there were.
    pub count: usize,
    /// Half of them are no longer.
    pub median: Duration,
    /// 99 of 100 are no longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Spread {
    /// Of all of these; zero of none. A percentile is one of the durations: the first that so many are no
    /// longer than (nearest rank).
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut durations: Vec<Duration> = durations.into_iter().collect();
        durations.sort_unstable();
        let rank = |percent: usize| (durations.len() * percent).div_ceil(100).saturating_sub(1);
        let at = |percent: usize| durations.get(rank(percent)).copied().unwrap_or_default();
        Self {
            count: durations.len(),
            median: at(50),
            p99: at(99),
            longest: at(100),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        write!(
            f,
            "p50 {:>7.2} ms   p99 {:>7.2} ms   longest {:>7.2} ms",
            ms(self.median),
            ms(self.p99),
            ms(self.longest)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let ms = Duration::from_millis;
        let spread = Spread::of((1..=200).rev().map(ms));
        assert_eq!(
            (spread.count, spread.median, spread.p99, spread.longest),
            (200, ms(100), ms(198), ms(200))
        );
        let one = Spread::of([ms(7)]);
        assert_eq!((one.median, one.p99, one.longest), (ms(7), ms(7), ms(7)));
        assert_eq!(Spread::of([]), Spread::default());
    }
}
