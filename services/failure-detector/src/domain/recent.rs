//! What a revision did lately, by the minute: the steady watch's numbers, and the stable revision's history for a
//! step that leaves it without traffic.

use std::collections::VecDeque;

use slipway_platform::clock::Timestamp;
use slipway_statistics::sequential::Counts;

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
}
