//! Whether what is served can be seen: the access-log streams, and what is missing in them.
//!
//! The access-log protocol has no acknowledgement, so silence and loss have to be noticed here. A proxy of ours
//! numbers its records, dropped ones included, within one run of its process; what is numbered and did not arrive
//! is lost. A stream that ends without its end being said is broken, and what its proxy serves is unseen until it
//! is back or its lease is over.
//!
//! Envoy does not number its entries. What an Envoy drops, because its buffer is full or its stream is broken, shows
//! only in its own counter `access_logs.grpc_access_log.logs_dropped`, and cannot be seen from here.
//!
//! Proxies may be connected to any replica, so the one that judges also needs what the others know: [`AccessLogs`]
//! is one replica's part, [`Fleet`] is all parts together.

use std::collections::HashMap;
use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::verdict::Code;

mod fleet;

pub use fleet::Fleet;

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

/// The streams of all proxies at one replica.
#[derive(Debug, Default)]
pub struct AccessLogs {
    nodes: HashMap<String, Node>,
    /// Nodes whose last stream broke, and when.
    broken: HashMap<String, Timestamp>,
    streams: u32,
    last_entry: Option<Timestamp>,
    lost: u64,
    last_loss: Option<Timestamp>,
    changes: u64,
}

#[derive(Debug, Default)]
struct Node {
    streams: u32,
    end: Option<End>,
    numbering: Option<Numbering>,
    /// Missing entries of this numbering that are counted as lost.
    lost: u64,
    /// The change that was its last.
    changed: u64,
}

/// The end of a proxy's last stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Whether the proxy said so.
    pub cleanly: bool,
}

/// How a proxy's entries are numbered, and which of them came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    /// Names the run of the proxy's process.
    pub boot: String,
    /// The number of the first entry that came.
    pub first: u64,
    /// The number after the last one that came.
    pub next: u64,
    /// How many came.
    pub received: u64,
}

impl Numbering {
    /// How many came neither here nor anywhere else that is known.
    fn missing(&self) -> u64 {
        let numbered = self.next.saturating_sub(self.first);
        numbered.saturating_sub(self.received)
    }
}

/// What a replica knows of one proxy, for another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The proxy.
    pub name: String,
    /// Its open streams.
    pub streams: u32,
    /// How the last one ended.
    pub end: Option<End>,
    /// Its numbering, if it has one.
    pub numbering: Option<Numbering>,
}

/// Proxies that are remembered; beyond this, those without a stream are forgotten.
const NODES_MAX: usize = 10_000;

impl AccessLogs {
    /// A stream of `node` was opened.
    pub fn opened(&mut self, node: &str, now: Timestamp) {
        self.make_room();
        let changed = self.change();
        let entry = self.nodes.entry(node.to_owned()).or_default();
        entry.streams += 1;
        entry.changed = changed;
        self.broken.remove(node);
        self.streams += 1;
        self.last_entry = Some(now);
    }

