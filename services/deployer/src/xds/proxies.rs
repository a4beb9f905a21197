//! Which proxy has accepted what: the state behind "applied".
//!
//! A proxy is known by its node id. Its newest stream speaks for it; a proxy whose stream ended counts for
//! another `lease`, since it goes on serving what it had.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::names::EndpointName;
use tokio_util::sync::CancellationToken;

use super::resources::{Generations, Kind};

/// Enough to know when each of the last generations was accepted; older ones count from the oldest kept.
const ACCEPTED_KEPT: usize = 32;

/// A proxy, for people and for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Its node id.
    pub node_id: String,
    /// Whether it has a stream now.
    pub connected: bool,
    /// When it was last heard of: its last request, or the end of its stream.
    pub last_seen: Timestamp,
    /// The newest snapshot of which it has accepted everything that it asks for; 0: none yet.
    pub acked_version: u64,
    /// What it refuses, and why.
    pub nack: Option<String>,
    /// The generation of each endpoint's routes that it has accepted.
    pub acked: HashMap<EndpointName, i64>,
}

/// Whether the proxies have accepted a generation of an endpoint's routes, or a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// No proxy is connected: nothing is known.
    Unapplied,
    /// These have not, and at least one of them is connected.
    Waiting(Vec<String>),
    /// Every one that is connected, or was within the lease, has.
    Applied {
        /// When the last one did.
        at: Timestamp,
    },
    /// Every one that is connected has. These were lost within the lease, and may be serving older routes.
    AppliedExcept(Vec<String>),
}

/// The proxies.
#[derive(Debug)]
pub struct Proxies {
    lease: Duration,
    by_node: BTreeMap<String, Proxy>,
}

#[derive(Debug)]
struct Proxy {
    stream: u64,
    end: CancellationToken,
    connected: bool,
    last_seen: Timestamp,
    synced_version: u64,
    refused: BTreeMap<&'static str, String>,
    accepted: VecDeque<(Timestamp, Arc<Generations>)>,
}

impl Proxies {
    pub fn new(lease: Duration) -> Self {
        Self {
            lease,
            by_node: BTreeMap::new(),
        }
    }

    /// A stream of this node began. An older one of the same node is told to end. What the proxy had
    /// accepted before counts until it says otherwise, since it still has it.
    pub fn connect(&mut self, node_id: &str, stream: u64, end: CancellationToken, now: Timestamp) {
        self.forget_lost(now);
        let proxy = self
            .by_node
            .entry(node_id.to_owned())
            .or_insert_with(|| Proxy {
                stream,
                end: end.clone(),
                connected: true,
                last_seen: now,
                synced_version: 0,
                refused: BTreeMap::new(),
                accepted: VecDeque::new(),
            });
        if proxy.stream != stream {
            if proxy.connected {
                tracing::warn!(
                    node_id,
                    "a second stream with this node id: the first is ended"
                );
                proxy.end.cancel();
            }
            proxy.refused.clear();
            (proxy.stream, proxy.end, proxy.connected, proxy.last_seen) = (stream, end, true, now);
        }
    }

    /// The stream ended.
    pub fn disconnect(&mut self, node_id: &str, stream: u64, now: Timestamp) {
        if let Some(proxy) = self.speaking(node_id, stream, now) {
            proxy.connected = false;
        }
    }

    /// A request came.
    pub fn seen(&mut self, node_id: &str, stream: u64, now: Timestamp) {
        self.speaking(node_id, stream, now);
    }

    /// Everything of this snapshot is accepted.
    pub fn synced(&mut self, node_id: &str, stream: u64, version: u64, now: Timestamp) {
        if let Some(proxy) = self.speaking(node_id, stream, now) {
            proxy.synced_version = version;
        }
    }

