//! What the users saw: requests and failures by revision, and who moved between revisions.
//!
//! Bounded: at most [`MAX_REVISIONS`] revisions, [`MAX_EXAMPLES`] failures kept per revision and [`MAX_MOVES`] moves in all;
//! beyond that things are counted, and no longer described.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Move;

pub const MAX_REVISIONS: usize = 64;
pub const MAX_EXAMPLES: usize = 20;
pub const MAX_MOVES: usize = 100_000;

/// One answer, or the lack of one.
#[derive(Clone, Debug)]
pub struct Answer {
    pub user: u32,
    /// When it came, from the start of the load.
    pub answered: Duration,
    pub latency: Duration,
    pub outcome: Outcome,
    /// The answer's `x-slipway-revision`.
    pub revision: Option<String>,
    /// What the model server calls its model.
    pub model_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// 2xx with a whole inference response.
    Served,
    /// Another status.
    Refused { status: u16, reason: String },
    /// 2xx, but the body is cut off or is no inference response.
    Broken(String),
    /// No connection, a reset, or a time-out.
    Unanswered(String),
}

/// Everything that was answered.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    /// By the revision that the answer names.
    pub revisions: BTreeMap<String, RevisionTally>,
    /// Answers that name no revision, and requests without an answer.
    pub unattributed: RevisionTally,
    /// Requests that were not sent because their connection was behind its schedule.
    pub skipped: u64,
    /// In the order of their answers.
    pub moves: Vec<Move>,
    /// Moves that are counted and not kept.
    pub moves_left_out: u64,
    latest: BTreeMap<u32, String>,
}

/// The answers of one revision.
#[derive(Clone, Debug, Default)]
pub struct RevisionTally {
    pub requests: u64,
    pub failures: u64,
    /// Failures by status, without those that have none.
    pub refused: BTreeMap<u16, u64>,
    pub first_answer: Option<Duration>,
    pub last_answer: Option<Duration>,
    pub first_failure: Option<Duration>,
    pub last_failure: Option<Duration>,
    pub model_versions: BTreeSet<String>,
    /// The first few.
    pub examples: Vec<Failure>,
    latencies: Latencies,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub user: u32,
    pub answered: Duration,
    pub outcome: Outcome,
}

/// Counts per power of √2 of microseconds.
#[derive(Clone, Debug, Default)]
struct Latencies(BTreeMap<u32, u64>);

impl Tally {
    pub fn record(&mut self, answer: Answer) {
        self.requests += 1;
        if let Some(revision) = &answer.revision {
            self.follow(answer.user, revision, answer.answered);
        }
        let place = match answer.revision.clone() {
            Some(revision)
                if self.revisions.contains_key(&revision)
                    || self.revisions.len() < MAX_REVISIONS =>
            {
                self.revisions.entry(revision).or_default()
            }
            _ => &mut self.unattributed,
        };
        place.record(answer);
    }

    /// All failures.
    pub fn failures(&self) -> u64 {
        self.all().map(|tally| tally.failures).sum()
    }

    /// Failures other than answers of status 500 by the revision at fault.
    pub fn failures_beside(&self, at_fault: Option<&str>) -> u64 {
        self.failures() - at_fault.map_or(0, |revision| self.faults_of(revision))
    }

    /// Answers of status 500 by this revision.
    pub fn faults_of(&self, revision: &str) -> u64 {
        let tally = self.revisions.get(revision);
        tally
            .and_then(|tally| tally.refused.get(&500).copied())
            .unwrap_or(0)
    }

    /// Requests that this revision answered, well or not.
    pub fn requests_of(&self, revision: &str) -> u64 {
        self.revisions
            .get(revision)
            .map_or(0, |tally| tally.requests)
    }

    /// Failures of every revision, as far as they are kept, by when they came.
    pub fn examples(&self) -> Vec<(&str, &Failure)> {
        let named = self
            .revisions
            .iter()
            .map(|(name, tally)| (name.as_str(), tally));
        let mut examples: Vec<(&str, &Failure)> = named
            .chain([("no revision", &self.unattributed)])
            .flat_map(|(name, tally)| tally.examples.iter().map(move |example| (name, example)))
            .collect();
        examples.sort_by_key(|(_, failure)| failure.answered);
        examples
    }

    /// Users who have been answered by a revision.
    pub fn users(&self) -> usize {
        self.latest.len()
    }

    fn all(&self) -> impl Iterator<Item = &RevisionTally> {
        self.revisions.values().chain([&self.unattributed])
    }

    fn follow(&mut self, user: u32, revision: &str, at: Duration) {
        let before = self.latest.insert(user, revision.to_owned());
        let Some(from) = before.filter(|from| from != revision) else {
            return;
        };
        if self.moves.len() < MAX_MOVES {
            self.moves.push(Move {
                user,
                from,
                to: revision.to_owned(),
                at,
            });
        } else {
            self.moves_left_out += 1;
        }
    }
}

