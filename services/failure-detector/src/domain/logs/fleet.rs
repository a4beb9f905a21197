//! The log streams of all replicas together, as the one that judges sees them.
//!
//! A replica that is alive and has not said what its proxies report makes everything unseen. One that can no longer
//! be reached makes its proxies' streams broken, until they are back at any replica or their lease is over. A
//! proxy's numbering is followed over replicas: what came to one is not missing at another. Since what the others
//! say is a little late, entries that seem to be missing count as lost only when they have not turned up for a
//! while; in the meantime nothing is measured either.

use std::collections::HashMap;
use std::time::Duration;

use slipway_platform::clock::Timestamp;

use super::{AccessLogs, NodeState, Numbering, Problem, Sight, View};
use crate::domain::verdict::Code;

/// How long entries may be missing before they are lost: longer than the replicas' slowest word on the road.
const LATE: Duration = Duration::from_millis(1_500);

/// Stands for the replicas that were lost before this one began to listen to them; no instance has this id.
const BEFORE: &str = "before";

/// The log streams of this replica and, where there are others, of those.
#[derive(Debug)]
pub struct Fleet {
    own: AccessLogs,
    others: Option<Others>,
}

/// What a replica knows that is not alone.
#[derive(Debug)]
struct Others {
    replicas: HashMap<String, Replica>,
    numberings: HashMap<(String, String), Missing>,
    lost: u64,
    last_loss: Option<Timestamp>,
}

#[derive(Debug)]
struct Replica {
    address: String,
    /// Alive by the word of the database.
    live: bool,
    /// It says what its proxies report, now.
    up: bool,
    logs: AccessLogs,
    /// What it says next is the first that was ever heard of it.
    unknown: bool,
    /// Since when it is neither live nor up.
    gone: Option<Timestamp>,
}

#[derive(Debug)]
struct Missing {
    entries: u64,
    since: Timestamp,
    /// Among them, those that count as lost.
    lost: u64,
}

impl Others {
    /// Entries that are missing and may still turn up.
    fn late(&self) -> u64 {
        let missing = self.numberings.values();
        let late = missing.map(|missing| missing.entries.saturating_sub(missing.lost));
        late.fold(0, u64::saturating_add)
    }
}

impl Fleet {
    /// Of a replica that has its database to itself.
    pub fn alone() -> Self {
        Self {
            own: AccessLogs::default(),
            others: None,
        }
    }

    /// Of one among others, about whom nothing is known yet.
    pub fn shared() -> Self {
        let others = Others {
            replicas: HashMap::new(),
            numberings: HashMap::new(),
            lost: 0,
            last_loss: None,
        };
        Self {
            own: AccessLogs::default(),
            others: Some(others),
        }
    }

    /// The streams of this replica.
    pub fn own(&mut self) -> &mut AccessLogs {
        &mut self.own
    }

    /// Streams that are open, at any replica.
    pub fn streams(&self) -> u32 {
        let others = self.replicas().map(|replica| replica.logs.streams());
        others.fold(self.own.streams(), u32::saturating_add)
    }

    /// Entries that are known to be lost, or missing so far.
    pub fn lost(&self) -> u64 {
        self.others.as_ref().map_or(self.own.lost(), |others| {
            others.lost.saturating_add(others.late())
        })
    }

