//! What a replica knows of the others, and what it has to tell the links to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use slipway_platform::{
    Result,
    clock::Timestamp,
    lease::{Instance, Leases},
    names::EndpointName,
};
use tokio::sync::{MutexGuard, broadcast, watch};

use super::engine::lock;
use super::judges::moved;
use super::{FailureDetector, Judge};
use crate::domain::absent::Absent;
use crate::domain::books::Position;
use crate::store;

/// What a link to another replica has to pass on.
#[derive(Debug, Clone)]
pub enum LinkNews {
    /// This replica judges the endpoint from now on.
    Wanted(EndpointName),
    /// It has stopped, since nobody watches.
    Done(EndpointName),
    /// Another replica judges it.
    Left(EndpointName),
    /// What is stored of the books, by the replica whose they are.
    Stored(EndpointName, BTreeMap<String, Position>),
}

/// The other replicas.
pub struct Replicas {
    leases: Leases,
    taking_up: [tokio::sync::Mutex<()>; LOCKS],
    news: broadcast::Sender<LinkNews>,
    live: watch::Sender<Vec<Instance>>,
    /// Those that read our books, and how many streams each has.
    readers: Mutex<HashMap<String, u32>>,
    /// Those that were live when this one began.
    first: Mutex<Option<HashSet<String>>>,
    met: watch::Sender<bool>,
    judges: Mutex<HashMap<EndpointName, (Instant, Option<Judge>)>>,
    absent: Mutex<Absent>,
}

/// An endpoint is taken up, or let go, by one at a time; those that share a lock wait for each other.
const LOCKS: usize = 64;
/// How long it is known up to where the books of a replica are counted that is not alive. One that only slept may come
/// back with its books; a run that has ended never does.
const POSITIONS_KEPT: Duration = Duration::from_secs(3_600);

/// News that a link may lag behind before it begins anew.
const NEWS_MAX: usize = 4_096;
/// How long an answer about who judges is believed where a wrong one does no harm.
const BELIEVED: Duration = Duration::from_secs(1);
/// Endpoints about which it is remembered.
const JUDGES_MAX: usize = 10_000;

impl Replicas {
    pub(super) fn new(leases: Leases, shared: bool) -> Self {
        Self {
            leases,
            taking_up: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            news: broadcast::channel(NEWS_MAX).0,
            live: watch::channel(Vec::new()).0,
            readers: Mutex::default(),
            first: Mutex::default(),
            met: watch::channel(!shared).0,
            judges: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// The leases of this replica.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The other replicas that are alive.
    pub fn live(&self) -> watch::Receiver<Vec<Instance>> {
        self.live.subscribe()
    }

    /// What the links have to pass on from now on.
    pub fn news(&self) -> broadcast::Receiver<LinkNews> {
        self.news.subscribe()
    }

    /// Becomes true when every replica that was alive before this one listens to it; until then, what proxies report
    /// here might be reported to nobody.
    pub fn met(&self) -> watch::Receiver<bool> {
        self.met.subscribe()
    }

    pub(super) fn say(&self, news: LinkNews) {
        // Without links nobody has to hear it.
        let _ = self.news.send(news);
    }

    /// Until this is dropped, nobody else takes the endpoint up or lets it go.
    pub(super) async fn taking_up(&self, endpoint: &EndpointName) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        endpoint.hash(&mut hasher);
        let lock = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        self.taking_up[lock].lock().await
    }

    /// Until these are dropped, nobody takes any endpoint up.
    pub(super) async fn taking_up_all(&self) -> Vec<MutexGuard<'_, ()>> {
        let mut all = Vec::with_capacity(LOCKS);
        for lock in &self.taking_up {
            all.push(lock.lock().await);
        }
        all
    }

    pub(super) fn reader_came(&self, replica: &str) {
        *lock(&self.readers).entry(replica.to_owned()).or_default() += 1;
        self.meet();
    }

    pub(super) fn reader_left(&self, replica: &str) {
        let mut readers = lock(&self.readers);
        if let Some(streams) = readers.get_mut(replica) {
            *streams -= 1;
            if *streams == 0 {
                readers.remove(replica);
            }
        }
    }

    fn set_live(&self, live: Vec<Instance>) {
        let ids: HashSet<String> = live.iter().map(|instance| instance.id.clone()).collect();
        {
            let mut first = lock(&self.first);
            match first.as_mut() {
                Some(first) => first.retain(|id| ids.contains(id)),
                None => *first = Some(ids),
            }
        }
        self.live.send_if_modified(|known| {
            let changed = *known != live;
            *known = live;
            changed
        });
        self.meet();
    }

    fn meet(&self) {
        let readers = lock(&self.readers);
        let first = lock(&self.first);
        let met = first
            .as_ref()
            .is_some_and(|first| first.iter().all(|id| readers.contains_key(id)));
        if met {
            self.met
                .send_if_modified(|met| !std::mem::replace(met, true));
        }
    }
}

impl FailureDetector {
    /// Looks who is alive.
    pub async fn look_for_replicas(&self) -> Result<()> {
        let leases = self.replicas().leases();
        let own = leases.instance().id.clone();
        let mut live = leases.replicas().await?;
        live.retain(|instance| instance.id != own);
        live.sort_by(|a, b| a.id.cmp(&b.id));
        let names: Vec<(String, String)> = live
            .iter()
            .map(|instance| (instance.id.clone(), instance.address.clone()))
            .collect();
        let now = self.now();
        self.engine().logs().set_live(&names, now);
        let ids = live.iter().map(|instance| instance.id.clone()).collect();
        self.forget_absent(ids, now);
        self.replicas().set_live(live);
        self.engine().look(now);
        if let Some(ledger) = self.engine().ledger() {
            ledger.books().forget(self.unread_max(), now);
        }
        Ok(())
    }

    /// Forgets how far the books of replicas were counted that are long gone.
    fn forget_absent(&self, live: HashSet<String>, now: Timestamp) {
        let cells = self.engine().all();
        let mut known = HashSet::new();
        for cell in &cells {
            let state = cell.lock();
            let replicas = state.positions.keys().filter(|id| !live.contains(*id));
            known.extend(replicas.cloned());
        }
        let gone = lock(&self.replicas().absent).look(known, POSITIONS_KEPT, now);
        if !gone.is_empty() {
            for cell in cells {
                cell.lock().forget_positions(&gone);
            }
        }
    }

    /// Like [`FailureDetector::judge_of`], from memory if the answer is young. Fails while the judge is changing, so
    /// that `None` says that nobody watches.
    pub async fn judge_of_lately(&self, endpoint: &EndpointName) -> Result<Option<Judge>> {
        let judges = &self.replicas().judges;
        let known = lock(judges).get(endpoint).cloned();
        if let Some((at, judge)) = known
            && at.elapsed() <= BELIEVED
            && judge != Some(Judge::Here)
        {
            return Ok(judge);
        }
        let judge = self.judge_of(endpoint).await?;
        if judge.is_none() {
            let mut reader = self.db().read().await?;
            if store::judges::is_judged(&mut reader, endpoint).await? {
                return Err(moved(endpoint));
            }
        }
        let mut judges = lock(judges);
        if judges.len() >= JUDGES_MAX {
            judges.clear();
        }
        judges.insert(endpoint.clone(), (Instant::now(), judge.clone()));
        Ok(judge)
    }

    /// How long a book is kept that nobody reads: until a lost judge is replaced, and as long again as a proxy is
    /// waited for.
    fn unread_max(&self) -> Duration {
        let settings = self.config();
        Duration::from_millis(settings.replicas.takeover_ms + settings.judgement.proxy_lease_ms)
    }
}
