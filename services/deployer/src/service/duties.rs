//! What one replica does for all of them, and what it does for its node.
//!
//! Correctness does not hang on it. A holder that was stopped and wakes may act once more beside its
//! successor, and nothing comes of that: a tick, an observation and a verdict are looked at again in the
//! transaction that they change something in (generations, `service::decision`), a finding has its effect once
//! (the inbox, `service::incidents`), and a result is told only to a rollout that waits for it
//! (`service::work`). The leases keep replicas from doing everything several times, and from hearing one
//! another's lost streams.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::Db;
use slipway_platform::lease::{Lease, Leases};
use slipway_platform::names::RolloutName;
use tokio::sync::watch;

use crate::store::work::Taker;

/// The lease under which deadlines, proxies' acceptances and verdicts are turned into decisions.
const DECISIONS: &str = "decisions";
/// What the lease of a node is called, before its name.
const NODE: &str = "node ";

/// The longest that work which another replica has given up waits to be seen.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub struct Duties {
    leases: Leases,
    takeover: Duration,
    node: String,
    decisions: Lease,
    node_lease: Lease,
    adopted: AtomicBool,
    deciding: watch::Sender<Option<i64>>,
    untold: watch::Sender<Untold>,
}

/// Rollouts that do not know yet that this replica decides now. They move on by no verdict and by no deadline;
/// findings are acted on, all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// All that there are.
    All,
    /// These.
    These(HashSet<RolloutName>),
}

impl Duties {
    /// Campaigns for both. `node` is this node's name; what is lost is taken over within `takeover`.
    pub fn new(leases: Leases, node: &str, takeover: Duration) -> Self {
        Self {
            takeover,
            node: node.to_owned(),
            decisions: leases.campaign(DECISIONS),
            node_lease: leases.campaign(&format!("{NODE}{node}")),
            adopted: AtomicBool::new(false),
            deciding: watch::Sender::new(None),
            untold: watch::Sender::new(Untold::All),
            leases,
        }
    }

    /// This replica's id.
    pub fn replica(&self) -> &str {
        &self.leases.instance().id
    }

    /// The leases of this replica.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The lease of who decides.
    pub fn decisions(&self) -> &Lease {
        &self.decisions
    }

    /// The lease of this node: its holder alone works on what belongs to the node.
    pub fn node_lease(&self) -> &Lease {
        &self.node_lease
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// What ran on this node before is known from now on, or, at the end, not any more.
    pub fn set_adopted(&self, adopted: bool) {
        self.adopted.store(adopted, Ordering::Release);
    }

    /// The epoch under which this replica decides; `None`: another one does, or it has not begun.
    pub fn deciding(&self) -> watch::Receiver<Option<i64>> {
        self.deciding.subscribe()
    }

    /// This replica decides from now on, or not any more. At first it acts on findings alone, until rollouts
    /// were told ([`Duties::set_untold`]).
    pub fn set_deciding(&self, epoch: Option<i64>) {
        self.untold.send_replace(Untold::All);
        self.deciding.send_replace(epoch);
    }

    /// Which rollouts are still to be told.
    pub fn set_untold(&self, untold: Untold) {
        self.untold.send_replace(untold);
    }

    /// Changes with what was told.
    pub fn untold(&self) -> watch::Receiver<Untold> {
        self.untold.subscribe()
    }

    /// Whether a rollout may move on by what it hears from now on.
    pub fn moves_on(&self, rollout: &RolloutName) -> bool {
        match &*self.untold.borrow() {
            Untold::All => false,
            Untold::These(rollouts) => !rollouts.contains(rollout),
        }
    }

    /// Whether this replica decides.
    pub fn decides(&self) -> bool {
        self.deciding.borrow().is_some() && self.decisions.is_held()
    }

    /// Whether it decides still, under this epoch.
    pub fn decides_under(&self, epoch: i64) -> bool {
        *self.deciding.borrow() == Some(epoch) && self.decisions.is_held()
    }

    /// For taking work from the queue.
    pub async fn taker(&self, db: &Db) -> Result<Taker> {
        let works_here = self.adopted.load(Ordering::Acquire) && self.node_lease.is_held();
        let shared_now = match db.is_shared() {
            true => Some(db.now().await?),
            false => None,
        };
        Ok(Taker {
            replica: self.replica().to_owned(),
            node: works_here.then(|| self.node.clone()),
            shared_now,
        })
    }

    /// Until when work is claimed that is claimed, or renewed, at `now` by the database's clock.
    pub fn claim_until(&self, now: Timestamp) -> Timestamp {
        now + self.takeover * 3 / 4
    }

    /// How often claims are renewed.
    pub fn renew_every(&self) -> Duration {
        self.takeover / 4
    }

    /// How often it is looked for work that nothing announces, such as what a lost replica had claimed.
    pub fn look_every(&self) -> Duration {
        (self.takeover / 5).min(LOOK_MAX)
    }

    /// Those of these nodes of which no deployer is alive.
    pub async fn away<'a>(
        &self,
        db: &Db,
        nodes: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>> {
        let mut nodes: Vec<&str> = nodes.filter(|node| !node.is_empty()).collect();
        if nodes.is_empty() || !db.is_shared() {
            return Ok(Vec::new());
        }
        let held = self.leases.holders(NODE).await?;
        nodes.retain(|node| {
            let lease = format!("{NODE}{node}");
            !held.iter().any(|(name, _)| *name == lease)
        });
        Ok(nodes)
    }
}
