//! What a replica knows of the others, and what it has to tell the links to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use slipway_platform::{
    Result,
    lease::{Instance, Leases},
    names::EndpointName,
};
use tokio::sync::{MutexGuard, broadcast, watch};

use super::engine::lock;
use super::{FailureDetector, Judge};
use crate::domain::books::Position;

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
    taking_up: tokio::sync::Mutex<()>,
    news: broadcast::Sender<LinkNews>,
    live: watch::Sender<Vec<Instance>>,
    /// Those that read our books, and how many streams each has.
    readers: Mutex<HashMap<String, u32>>,
    /// Those that were live when this one began.
    first: Mutex<Option<HashSet<String>>>,
    met: watch::Sender<bool>,
    judges: Mutex<HashMap<EndpointName, (Instant, Option<Judge>)>>,
}

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
            taking_up: tokio::sync::Mutex::default(),
            news: broadcast::channel(NEWS_MAX).0,
            live: watch::channel(Vec::new()).0,
            readers: Mutex::default(),
            first: Mutex::default(),
            met: watch::channel(!shared).0,
            judges: Mutex::default(),
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

    pub(super) async fn taking_up(&self) -> MutexGuard<'_, ()> {
        self.taking_up.lock().await
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
        self.replicas().set_live(live);
        self.engine().look(now);
        if let Some(ledger) = self.engine().ledger() {
            ledger.books().forget(self.unread_max(), now);
        }
        Ok(())
    }

    /// Like [`FailureDetector::judge_of`], from memory if the answer is young.
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
