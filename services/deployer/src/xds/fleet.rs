//! The proxies of other replicas, as they are stored: the other half of the state behind "applied".
//!
//! The replica that holds a proxy's stream stores what the proxy has accepted. A proxy that connects to
//! another replica belongs to that one from then on: it takes the next `turn`. What a replica that is not
//! alive any more has stored counts as lost since it was last alive, for the lease of a proxy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::names::EndpointName;

use super::proxies::{Applied, ProxyStatus};
use super::resources::Generations;

/// A proxy of another replica, as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherProxy {
    /// Its node id.
    pub node_id: String,
    /// The replica that holds, or held, its stream.
    pub replica: String,
    /// Counts up each time that a replica takes it over.
    pub turn: i64,
    /// Whether it had a stream when that was stored.
    pub connected: bool,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// The newest snapshot that it has accepted all of.
    pub acked_version: u64,
    /// What it refuses, and why.
    pub nack: Option<String>,
}

/// A proxy of this replica, as other replicas are to be told.
#[derive(Debug, Clone)]
pub struct OwnProxy {
    /// Its node id.
    pub node_id: String,
    /// Its stream here.
    pub stream: u64,
    /// Whether the stream is open.
    pub connected: bool,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// The newest snapshot that it has accepted all of.
    pub acked_version: u64,
    /// What it refuses, and why.
    pub nack: Option<String>,
    /// The routes that it accepted last, and when.
    pub(crate) accepted: Option<(Timestamp, Arc<Generations>)>,
}

impl OwnProxy {
    /// One that has accepted nothing yet.
    pub fn new(node_id: &str, stream: u64, connected: bool, last_seen: Timestamp) -> Self {
        Self {
            node_id: node_id.to_owned(),
            stream,
            connected,
            last_seen,
            acked_version: 0,
            nack: None,
            accepted: None,
        }
    }

    /// The version of the routes that it accepted last, and when it did.
    pub fn routes(&self) -> Option<(u64, Timestamp)> {
        let (at, generations) = self.accepted.as_ref()?;
        Some((generations.version, *at))
    }

    /// The generation of each endpoint in the routes that it accepted last, and when that was.
    pub fn generations(&self) -> impl Iterator<Item = (&EndpointName, i64, Timestamp)> {
        self.accepted.iter().flat_map(|(at, generations)| {
            generations
                .by_endpoint
                .iter()
                .map(|(endpoint, have)| (endpoint, have.number, *at))
        })
    }
}

/// What the stored rows say.
#[derive(Debug, Default)]
pub struct Fleet {
    /// This replica.
    own: String,
    proxies: HashMap<String, OtherProxy>,
    /// By node id; of this replica's proxies, too.
    accepted: HashMap<String, HashMap<EndpointName, (i64, Timestamp)>>,
    alive: HashSet<String>,
    last_alive: HashMap<String, Timestamp>,
    began: Timestamp,
}

/// What `applied` asks of a proxy that counts.
pub(super) struct Known<'a> {
    pub node_id: &'a str,
    pub connected: bool,
    pub accepted_at: Option<Timestamp>,
}

impl Fleet {
    /// For the replica with this id.
    pub fn of(own: &str, now: Timestamp) -> Self {
        Self {
            own: own.to_owned(),
            began: now,
            ..Self::default()
        }
    }

    /// Which replicas are alive. True if that has changed.
    pub fn set_alive(&mut self, alive: HashSet<String>, now: Timestamp) -> bool {
        for replica in &alive {
            self.last_alive.insert(replica.clone(), now);
        }
        let changed = self.alive != alive;
        self.alive = alive;
        changed
    }

    /// Takes over what was stored.
    pub fn learn(
        &mut self,
        proxies: Vec<OtherProxy>,
        accepted: Vec<(String, EndpointName, i64, Timestamp)>,
    ) {
        for proxy in proxies {
            self.proxies.insert(proxy.node_id.clone(), proxy);
        }
        for (node_id, endpoint, generation, at) in accepted {
            self.accepted
                .entry(node_id)
                .or_default()
                .insert(endpoint, (generation, at));
        }
    }

    /// The generation that is stored for a proxy and an endpoint.
    pub fn stored(&self, node_id: &str, endpoint: &EndpointName) -> Option<i64> {
        let (generation, _) = self.accepted.get(node_id)?.get(endpoint)?;
        Some(*generation)
    }

    /// Those that do not count any more, with their turns.
    pub fn lost(&self, lease: Duration, now: Timestamp) -> Vec<(String, i64)> {
        self.proxies
            .values()
            .filter(|proxy| self.presence(proxy, lease, now).is_none())
            .map(|proxy| (proxy.node_id.clone(), proxy.turn))
            .collect()
    }

    /// Forgets those that have not come back since.
    pub fn forget(&mut self, lost: &[(String, i64)]) {
        for (node_id, turn) in lost {
            let known = self.proxies.get(node_id);
            if known.is_some_and(|known| known.turn == *turn) {
                self.proxies.remove(node_id);
                self.accepted.remove(node_id);
            }
        }
    }

    /// Whether anything is known of a proxy. Then all of it is that is stored.
    pub fn knows(&self, node_id: &str) -> bool {
        self.proxies.contains_key(node_id)
    }

    /// Forgets that generations were accepted which are newer than `newest` says.
    pub(super) fn forget_newer(&mut self, newest: &HashMap<EndpointName, i64>) {
        for accepted in self.accepted.values_mut() {
            accepted.retain(|endpoint, (generation, _)| {
                newest
                    .get(endpoint)
                    .is_some_and(|newest| *generation <= *newest)
            });
        }
    }

