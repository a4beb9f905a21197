//! Whether a revision still answers: the run of failures that is going on.

use std::time::Duration;

use slipway_platform::clock::Timestamp;

/// Failures in a row that the rule needs, however long they took. At the default limit of 5 % a run of six by
/// chance has probability 1.6e-8, so the rule spends next to nothing of alpha.
pub const FAILURES_MIN: u64 = 6;

/// The failures since the last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailingRun {
    /// How many.
    pub failures: u64,
    /// When the first was seen.
    pub since: Timestamp,
    /// When the last was seen.
    pub last: Timestamp,
}

impl FailingRun {
    /// Takes one observation. After a pause of more than `window` a run begins anew: nobody knows what would have
    /// been answered.
    pub fn observe(&mut self, failed: bool, window: Duration, now: Timestamp) {
        if !failed {
            *self = Self::default();
            return;
        }
        if self.failures > 0 && now.since(self.last) > window {
            *self = Self::default();
        }
        if self.failures == 0 {
            self.since = now;
        }
        self.failures += 1;
        self.last = now;
    }

    /// Whether the revision had traffic for `window` and answered nothing but failures. Traffic that ended longer
    /// than a window ago says nothing of now.
    pub fn stopped_answering(&self, window: Duration, now: Timestamp) -> bool {
        self.failures >= FAILURES_MIN
            && now.since(self.since) >= window
            && now.since(self.last) <= window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn only_failures_for_the_whole_window_are_a_stop() {
        let mut run = FailingRun::default();
        for second in 1..=10 {
            run.observe(true, WINDOW, seconds(second));
            assert!(!run.stopped_answering(WINDOW, seconds(second)));
        }
        assert!(run.stopped_answering(WINDOW, seconds(11)));
        assert!(
            !run.stopped_answering(WINDOW, seconds(30)),
            "no traffic any more"
        );
        run.observe(false, WINDOW, seconds(11));
        run.observe(true, WINDOW, seconds(12));
        assert!(!run.stopped_answering(WINDOW, seconds(13)));
    }

    #[test]
    fn a_few_slow_failures_are_no_stop() {
        let mut run = FailingRun::default();
        for second in [1, 8, 15] {
            run.observe(true, WINDOW, seconds(second));
        }
        assert!(!run.stopped_answering(WINDOW, seconds(15)));
    }

    #[test]
    fn a_pause_ends_a_run() {
        let mut run = FailingRun::default();
        for second in [0, 1, 2, 3, 4, 5, 60] {
            run.observe(true, WINDOW, seconds(second));
        }
        assert_eq!((run.failures, run.since), (1, seconds(60)));
    }
}
