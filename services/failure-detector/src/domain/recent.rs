//! What a revision did lately, by the minute: the steady watch's numbers, and the stable revision's history for a
//! step that leaves it without traffic.

use std::collections::{BTreeMap, VecDeque};

use slipway_platform::clock::Timestamp;
use slipway_statistics::sequential::Counts;

use super::outcome::Outcome;

const MINUTE_MICROS: i64 = 60_000_000;
/// Minutes that are remembered.
pub const MINUTES: i64 = 30;

/// Counts of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub minute: i64,
    /// What was observed in it.
    pub counts: Counts,
}

/// The last [`MINUTES`] minutes of one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    minutes: VecDeque<Minute>,
}

impl Recent {
    /// Goes on from stored minutes, oldest first.
    pub fn from_minutes(minutes: impl IntoIterator<Item = Minute>) -> Self {
        let mut recent = Self::default();
        for minute in minutes {
            let in_order = recent
                .minutes
                .back()
                .is_none_or(|last| last.minute < minute.minute);
            if in_order && minute.counts.failures <= minute.counts.observations {
                recent.minutes.push_back(minute);
            }
        }
        recent
    }

    /// The minutes with observations, oldest first.
    pub fn minutes(&self) -> impl Iterator<Item = &Minute> {
        self.minutes.iter()
    }

    /// Counts one observation.
    pub fn observe(&mut self, failed: bool, now: Timestamp) {
        let minute = now.as_micros().div_euclid(MINUTE_MICROS);
        // A clock that went back counts into the newest minute.
        if self.minutes.back().is_none_or(|last| last.minute < minute) {
            self.minutes.push_back(Minute {
                minute,
                counts: Counts::default(),
            });
            while self
                .minutes
                .front()
                .is_some_and(|first| first.minute <= minute - MINUTES)
            {
                self.minutes.pop_front();
            }
        }
        if let Some(last) = self.minutes.back_mut() {
            last.counts.observations += 1;
            last.counts.failures += u64::from(failed);
        }
    }

    /// Everything of the last [`MINUTES`] minutes.
    pub fn total(&self, now: Timestamp) -> Counts {
        let minute = now.as_micros().div_euclid(MINUTE_MICROS);
        let young = self
            .minutes
            .iter()
            .filter(|one| one.minute > minute - MINUTES);
        young.fold(Counts::default(), |sum, one| Counts {
            observations: sum.observations + one.counts.observations,
            failures: sum.failures + one.counts.failures,
        })
    }
}

/// The last [`MINUTES`] minutes of one revision before any policy: which gRPC codes are failures is said by whoever
/// asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    answered: Recent,
    by_code: BTreeMap<i32, Recent>,
}

/// gRPC codes are 1 to 16 beside OK; anything else is UNKNOWN.
const GRPC_CODES: std::ops::RangeInclusive<i32> = 1..=16;
const GRPC_UNKNOWN: i32 = 2;

impl History {
    /// Counts one observation.
    pub fn observe(&mut self, outcome: Outcome, now: Timestamp) {
        match outcome {
            Outcome::Success => self.answered.observe(false, now),
            Outcome::Failure => self.answered.observe(true, now),
            Outcome::Grpc(code) => {
                let known = GRPC_CODES.contains(&code);
                let code = if known { code } else { GRPC_UNKNOWN };
                self.by_code.entry(code).or_default().observe(false, now);
            }
        }
    }

    /// Everything of the last [`MINUTES`] minutes, with these gRPC codes as failures.
    pub fn total(&self, grpc_failure_codes: &[i32], now: Timestamp) -> Counts {
        let mut sum = self.answered.total(now);
        for (code, recent) in &self.by_code {
            let observations = recent.total(now).observations;
            sum.observations += observations;
            if grpc_failure_codes.contains(code) {
                sum.failures += observations;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_minutes_are_forgotten_and_the_rest_comes_back() {
        let mut recent = Recent::default();
        for minute in 0..100 {
            recent.observe(minute % 2 == 0, Timestamp(minute * MINUTE_MICROS));
        }
        let now = Timestamp(99 * MINUTE_MICROS);
        assert_eq!(
            recent.total(now),
            Counts {
                observations: 30,
                failures: 15
            }
        );
        assert_eq!(
            recent.total(Timestamp(110 * MINUTE_MICROS)).observations,
            19
        );
        assert_eq!(Recent::from_minutes(recent.minutes().copied()), recent);
    }

    #[test]
    fn whoever_asks_says_which_grpc_codes_are_failures() {
        let mut history = History::default();
        let now = Timestamp(MINUTE_MICROS);
        for outcome in [
            Outcome::Success,
            Outcome::Failure,
            Outcome::Grpc(5),
            Outcome::Grpc(14),
            Outcome::Grpc(99),
        ] {
            history.observe(outcome, now);
        }
        let failures = |codes: &[i32]| history.total(codes, now).failures;
        assert_eq!(history.total(&[], now).observations, 5);
        assert_eq!(
            [failures(&[]), failures(&[5]), failures(&[2, 14])],
            [1, 2, 3]
        );
    }
}