    /// Whether it counts, and then whether it is connected.
    fn presence(&self, proxy: &OtherProxy, lease: Duration, now: Timestamp) -> Option<bool> {
        let alive = self.alive.contains(&proxy.replica);
        if alive && proxy.connected {
            return Some(true);
        }
        let lost_at = if proxy.connected {
            // One whose replica was never seen alive may have been lost a moment before the first look.
            let last_alive = self.last_alive.get(&proxy.replica);
            proxy.last_seen.max(*last_alive.unwrap_or(&self.began))
        } else {
            proxy.last_seen
        };
        (now.since(lost_at) <= lease).then_some(false)
    }

    /// The proxies of other replicas that count, and whether each is connected.
    pub(super) fn counting(
        &self,
        lease: Duration,
        now: Timestamp,
    ) -> impl Iterator<Item = (&OtherProxy, bool)> {
        self.proxies
            .values()
            .filter(|proxy| proxy.replica != self.own)
            .filter_map(move |proxy| Some((proxy, self.presence(proxy, lease, now)?)))
    }

    pub(super) fn accepted_at(
        &self,
        node_id: &str,
        endpoint: &EndpointName,
        generation: i64,
    ) -> Option<Timestamp> {
        let (have, at) = self.accepted.get(node_id)?.get(endpoint)?;
        (*have >= generation).then_some(*at)
    }

    pub(super) fn status(&self, proxy: &OtherProxy, connected: bool) -> ProxyStatus {
        let acked = self.accepted.get(&proxy.node_id);
        ProxyStatus {
            node_id: proxy.node_id.clone(),
            connected,
            last_seen: proxy.last_seen,
            acked_version: proxy.acked_version,
            nack: proxy.nack.clone(),
            acked: acked
                .into_iter()
                .flatten()
                .map(|(endpoint, (generation, _))| (endpoint.clone(), *generation))
                .collect(),
        }
    }
}

/// What the proxies that count say together.
pub(super) fn sum<'a>(proxies: impl Iterator<Item = Known<'a>>) -> Applied {
    let mut at: Option<Timestamp> = None;
    let (mut waiting, mut lost, mut connected) = (Vec::new(), Vec::new(), false);
    for proxy in proxies {
        connected |= proxy.connected;
        match proxy.accepted_at {
            Some(time) => at = at.max(Some(time)),
            None if proxy.connected => waiting.push(proxy.node_id.to_owned()),
            None => lost.push(proxy.node_id.to_owned()),
        }
    }
    lost.sort();
    match at {
        _ if !connected => Applied::Unapplied,
        Some(at) if waiting.is_empty() && lost.is_empty() => Applied::Applied { at },
        Some(_) if waiting.is_empty() => Applied::AppliedExcept(lost),
        _ => {
            waiting.append(&mut lost);
            waiting.sort();
            Applied::Waiting(waiting)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000 * seconds)
    }

    fn endpoint() -> EndpointName {
        "environments/production/endpoints/a".parse().unwrap()
    }

    fn proxy(node_id: &str, replica: &str) -> OtherProxy {
        OtherProxy {
            node_id: node_id.into(),
            replica: replica.into(),
            turn: 1,
            connected: true,
            last_seen: at(0),
            acked_version: 1,
            nack: None,
        }
    }

    fn applied(fleet: &Fleet, generation: i64, now: Timestamp) -> Applied {
        super::super::proxies::Proxies::new(LEASE).applied(fleet, &endpoint(), generation, now)
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::of("a", at(0));
        fleet.set_alive(HashSet::from(["b".to_owned()]), at(100));
        fleet.learn(
            vec![proxy("p1", "b")],
            vec![("p1".into(), endpoint(), 5, at(3))],
        );
        fleet
    }

    #[test]
    fn what_a_proxy_of_another_replica_has_accepted_counts() {
        let fleet = fleet();
        assert_eq!(applied(&fleet, 5, at(100)), Applied::Applied { at: at(3) });
        assert_eq!(
            applied(&fleet, 6, at(100)),
            Applied::Waiting(vec!["p1".into()])
        );
    }

    #[test]
    fn the_proxies_of_a_dead_replica_are_lost_since_it_was_last_alive() {
        let mut fleet = fleet();
        assert!(fleet.set_alive(HashSet::new(), at(105)));
        assert_eq!(applied(&fleet, 5, at(110)), Applied::Unapplied);
        assert_eq!(fleet.lost(LEASE, at(129)), []);
        let lost = fleet.lost(LEASE, at(131));
        assert_eq!(
            lost,
            [("p1".to_owned(), 1)],
            "it was last seen alive at 100"
        );
        let back = OtherProxy {
            turn: 2,
            ..proxy("p1", "c")
        };
        fleet.learn(vec![back], vec![]);
        fleet.forget(&lost);
        assert!(fleet.knows("p1"), "it has come back");
        fleet.forget(&[("p1".to_owned(), 2)]);
        assert!(!fleet.knows("p1"));
        assert_eq!(fleet.stored("p1", &endpoint()), None);
    }

    #[test]
    fn one_whose_replica_was_never_seen_alive_is_waited_for_from_the_first_look_on() {
        let mut fleet = Fleet::of("a", at(1_000));
        fleet.learn(vec![proxy("p1", "b"), proxy("p2", "c")], vec![]);
        fleet.set_alive(HashSet::from(["c".to_owned()]), at(1_000));
        fleet.learn(vec![], vec![("p2".into(), endpoint(), 5, at(3))]);
        assert_eq!(
            applied(&fleet, 5, at(1_010)),
            Applied::AppliedExcept(vec!["p1".into()])
        );
        assert_eq!(
            applied(&fleet, 5, at(1_031)),
            Applied::Applied { at: at(3) }
        );
    }
}
