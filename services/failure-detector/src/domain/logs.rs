//! Whether what is served can be seen: the access-log streams, and what is missing in them.
//!
//! The access-log protocol has no acknowledgement, so silence and loss have to be noticed here. A proxy of ours
//! numbers its records, dropped ones included, within one run of its process; what is numbered and did not arrive
//! is lost. A stream that ends without its end being said is broken, and what its proxy serves is unseen until it
//! is back or its lease is over.

use std::collections::HashMap;
use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::verdict::Code;

/// Where a batch of entries stands in its proxy's numbering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlace {
    /// Names the run of the proxy's process.
    pub boot: String,
    /// The number of the batch's first entry.
    pub sequence: u64,
}

/// Why what is served cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The reason.
    pub code: Code,
    /// In words.
    pub text: String,
}

/// The streams of all proxies.
#[derive(Debug, Default)]
pub struct AccessLogs {
    nodes: HashMap<String, Node>,
    /// Nodes whose last stream broke, and when.
    broken: HashMap<String, Timestamp>,
    streams: u32,
    last_entry: Option<Timestamp>,
    lost: u64,
    last_loss: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Node {
    streams: u32,
    numbering: Option<Numbering>,
}

#[derive(Debug)]
struct Numbering {
    boot: String,
    first: u64,
    received: u64,
    lost: u64,
}

/// Proxies that are remembered; beyond this, those without a stream are forgotten.
const NODES_MAX: usize = 10_000;

impl AccessLogs {
    /// A stream of `node` was opened.
    pub fn opened(&mut self, node: &str, now: Timestamp) {
        if self.nodes.len() >= NODES_MAX {
            self.nodes.retain(|_, node| node.streams > 0);
            self.broken.clear();
        }
        self.nodes.entry(node.to_owned()).or_default().streams += 1;
        self.broken.remove(node);
        self.streams += 1;
        self.last_entry = Some(now);
    }

    /// A stream of `node` has ended; `cleanly` when the proxy said so.
    pub fn closed(&mut self, node: &str, cleanly: bool, now: Timestamp) {
        self.streams = self.streams.saturating_sub(1);
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 && !cleanly {
                self.broken.insert(node.to_owned(), now);
            }
        }
    }

    /// A batch of `entries` came from `node`.
    pub fn received(
        &mut self,
        node: &str,
        place: Option<&BatchPlace>,
        entries: u64,
        now: Timestamp,
    ) {
        if entries == 0 {
            return;
        }
        self.last_entry = Some(now);
        let (Some(place), Some(node)) = (place, self.nodes.get_mut(node)) else {
            return;
        };
        let known = node
            .numbering
            .take()
            .filter(|known| known.boot == place.boot);
        // The first batch of an unknown run sets where counting begins.
        let mut numbering = known.unwrap_or_else(|| Numbering {
            boot: place.boot.clone(),
            first: place.sequence,
            received: 0,
            lost: 0,
        });
        let before = place.sequence.saturating_sub(numbering.first);
        let missing = before.saturating_sub(numbering.received);
        if missing > numbering.lost {
            self.lost = self.lost.saturating_add(missing - numbering.lost);
            self.last_loss = Some(now);
            numbering.lost = missing;
        }
        numbering.received = numbering.received.saturating_add(entries);
        node.numbering = Some(numbering);
    }

    /// Streams that are open.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// Entries that are known to be lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What stands in the way of measuring an endpoint. `reported`: when somebody last reported observations of
    /// it, who then stands in for a log. `watched_since`: when the endpoint began to be watched.
    pub fn problem(&self, view: View, now: Timestamp) -> Option<Problem> {
        let problem = |code, text| Some(Problem { code, text });
        let reported = view
            .reported
            .is_some_and(|at| now.since(at) <= view.stale_after);
        if let Some(name) = self.broken(view.lease, now) {
            return problem(
                Code::NoAccessLog,
                format!("the access log of proxy {name} broke off"),
            );
        }
        if self
            .last_loss
            .is_some_and(|at| now.since(at) <= view.stale_after)
        {
            return problem(
                Code::LogDrops,
                format!("{} access-log entries were lost", self.lost),
            );
        }
        if self.streams == 0 && !reported {
            return problem(
                Code::NoAccessLog,
                "no proxy sends its access log".to_owned(),
            );
        }
        let newest = [self.last_entry, view.reported, Some(view.watched_since)]
            .into_iter()
            .flatten()
            .max();
        let silence = newest.map_or(Duration::ZERO, |at| now.since(at));
        if silence > view.stale_after {
            let text = format!(
                "the access log is silent for {} s; nothing is served, or what is served is not seen",
                silence.as_secs()
            );
            return problem(Code::Stale, text);
        }
        None
    }

