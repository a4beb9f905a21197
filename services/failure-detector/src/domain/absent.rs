//! Since when replicas are away of which something is remembered.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use slipway_platform::clock::Timestamp;

/// The replicas that were not alive at the last look, by instance, and when they were first missed.
#[derive(Debug, Default)]
pub struct Absent {
    since: HashMap<String, Timestamp>,
}

impl Absent {
    /// These are not alive now. Gives those of them that are away for longer than `longest`.
    pub fn look(
        &mut self,
        now_absent: HashSet<String>,
        longest: Duration,
        now: Timestamp,
    ) -> HashSet<String> {
        // One that is not named any more is back, or nothing is remembered of it.
        self.since.retain(|id, _| now_absent.contains(id));
        for id in now_absent {
            self.since.entry(id).or_insert(now);
        }
        let long = |(_, since): &(&String, &Timestamp)| now.since(**since) > longest;
        let gone = self.since.iter().filter(long);
        gone.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000 * seconds)
    }

    fn ids(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn one_that_is_away_for_long_is_gone_and_one_that_was_back_is_not() {
        let mut absent = Absent::default();
        assert_eq!(absent.look(ids(&["a", "b"]), LONGEST, at(0)), ids(&[]));
        assert_eq!(absent.look(ids(&["a"]), LONGEST, at(5)), ids(&[]));
        assert_eq!(absent.look(ids(&["a", "b"]), LONGEST, at(8)), ids(&[]));
        assert_eq!(absent.look(ids(&["a", "b"]), LONGEST, at(11)), ids(&["a"]));
        assert_eq!(absent.look(ids(&["b"]), LONGEST, at(19)), ids(&["b"]));
        assert_eq!(absent.look(ids(&[]), LONGEST, at(20)), ids(&[]));
        assert!(absent.since.is_empty());
    }
}