    /// The proxies that are connected to any replica.
    pub fn open_nodes(&self) -> Vec<String> {
        let mut nodes: Vec<String> = self
            .parts()
            .flat_map(|logs| logs.open_nodes().map(str::to_owned))
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// These other replicas are alive, and no more: `(instance, address)`.
    pub fn set_live(&mut self, live: &[(String, String)], now: Timestamp) {
        let Some(others) = &mut self.others else {
            return;
        };
        for (id, replica) in &mut others.replicas {
            replica.live = live.iter().any(|(live, _)| live == id);
            if replica.live {
                replica.gone = None;
            } else if !replica.up && replica.gone.is_none() {
                replica.gone = Some(now);
            }
        }
        for (id, address) in live {
            let known = others.replicas.entry(id.clone());
            known.or_insert_with(|| Replica {
                address: address.clone(),
                live: true,
                up: false,
                logs: AccessLogs::default(),
                unknown: true,
                gone: None,
            });
        }
    }

    /// A replica begins to say everything that it knows.
    pub fn begin(&mut self, replica: &str) {
        if let Some(replica) = self.replica(replica) {
            replica.logs = AccessLogs::default();
            replica.up = true;
        }
    }

    /// A replica says what has changed.
    pub fn update(
        &mut self,
        replica: &str,
        nodes: Vec<NodeState>,
        last_entry: Option<Timestamp>,
        now: Timestamp,
    ) {
        let mut before = Vec::new();
        if let Some(replica) = self.replica(replica) {
            // A replica takes streams once it is heard: what it misses when it is first heard was missed before this
            // one began to listen.
            if std::mem::take(&mut replica.unknown) {
                before = nodes.iter().map(|node| node.name.clone()).collect();
            }
            nodes.into_iter().for_each(|node| replica.logs.set(node));
            replica.logs.set_last_entry(last_entry);
        }
        self.count_missing(&before, now);
    }

    /// A replica can no longer be heard.
    pub fn out_of_sight(&mut self, replica: &str, now: Timestamp) {
        if let Some(replica) = self.replica(replica).filter(|replica| replica.up) {
            replica.up = false;
            replica.logs.out_of_sight(now);
        }
    }

    /// These proxies were connected when a judge was lost: they are missed until they are back.
    pub fn expect(&mut self, nodes: &[String], now: Timestamp) {
        let Some(others) = &mut self.others else {
            return;
        };
        let before = others.replicas.entry(BEFORE.to_owned());
        let before = before.or_insert_with(|| Replica {
            address: String::new(),
            live: false,
            up: false,
            logs: AccessLogs::default(),
            unknown: false,
            gone: None,
        });
        for node in nodes {
            before.logs.opened(node, now);
        }
        before.logs.out_of_sight(now);
        before.gone = Some(now);
    }

    /// Looks for entries that did not turn up.
    pub fn look(&mut self, now: Timestamp) {
        self.count_missing(&[], now);
    }

    /// `before`: the proxies whose entries are missing since before anybody listened here.
    fn count_missing(&mut self, before: &[String], now: Timestamp) {
        let Some(others) = &mut self.others else {
            return;
        };
        let mut sums: HashMap<(&str, &str), Numbering> = HashMap::new();
        let parts = others.replicas.values().map(|replica| &replica.logs);
        for (name, node) in parts.chain([&self.own]).flat_map(|logs| &logs.nodes) {
            let Some(numbering) = &node.numbering else {
                continue;
            };
            let sum = sums.entry((name.as_str(), numbering.boot.as_str()));
            let sum = sum.or_insert_with(|| Numbering {
                received: 0,
                ..numbering.clone()
            });
            sum.first = sum.first.min(numbering.first);
            sum.next = sum.next.max(numbering.next);
            sum.received = sum.received.saturating_add(numbering.received);
        }
        let known = |(node, boot): &(String, String), _: &mut Missing| {
            sums.contains_key(&(node.as_str(), boot.as_str()))
        };
        others.numberings.retain(known);
        for ((node, boot), sum) in sums {
            let entries = sum.missing();
            let key = (node.to_owned(), boot.to_owned());
            let missing = others.numberings.entry(key).or_insert(Missing {
                entries: 0,
                since: now,
                lost: 0,
            });
            if missing.entries != entries {
                (missing.entries, missing.since) = (entries, now);
            }
            // What has turned up after all must not hide what is missing next.
            missing.lost = missing.lost.min(entries);
            if entries == missing.lost {
                continue;
            }
            if before.iter().any(|name| name == node) {
                missing.lost = entries;
            } else if now.since(missing.since) >= LATE {
                others.lost = others.lost.saturating_add(entries - missing.lost);
                others.last_loss = Some(now);
                missing.lost = entries;
            }
        }
    }

    /// Forgets replicas that are gone for longer than their proxies are waited for.
    pub fn forget(&mut self, lease: Duration, now: Timestamp) {
        if let Some(others) = &mut self.others {
            let waited_for = |gone: Option<Timestamp>| gone.is_none_or(|at| now.since(at) <= lease);
            others
                .replicas
                .retain(|_, replica| waited_for(replica.gone));
        }
    }

    /// What stands in the way of measuring an endpoint. `heard`: whether a replica has begun to say what its
    /// proxies report of it.
    pub fn problem(
        &self,
        view: View,
        heard: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Option<Problem> {
        let recent = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) <= view.stale_after);
        let Some(others) = &self.others else {
            let sight = Sight {
                streams: self.own.streams,
                last_entry: self.own.last_entry,
                broken: self.broken(view.lease, now),
                lost: self.own.lost.saturating_add(view.lost),
                lately_lost: recent(self.own.last_loss) || recent(view.last_loss),
            };
            return sight.problem(view, now);
        };
        let unheard = |(id, replica): &(&String, &Replica)| {
            replica.live && !(replica.up && heard(id.as_str()))
        };
        if let Some((_, replica)) = others.replicas.iter().find(unheard) {
            let text = format!(
                "the replica at {} does not say what its proxies report",
                replica.address
            );
            return Some(Problem {
                code: Code::NoAccessLog,
                text,
            });
        }
        let late = others.late();
        let sight = Sight {
            streams: self.streams(),
            last_entry: self.parts().filter_map(AccessLogs::last_entry).max(),
            broken: self.broken(view.lease, now),
            lost: self.lost().saturating_add(view.lost),
            lately_lost: late > 0 || recent(others.last_loss) || recent(view.last_loss),
        };
        sight.problem(view, now)
    }

    /// A proxy whose stream broke and is not back, at any replica.
    fn broken(&self, lease: Duration, now: Timestamp) -> Option<&str> {
        let mut broken = self.parts().flat_map(|logs| &logs.broken);
        let missed = broken.find(|(name, at)| {
            let back = |logs: &AccessLogs| {
                logs.nodes.get(*name).is_some_and(|node| {
                    let ended = |end: &super::End| end.cleanly && end.at > **at;
                    node.streams > 0 || node.end.as_ref().is_some_and(ended)
                })
            };
            now.since(**at) <= lease && !self.parts().any(back)
        });
        missed.map(|(name, _)| name.as_str())
    }

    fn parts(&self) -> impl Iterator<Item = &AccessLogs> {
        let others = self.replicas().map(|replica| &replica.logs);
        others.chain([&self.own])
    }

    fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.others
            .iter()
            .flat_map(|others| others.replicas.values())
    }

    fn replica(&mut self, id: &str) -> Option<&mut Replica> {
        self.others.as_mut()?.replicas.get_mut(id)
    }
}

#[cfg(test)]
mod tests;
