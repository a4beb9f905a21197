//! Which proxy of this replica has accepted what: one half of the state behind "applied"; the other half is
//! [`Fleet`](super::fleet::Fleet), the proxies of other replicas.
//!
//! A proxy is known by its node id. Its newest stream speaks for it; a proxy whose stream ended counts for
//! another `lease`, since it goes on serving what it had.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::names::EndpointName;
use slipway_platform::telemetry;
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Known, OwnProxy, sum};
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
    /// Those of which there is something to tell other replicas.
    untold: BTreeSet<String>,
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
            untold: BTreeSet::new(),
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
        self.untold.insert(node_id.to_owned());
    }

    /// The stream ended.
    pub fn disconnect(&mut self, node_id: &str, stream: u64, now: Timestamp) {
        if let Some(proxy) = self.speaking(node_id, stream, now) {
            proxy.connected = false;
            self.untold.insert(node_id.to_owned());
        }
    }

    /// A request came.
    pub fn seen(&mut self, node_id: &str, stream: u64, now: Timestamp) {
        self.speaking(node_id, stream, now);
    }

    /// Everything of this snapshot is accepted.
    pub fn synced(&mut self, node_id: &str, stream: u64, version: u64, now: Timestamp) {
        let Some(proxy) = self.speaking(node_id, stream, now) else {
            return;
        };
        if std::mem::replace(&mut proxy.synced_version, version) != version {
            self.untold.insert(node_id.to_owned());
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
            trace_accepted(
                node_id,
                proxy.accepted.back().map(|(_, last)| &**last),
                &routes,
            );
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
        self.untold.insert(node_id.to_owned());
    }

    /// Resources were refused.
    pub fn refused(&mut self, node_id: &str, stream: u64, kind: Kind, why: String, now: Timestamp) {
        if let Some(proxy) = self.speaking(node_id, stream, now) {
            proxy.refused.insert(kind.label(), why);
            self.untold.insert(node_id.to_owned());
        }
    }

    /// See [`Applied`].
    pub fn applied(
        &self,
        fleet: &Fleet,
        endpoint: &EndpointName,
        generation: i64,
        now: Timestamp,
    ) -> Applied {
        let own = self
            .by_node
            .iter()
            .filter(|(_, proxy)| proxy.counts(self.lease, now))
            .map(|(node_id, proxy)| Known {
                node_id,
                connected: proxy.connected,
                // What it had accepted elsewhere counts until it says otherwise, since it still has it.
                accepted_at: match proxy.accepted.is_empty() {
                    true => fleet.accepted_at(node_id, endpoint, generation),
                    false => proxy.accepted_at(endpoint, generation),
                },
            });
        let others = fleet
            .counting(self.lease, now)
            .filter(|(known, _)| !self.speaks_for(&known.node_id, now))
            .map(|(known, connected)| Known {
                node_id: &known.node_id,
                connected,
                accepted_at: fleet.accepted_at(&known.node_id, endpoint, generation),
            });
        sum(own.chain(others))
    }

    /// Whether what is known here of a proxy counts, before what other replicas say. One that was away for
    /// longer than its lease is theirs.
    fn speaks_for(&self, node_id: &str, now: Timestamp) -> bool {
        let own = self.by_node.get(node_id);
        own.is_some_and(|proxy| proxy.counts(self.lease, now))
    }

    /// Every proxy that is connected, or was within the lease, by node id.
    pub fn status(&self, fleet: &Fleet, now: Timestamp) -> Vec<ProxyStatus> {
        let own = self
            .by_node
            .iter()
            .filter(|(_, proxy)| proxy.counts(self.lease, now))
            .map(|(node_id, proxy)| proxy.status(node_id));
        let others = fleet
            .counting(self.lease, now)
            .filter(|(known, _)| !self.speaks_for(&known.node_id, now))
            .map(|(known, connected)| fleet.status(known, connected));
        let mut all: Vec<_> = own.chain(others).collect();
        all.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        all
    }

    /// What other replicas are to be told, once.
    pub fn take_untold(&mut self) -> Vec<OwnProxy> {
        let untold = std::mem::take(&mut self.untold);
        let known = untold
            .iter()
            .filter_map(|node_id| self.by_node.get_key_value(node_id));
        known
            .map(|(node_id, proxy)| proxy.as_own(node_id))
            .collect()
    }

    /// They were not told: they are to be told again.
    pub fn tell_again(&mut self, node_ids: impl IntoIterator<Item = String>) {
        self.untold.extend(node_ids);
    }

    /// The proxy with this stream has a newer one to another replica. One that hangs on here is ended, so that
    /// no proxy serves unseen.
    pub fn moved(&mut self, node_id: &str, stream: u64) {
        let Some(proxy) = self
            .by_node
            .get(node_id)
            .filter(|proxy| proxy.stream == stream)
        else {
            return;
        };
        if proxy.connected {
            tracing::warn!(
                node_id,
                "this node id has connected to another replica: its stream here is ended"
            );
            proxy.end.cancel();
        }
        self.by_node.remove(node_id);
        self.untold.remove(node_id);
    }

    /// Forgets that generations were accepted which are newer than `newest` says.
    pub fn forget_newer(&mut self, newest: &HashMap<EndpointName, i64>) {
        for proxy in self.by_node.values_mut() {
            let Some((at, last)) = proxy.accepted.pop_back() else {
                continue;
            };
            let mut by_endpoint = last.by_endpoint.clone();
            by_endpoint.retain(|endpoint, have| {
                newest
                    .get(endpoint)
                    .is_some_and(|newest| have.number <= *newest)
            });
            let kept = Generations {
                version: last.version,
                by_endpoint,
            };
            proxy.accepted = VecDeque::from([(at, Arc::new(kept))]);
        }
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

/// A proxy's first acceptance of a generation ends the trace of the decision that the generation comes from.
fn trace_accepted(node_id: &str, before: Option<&Generations>, routes: &Generations) {
    for (endpoint, have) in &routes.by_endpoint {
        let is_new = match before.and_then(|before| before.by_endpoint.get(endpoint)) {
            Some(before) => before.number != have.number,
            None => have.since == routes.version,
        };
        let Some(traceparent) = have.traceparent.as_deref().filter(|_| is_new) else {
            continue;
        };
        let generation = have.number;
        let span =
            tracing::info_span!(parent: None, "proxy accepted", node_id, %endpoint, generation);
        telemetry::set_parent(&span, Some(traceparent));
        span.in_scope(|| tracing::debug!("routes accepted"));
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

    fn as_own(&self, node_id: &str) -> OwnProxy {
        OwnProxy {
            node_id: node_id.to_owned(),
            stream: self.stream,
            connected: self.connected,
            last_seen: self.last_seen,
            acked_version: self.synced_version,
            nack: self.nack(),
            accepted: self
                .accepted
                .back()
                .map(|(at, generations)| (*at, generations.clone())),
        }
    }

    fn nack(&self) -> Option<String> {
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(kind, why)| format!("{kind}: {why}"))
            .collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    }

    fn status(&self, node_id: &str) -> ProxyStatus {
        let generations = self.accepted.back().map(|(_, routes)| &routes.by_endpoint);
        ProxyStatus {
            node_id: node_id.to_owned(),
            connected: self.connected,
            last_seen: self.last_seen,
            acked_version: self.synced_version,
            nack: self.nack(),
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