impl RevisionTally {
    /// The latency that this share of the answers does not exceed, to within a factor of √2.
    pub fn latency_quantile(&self, share: f64) -> Option<Duration> {
        self.latencies.quantile(share)
    }

    fn record(&mut self, answer: Answer) {
        self.requests += 1;
        self.first_answer.get_or_insert(answer.answered);
        self.last_answer = self.last_answer.max(Some(answer.answered));
        self.latencies.record(answer.latency);
        if let Some(version) = answer.model_version {
            self.model_versions.insert(version);
        }
        if answer.outcome == Outcome::Served {
            return;
        }
        self.failures += 1;
        self.first_failure.get_or_insert(answer.answered);
        self.last_failure = self.last_failure.max(Some(answer.answered));
        if let Outcome::Refused { status, .. } = &answer.outcome {
            *self.refused.entry(*status).or_default() += 1;
        }
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(Failure {
                user: answer.user,
                answered: answer.answered,
                outcome: answer.outcome,
            });
        }
    }
}

impl Latencies {
    fn record(&mut self, latency: Duration) {
        let micros = latency.as_micros().max(1) as f64;
        *self
            .0
            .entry((2.0 * micros.log2()).ceil() as u32)
            .or_default() += 1;
    }

    fn quantile(&self, share: f64) -> Option<Duration> {
        let total: u64 = self.0.values().sum();
        let rank = (share.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in &self.0 {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_secs_f64(
                    2f64.powf(f64::from(*bucket) / 2.0) / 1e6,
                ));
            }
        }
        None
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Served => f.write_str("served"),
            Outcome::Refused { status, reason } => write!(f, "{status} {reason}"),
            Outcome::Broken(reason) => write!(f, "broken answer: {reason}"),
            Outcome::Unanswered(reason) => write!(f, "no answer: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(user: u32, millis: u64, revision: Option<&str>, outcome: Outcome) -> Answer {
        Answer {
            user,
            answered: Duration::from_millis(millis),
            latency: Duration::from_millis(2),
            outcome,
            revision: revision.map(str::to_owned),
            model_version: None,
        }
    }

    fn refused(status: u16) -> Outcome {
        Outcome::Refused {
            status,
            reason: String::new(),
        }
    }

    #[test]
    fn counts_by_revision_and_tells_faults_from_drops() {
        let mut tally = Tally::default();
        tally.record(answer(1, 10, Some("a"), Outcome::Served));
        tally.record(answer(2, 20, Some("b"), refused(500)));
        tally.record(answer(2, 30, Some("b"), refused(503)));
        tally.record(answer(2, 45, Some("b"), refused(500)));
        tally.record(answer(3, 50, Some("a"), refused(500)));
        tally.record(answer(4, 60, None, refused(503)));
        tally.record(answer(5, 70, None, Outcome::Unanswered("reset".to_owned())));
        tally.record(answer(6, 80, Some("a"), Outcome::Broken("cut".to_owned())));
        assert_eq!(tally.requests, 8);
        assert_eq!(tally.failures(), 7);
        assert_eq!(tally.faults_of("b"), 2);
        assert_eq!(tally.failures_beside(Some("b")), 5);
        assert_eq!(tally.failures_beside(None), 7);
        let b = &tally.revisions["b"];
        assert_eq!(b.first_failure, Some(Duration::from_millis(20)));
        assert_eq!(b.last_failure, Some(Duration::from_millis(45)));
        assert_eq!(tally.examples().len(), 7);
        assert_eq!(tally.users(), 4);
    }

    #[test]
    fn follows_users_from_revision_to_revision() {
        let mut tally = Tally::default();
        for (millis, revision) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a")] {
            tally.record(answer(1, millis, Some(revision), Outcome::Served));
        }
        tally.record(answer(1, 6, None, refused(503)));
        tally.record(answer(1, 7, Some("a"), Outcome::Served));
        let moves: Vec<(&str, &str)> = tally
            .moves
            .iter()
            .map(|one| (one.from.as_str(), one.to.as_str()))
            .collect();
        assert_eq!(moves, [("a", "b"), ("b", "a")]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_counted_is_not() {
        let mut tally = Tally::default();
        for number in 0..1000_u32 {
            let revision = format!("r{number}");
            tally.record(answer(number, 1, Some(&revision), refused(500)));
            tally.record(answer(number, 1, Some("r0"), refused(500)));
        }
        assert_eq!(tally.revisions.len(), MAX_REVISIONS);
        assert_eq!(tally.revisions["r0"].examples.len(), MAX_EXAMPLES);
        assert_eq!(tally.failures(), 2000);
    }

    #[test]
    fn latency_quantiles_are_within_their_bucket() {
        let mut tally = RevisionTally::default();
        for millis in 1..=100 {
            let mut one = answer(1, 1, None, Outcome::Served);
            one.latency = Duration::from_millis(millis);
            tally.record(one);
        }
        let median = tally.latency_quantile(0.5).unwrap().as_secs_f64();
        assert!((0.050..0.071).contains(&median), "{median}");
        assert_eq!(RevisionTally::default().latency_quantile(0.5), None);
    }
}
