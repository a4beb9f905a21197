//! Where the deployer publishes its snapshots and reads what the proxies accepted, those of other replicas
//! included.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_platform::clock::{SharedClock, Timestamp};
use slipway_platform::names::EndpointName;
use slipway_platform::tasks::Nudge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::XdsConfig;
use super::fleet::{Fleet, OtherProxy, OwnProxy};
use super::proxies::{Applied, Proxies, ProxyStatus};
use super::resources::{Built, Kind};
use super::session::Heard;
use super::snapshot::Snapshot;
use crate::metrics;

/// The present snapshot, and what each proxy has accepted of it. One per deployer.
pub struct XdsHub {
    config: XdsConfig,
    clock: SharedClock,
    /// Held while a snapshot is built, so that they are built one after the other.
    newest: Mutex<Option<Arc<Built>>>,
    snapshots: watch::Sender<Option<Arc<Built>>>,
    proxies: Mutex<Proxies>,
    /// Those of other replicas. Locked after `proxies`, if both are.
    fleet: Mutex<Fleet>,
    /// There is something to tell other replicas.
    untold: Nudge,
    changes: watch::Sender<u64>,
    streams: AtomicUsize,
    stream_ids: AtomicU64,
    closed: CancellationToken,
    /// Whether others publish, too, so that the snapshot here may be older than what a proxy has.
    shared: bool,
    /// How often a stream asked for the newest snapshot that is stored.
    wanted: watch::Sender<u64>,
    /// Up to which of them the stored snapshot was read since.
    confirmed: watch::Sender<u64>,
}

impl XdsHub {
    /// A hub without a snapshot: proxies may connect, and are sent nothing.
    pub fn new(config: XdsConfig, clock: SharedClock) -> Arc<XdsHub> {
        Self::make(config, clock, None)
    }

    /// The same for one of several replicas, with this id: a stream waits until [`XdsHub::confirm`] has said
    /// that the snapshot is the newest one that was stored when the stream began.
    pub fn of_replica(config: XdsConfig, clock: SharedClock, id: &str) -> Arc<XdsHub> {
        Self::make(config, clock, Some(id))
    }

    fn make(config: XdsConfig, clock: SharedClock, replica: Option<&str>) -> Arc<XdsHub> {
        let lease = config.proxy_lease();
        let fleet = replica.map_or_else(Fleet::default, |id| Fleet::of(id, clock.now()));
        Arc::new(XdsHub {
            config,
            clock,
            fleet: Mutex::new(fleet),
            untold: Nudge::new(),
            shared: replica.is_some(),
            wanted: watch::Sender::new(0),
            confirmed: watch::Sender::new(0),
            newest: Mutex::new(None),
            snapshots: watch::Sender::new(None),
            proxies: Mutex::new(Proxies::new(lease)),
            changes: watch::Sender::new(0),
            streams: AtomicUsize::new(0),
            stream_ids: AtomicU64::new(0),
            closed: CancellationToken::new(),
        })
    }

    /// Sends a snapshot to every proxy. One that is not newer than the present one is ignored: false.
    pub fn publish(&self, snapshot: Snapshot) -> bool {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest
            .as_ref()
            .is_some_and(|newest| newest.version >= snapshot.version)
        {
            return false;
        }
        let built = Arc::new(Built::new(&snapshot, &self.config, newest.as_deref()));
        *newest = Some(built.clone());
        self.snapshots.send_replace(Some(built));
        true
    }

    /// Every proxy that is connected, or was within the lease, by node id; those of other replicas, too.
    pub fn proxies(&self) -> Vec<ProxyStatus> {
        let proxies = self.lock();
        proxies.status(&self.fleet(), self.clock.now())
    }

    /// Whether the proxies have accepted this generation of the endpoint's routes, or a newer one.
    pub fn applied(&self, endpoint: &EndpointName, generation: i64) -> Applied {
        let proxies = self.lock();
        proxies.applied(&self.fleet(), endpoint, generation, self.clock.now())
    }

    /// How many proxies have a stream to this replica.
    pub fn connected(&self) -> usize {
        self.lock().connected()
    }

    /// Rises with every stream that waits for the newest stored snapshot. Read it before the snapshot, for
    /// [`XdsHub::confirm`].
    pub fn wanted(&self) -> watch::Receiver<u64> {
        self.wanted.subscribe()
    }

    /// The stored snapshot was read after `wanted` was, and what it says was published.
    pub fn confirm(&self, wanted: u64) {
        self.confirmed.send_if_modified(|confirmed| {
            let newer = wanted > *confirmed;
            *confirmed = wanted.max(*confirmed);
            newer
        });
    }

    /// Wakes whoever tells other replicas of this one's proxies.
    pub fn untold(&self) -> Nudge {
        self.untold.clone()
    }

    /// What other replicas are to be told, once.
    pub fn take_untold(&self) -> Vec<OwnProxy> {
        self.lock().take_untold()
    }

    /// They could not be told: it is tried again.
    pub fn tell_again(&self, node_ids: impl IntoIterator<Item = String>) {
        self.lock().tell_again(node_ids);
        self.untold.notify();
    }

    /// The generation that is stored for a proxy and an endpoint, as far as it is known here.
    pub fn stored(&self, node_id: &str, endpoint: &EndpointName) -> Option<i64> {
        self.fleet().stored(node_id, endpoint)
    }

    /// What other replicas have stored of their proxies.
    pub fn learn(
        &self,
        proxies: Vec<OtherProxy>,
        accepted: Vec<(String, EndpointName, i64, Timestamp)>,
    ) {
        if proxies.is_empty() && accepted.is_empty() {
            return;
        }
        self.fleet().learn(proxies, accepted);
        self.change();
    }