    fn broken(&self, lease: Duration, now: Timestamp) -> Option<&str> {
        let waited_for = |at: &Timestamp| now.since(*at) <= lease;
        self.broken
            .iter()
            .find(|(_, at)| waited_for(at))
            .map(|(name, _)| name.as_str())
    }
}

/// From where the logs are looked at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The policy's window of silence.
    pub stale_after: Duration,
    /// How long a proxy whose stream broke is waited for.
    pub lease: Duration,
    /// When somebody last reported observations of the endpoint.
    pub reported: Option<Timestamp>,
    /// When the watch was opened.
    pub watched_since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    fn view() -> View {
        let seconds = Duration::from_secs;
        View {
            stale_after: seconds(15),
            lease: seconds(30),
            reported: None,
            watched_since: at(0),
        }
    }

    fn code(logs: &AccessLogs, view: View, seconds: i64) -> Option<Code> {
        logs.problem(view, at(seconds)).map(|problem| problem.code)
    }

    fn place(boot: &str, sequence: u64) -> BatchPlace {
        BatchPlace {
            boot: boot.into(),
            sequence,
        }
    }

    #[test]
    fn no_stream_is_a_problem_unless_observations_are_reported() {
        let logs = AccessLogs::default();
        assert_eq!(code(&logs, view(), 1), Some(Code::NoAccessLog));
        let reported = View {
            reported: Some(at(20)),
            ..view()
        };
        assert_eq!(code(&logs, reported, 25), None);
        assert_eq!(code(&logs, reported, 40), Some(Code::NoAccessLog));
    }

    #[test]
    fn a_broken_stream_counts_until_it_is_back_or_its_lease_is_over() {
        let mut logs = AccessLogs::default();
        logs.opened("p1", at(0));
        logs.opened("p2", at(0));
        logs.closed("p1", false, at(1));
        assert_eq!(code(&logs, view(), 2), Some(Code::NoAccessLog));
        logs.opened("p1", at(3));
        assert_eq!(code(&logs, view(), 3), None);
        logs.closed("p1", false, at(4));
        logs.received("p2", None, 1, at(40));
        assert_eq!(
            code(&logs, view(), 40),
            None,
            "the lease is over and p2 goes on"
        );
        logs.closed("p2", true, at(41));
        assert_eq!(code(&logs, view(), 41), Some(Code::NoAccessLog));
    }

    #[test]
    fn silence_of_the_whole_log_is_stale() {
        let mut logs = AccessLogs::default();
        logs.opened("p", at(0));
        logs.received("p", None, 3, at(5));
        assert_eq!(code(&logs, view(), 20), None);
        assert_eq!(code(&logs, view(), 21), Some(Code::Stale));
    }

    #[test]
    fn senseless_numbers_are_losses_and_no_panic() {
        let mut logs = AccessLogs::default();
        logs.opened("p", at(0));
        for boot in ["a", "b"] {
            logs.received("p", Some(&place(boot, 0)), 1, at(1));
            logs.received("p", Some(&place(boot, u64::MAX)), 1, at(2));
        }
        assert_eq!(logs.lost(), u64::MAX);
        assert_eq!(code(&logs, view(), 2), Some(Code::LogDrops));
    }

    #[test]
    fn gaps_in_the_numbering_are_losses_for_a_while() {
        let mut logs = AccessLogs::default();
        logs.opened("p", at(0));
        logs.received("p", Some(&place("a", 101)), 10, at(1));
        logs.received("p", Some(&place("a", 111)), 10, at(2));
        assert_eq!((logs.lost(), code(&logs, view(), 2)), (0, None));
        logs.received("p", Some(&place("a", 126)), 5, at(3));
        assert_eq!(
            (logs.lost(), code(&logs, view(), 3)),
            (5, Some(Code::LogDrops))
        );
        logs.received("p", Some(&place("a", 131)), 5, at(17));
        assert_eq!((logs.lost(), code(&logs, view(), 19)), (5, None));
        logs.received("p", Some(&place("b", 1)), 5, at(19));
        assert_eq!(logs.lost(), 5, "a new run of the proxy counts afresh");
    }
}