    /// A stream of `node` has ended; `cleanly` when the proxy said so.
    pub fn closed(&mut self, node: &str, cleanly: bool, now: Timestamp) {
        self.streams = self.streams.saturating_sub(1);
        let changed = self.change();
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.streams = entry.streams.saturating_sub(1);
            entry.changed = changed;
            if entry.streams == 0 {
                entry.end = Some(End { at: now, cleanly });
                if !cleanly {
                    self.broken.insert(node.to_owned(), now);
                }
            }
        }
    }

    /// Nothing more can be known of the streams that were open: they count as broken.
    pub fn out_of_sight(&mut self, now: Timestamp) {
        for (name, node) in self.nodes.iter_mut().filter(|(_, node)| node.streams > 0) {
            node.streams = 0;
            node.end = Some(End {
                at: now,
                cleanly: false,
            });
            self.broken.insert(name.clone(), now);
        }
        self.streams = 0;
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
        let changed = self.change();
        let (Some(place), Some(node)) = (place, self.nodes.get_mut(node)) else {
            return;
        };
        let known = node
            .numbering
            .take()
            .filter(|known| known.boot == place.boot);
        // The first batch of an unknown run sets where counting begins.
        let mut numbering = known.unwrap_or_else(|| {
            node.lost = 0;
            Numbering {
                boot: place.boot.clone(),
                first: place.sequence,
                next: place.sequence,
                received: 0,
            }
        });
        numbering.next = numbering.next.max(place.sequence.saturating_add(entries));
        numbering.received = numbering.received.saturating_add(entries);
        let missing = numbering.missing();
        if missing > node.lost {
            self.lost = self.lost.saturating_add(missing - node.lost);
            self.last_loss = Some(now);
            node.lost = missing;
        }
        node.numbering = Some(numbering);
        node.changed = changed;
    }

    /// The proxies that have changed after the change `after`, and the number of the last change.
    pub fn changed_since(&self, after: u64) -> (Vec<NodeState>, u64) {
        let changed = self.nodes.iter().filter(|(_, node)| node.changed > after);
        let states = changed.map(|(name, node)| NodeState {
            name: name.clone(),
            streams: node.streams,
            end: node.end,
            numbering: node.numbering.clone(),
        });
        (states.collect(), self.changes)
    }

    /// Takes over what another replica says of a proxy.
    pub fn set(&mut self, state: NodeState) {
        self.make_room();
        let node = self.nodes.entry(state.name.clone()).or_default();
        self.streams = self.streams.saturating_sub(node.streams) + state.streams;
        (node.streams, node.end, node.numbering) = (state.streams, state.end, state.numbering);
        match node.end.filter(|end| node.streams == 0 && !end.cleanly) {
            Some(end) => drop(self.broken.insert(state.name, end.at)),
            None => drop(self.broken.remove(&state.name)),
        }
    }

    /// Takes over what another replica says of its newest entry.
    pub fn set_last_entry(&mut self, at: Option<Timestamp>) {
        self.last_entry = at;
    }

    /// When the newest entry came, or the newest stream.
    pub fn last_entry(&self) -> Option<Timestamp> {
        self.last_entry
    }

    /// The proxies that have a stream open.
    pub fn open_nodes(&self) -> impl Iterator<Item = &str> {
        let open = self.nodes.iter().filter(|(_, node)| node.streams > 0);
        open.map(|(name, _)| name.as_str())
    }

    fn change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn make_room(&mut self) {
        if self.nodes.len() >= NODES_MAX {
            self.nodes.retain(|_, node| node.streams > 0);
            self.broken.clear();
        }
    }

    /// Streams that are open.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// Entries that are known to be lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// What is known of the log streams together.
#[derive(Debug)]
struct Sight<'a> {
    streams: u32,
    last_entry: Option<Timestamp>,
    broken: Option<&'a str>,
    lost: u64,
    lately_lost: bool,
}

impl Sight<'_> {
    fn problem(&self, view: View, now: Timestamp) -> Option<Problem> {
        let problem = |code, text| Some(Problem { code, text });
        let reported = view
            .reported
            .is_some_and(|at| now.since(at) <= view.stale_after);
        if let Some(name) = self.broken {
            return problem(
                Code::NoAccessLog,
                format!("the access log of proxy {name} broke off"),
            );
        }
        if self.lately_lost {
            let text = match self.lost {
                0 => {
                    "access-log entries were lost with a replica, nobody knows how many".to_owned()
                }
                lost => format!("{lost} access-log entries were lost"),
            };
            return problem(Code::LogDrops, text);
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
}

/// From where the logs are looked at.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The policy's window of silence.
    pub stale_after: Duration,
    /// How long a proxy whose stream broke is waited for.
    pub lease: Duration,
    /// When somebody last reported observations of the endpoint, who then stands in for a log.
    pub reported: Option<Timestamp>,
    /// When the endpoint began to be watched.
    pub watched_since: Timestamp,
    /// Observations of the endpoint that were lost on their way between replicas.
    pub lost: u64,
    /// When the last ones were; with `lost` at 0, nobody knows how many.
    pub last_loss: Option<Timestamp>,
}

#[cfg(test)]
mod tests;