    /// Which replicas are alive.
    pub fn set_alive(&self, alive: HashSet<String>) {
        let changed = self.fleet().set_alive(alive, self.clock.now());
        if changed {
            self.change();
        }
    }

    /// The proxy with this stream has a newer one to another replica.
    pub fn moved(&self, node_id: &str, stream: u64) {
        self.lock().moved(node_id, stream);
        self.change();
    }

    /// Those of other replicas that do not count any more, with their turns.
    pub fn lost(&self) -> Vec<(String, i64)> {
        let lease = self.config.proxy_lease();
        self.fleet().lost(lease, self.clock.now())
    }

    /// Forgets what other replicas have stored of these, unless they have come back.
    pub fn forget(&self, lost: &[(String, i64)]) {
        self.fleet().forget(lost);
    }

    /// Whether it is known here what is stored of a proxy.
    pub fn knows(&self, node_id: &str) -> bool {
        self.fleet().knows(node_id)
    }

    /// What is stored has gone back to these generations: what proxies have accepted beyond them is another history,
    /// and says nothing of what comes next. To be called before that is published.
    pub fn forget_newer(&self, newest: &HashMap<EndpointName, i64>) {
        self.lock().forget_newer(newest);
        self.fleet().forget_newer(newest);
        self.change();
    }

    /// Rises whenever a proxy comes, goes, accepts or refuses. The end of a lease does not: it is seen by
    /// asking again.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Ends every stream, and refuses new ones. Proxies go on with what they have.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Asks for the newest stored snapshot; the number to wait for in [`XdsHub::confirmed`].
    pub(super) fn want(&self) -> u64 {
        if !self.shared {
            return 0;
        }
        let mut ticket = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            ticket = *wanted;
        });
        ticket
    }

    pub(super) fn confirmed(&self) -> watch::Receiver<u64> {
        self.confirmed.subscribe()
    }

    pub(super) fn snapshots(&self) -> watch::Receiver<Option<Arc<Built>>> {
        self.snapshots.subscribe()
    }

    /// Takes one of the streams there may be; `None` if there are too many, or the hub is closed.
    pub(super) fn open(self: &Arc<Self>) -> Option<Stream> {
        let max = self.config.streams_max;
        let taken = self
            .streams
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < max).then_some(n + 1)
            });
        taken.ok()?;
        let stream = Stream {
            hub: self.clone(),
            id: self.stream_ids.fetch_add(1, Ordering::Relaxed),
            end: self.closed.child_token(),
            node_id: None,
        };
        (!self.closed.is_cancelled()).then_some(stream)
    }

    fn lock(&self) -> MutexGuard<'_, Proxies> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// One stream's hold on the hub. The proxy is disconnected when it is dropped, however the stream ends.
pub(super) struct Stream {
    hub: Arc<XdsHub>,
    id: u64,
    end: CancellationToken,
    node_id: Option<String>,
}

impl Stream {
    /// Cancelled when the hub closes, or when the proxy opens another stream.
    pub(super) fn end(&self) -> &CancellationToken {
        &self.end
    }

    pub(super) fn node_id(&self) -> Option<&str> {
        self.node_id.as_deref()
    }

    /// The stream's first request named its node.
    pub(super) fn identify(&mut self, node_id: &str) {
        self.node_id = Some(node_id.to_owned());
        let connected = {
            let mut proxies = self.hub.lock();
            proxies.connect(node_id, self.id, self.end.clone(), self.hub.clock.now());
            proxies.connected()
        };
        tracing::info!(node_id, connected, "proxy connected");
        self.hub.untold.notify();
        self.hub.change();
    }

    /// Notes what a request said; `synced` is the snapshot that the proxy has all of, if it has.
    pub(super) fn heard(&self, kind: Option<Kind>, heard: Heard, synced: Option<u64>) {
        let Some(node_id) = &self.node_id else { return };
        let now = self.hub.clock.now();
        let mut proxies = self.hub.lock();
        proxies.seen(node_id, self.id, now);
        if let Some(version) = synced {
            proxies.synced(node_id, self.id, version, now);
        }
        let changed = match (heard, kind) {
            (Heard::Accepted(routes), Some(kind)) => {
                proxies.accepted(node_id, self.id, kind, routes, now);
                true
            }
            (
                Heard::Refused {
                    kind,
                    version,
                    message,
                },
                _,
            ) => {
                metrics::proxy_refused();
                let what = kind.label();
                tracing::warn!(node_id, what, version, message, "proxy refused");
                let why = format!("version {version}: {}", shorten(&message));
                proxies.refused(node_id, self.id, kind, why, now);
                true
            }
            (Heard::Subscribed | Heard::Nothing | Heard::Accepted(_), _) => false,
        };
        drop(proxies);
        if changed || synced.is_some() {
            self.hub.untold.notify();
        }
        if changed {
            self.hub.change();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hub.streams.fetch_sub(1, Ordering::AcqRel);
        if let Some(node_id) = &self.node_id {
            let now: Timestamp = self.hub.clock.now();
            self.hub.lock().disconnect(node_id, self.id, now);
            tracing::info!(node_id, "proxy disconnected");
            self.hub.untold.notify();
            self.hub.change();
        }
    }
}

/// What a proxy says about a refusal repeats the configuration, which may be long.
fn shorten(message: &str) -> String {
    const SHOWN_MAX: usize = 1_000;
    match message.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