    /// Resources were accepted; the generations are there when they were routes.
    pub fn accepted(
        &mut self,
        node_id: &str,
        stream: u64,
        kind: Kind,
        routes: Option<Arc<Generations>>,
        now: Timestamp,
    ) {
        let Some(proxy) = self.speaking(node_id, stream, now) else {
            return;
        };
        proxy.refused.remove(kind.label());
        if let Some(routes) = routes {
            if proxy
                .accepted
                .back()
                .is_some_and(|(_, last)| last.version > routes.version)
            {
                // Versions begin anew: the control plane was restored from an older state.
                proxy.accepted.clear();
            }
            if proxy.accepted.len() == ACCEPTED_KEPT {
                proxy.accepted.pop_front();
            }
            proxy.accepted.push_back((now, routes));
        }
    }

    /// Resources were refused.
    pub fn refused(&mut self, node_id: &str, stream: u64, kind: Kind, why: String, now: Timestamp) {
        if let Some(proxy) = self.speaking(node_id, stream, now) {
            proxy.refused.insert(kind.label(), why);
        }
    }

    /// See [`Applied`].
    pub fn applied(&self, endpoint: &EndpointName, generation: i64, now: Timestamp) -> Applied {
        let mut at: Option<Timestamp> = None;
        let (mut waiting, mut lost, mut connected) = (Vec::new(), Vec::new(), false);
        for (node_id, proxy) in self
            .by_node
            .iter()
            .filter(|(_, proxy)| proxy.counts(self.lease, now))
        {
            connected |= proxy.connected;
            match proxy.accepted_at(endpoint, generation) {
                Some(time) => at = at.max(Some(time)),
                None if proxy.connected => waiting.push(node_id.clone()),
                None => lost.push(node_id.clone()),
            }
        }
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

    /// Every proxy that is connected, or was within the lease, by node id.
    pub fn status(&self, now: Timestamp) -> Vec<ProxyStatus> {
        let counting = self
            .by_node
            .iter()
            .filter(|(_, proxy)| proxy.counts(self.lease, now));
        counting
            .map(|(node_id, proxy)| proxy.status(node_id))
            .collect()
    }

    /// How many streams are open.
    pub fn connected(&self) -> usize {
        self.by_node
            .values()
            .filter(|proxy| proxy.connected)
            .count()
    }

    fn speaking(&mut self, node_id: &str, stream: u64, now: Timestamp) -> Option<&mut Proxy> {
        let proxy = self
            .by_node
            .get_mut(node_id)
            .filter(|proxy| proxy.stream == stream)?;
        proxy.last_seen = proxy.last_seen.max(now);
        Some(proxy)
    }

    fn forget_lost(&mut self, now: Timestamp) {
        let lease = self.lease;
        self.by_node.retain(|_, proxy| proxy.counts(lease, now));
    }
}

impl Proxy {
    fn counts(&self, lease: Duration, now: Timestamp) -> bool {
        self.connected || now.since(self.last_seen) <= lease
    }

    fn accepted_at(&self, endpoint: &EndpointName, generation: i64) -> Option<Timestamp> {
        let (last, routes) = self.accepted.back()?;
        let have = routes
            .by_endpoint
            .get(endpoint)
            .filter(|have| have.number >= generation)?;
        let first = self
            .accepted
            .iter()
            .find(|(_, routes)| routes.version >= have.since);
        Some(first.map_or(*last, |(time, _)| *time))
    }

    fn status(&self, node_id: &str) -> ProxyStatus {
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(kind, why)| format!("{kind}: {why}"))
            .collect();
        let generations = self.accepted.back().map(|(_, routes)| &routes.by_endpoint);
        ProxyStatus {
            node_id: node_id.to_owned(),
            connected: self.connected,
            last_seen: self.last_seen,
            acked_version: self.synced_version,
            nack: (!refused.is_empty()).then(|| refused.join("; ")),
            acked: generations
                .map(|all| {
                    all.iter()
                        .map(|(endpoint, have)| (endpoint.clone(), have.number))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }
}
