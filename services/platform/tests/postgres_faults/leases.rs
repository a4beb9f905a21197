//! Leases and replicas after a time in which the database could not be reached.

use slipway_platform::{
    lease::{Instance, Leases, ReplicaConfig},
    tasks::Tasks,
};
use tokio_util::sync::CancellationToken;

use super::*;

/// A replica that was away for a while takes others for alive for seven tenths of it.
const TAKEOVER: Duration = Duration::from_secs(6);

struct Replica {
    leases: Leases,
    proxy: Proxy,
    tasks: Tasks,
}

impl Replica {
    async fn start(direct: &StorageConfig, name: &str) -> Self {
        let (storage, proxy) = behind(direct).await;
        let config = ReplicaConfig {
            takeover_ms: TAKEOVER.as_millis() as u64,
            ..ReplicaConfig::default()
        };
        let instance = Instance::new(format!("http://{name}"));
        let leases = Leases::new(open(&storage).await, instance, &config);
        let tasks = Tasks::new(CancellationToken::new());
        leases.spawn(&tasks);
        Self {
            leases,
            proxy,
            tasks,
        }
    }

    /// How many replicas live, as soon as that can be found out.
    async fn live(&self) -> usize {
        let mut live = None;
        until("an answer", async || {
            live = self.leases.replicas().await.ok();
            live.is_some()
        })
        .await;
        live.map_or(0, |live| live.len())
    }

    async fn stop(self) {
        self.proxy.forget();
        self.tasks.join(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_lost_stays_so_when_its_name_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let replica = Replica::start(&direct(folder.path()), "a").await;
    let lost = replica.leases.take("shard").await.unwrap().unwrap();
    assert!(lost.is_held());
    replica.proxy.vanish();
    within("the loss", lost.lost()).await;
    replica.proxy.forget();
    let mut taken = None;
    until("the lease", async || {
        taken = replica.leases.take("shard").await.ok().flatten();
        taken.is_some()
    })
    .await;
    let taken = taken.unwrap();
    assert!(taken.is_held() && !lost.is_held());
    // It is renewed, since it is there for longer than it lasts by itself, and the lost one is not.
    let renewed = tokio::time::timeout(TAKEOVER, taken.lost()).await;
    assert!(renewed.is_err() && !lost.is_held());
    // Letting go of the lost one lets go of nothing.
    lost.release().await.unwrap();
    assert!(taken.is_held());
    let holder = replica.leases.holder("shard").await.unwrap();
    assert_eq!(holder.as_ref(), Some(replica.leases.instance()));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_not_taken_for_lost_at_once_after_ones_own_outage() {
    let folder = tempfile::tempdir().unwrap();
    let direct = direct(folder.path());
    let a = Replica::start(&direct, "a").await;
    let b = Replica::start(&direct, "b").await;
    let c = Replica::start(&direct, "c").await;
    until("all replicas", async || a.live().await == 3).await;
    let held = a.leases.campaign("relay");
    within("a lease", held.held()).await;
    // The database is away for two of them, until the third has taken them for lost.
    a.proxy.vanish();
    b.proxy.vanish();
    within("the loss", held.lost()).await;
    until("both to be lost", async || c.live().await == 1).await;
    a.proxy.forget();
    // `a` is back first.
    within("the lease", held.held()).await;
    assert_eq!(a.live().await, 3, "b may be alive");
    until("b to be lost", async || a.live().await == 2).await;
    b.proxy.forget();
    until("b to be back", async || a.live().await == 3).await;
    a.stop().await;
    b.stop().await;
    c.stop().await;
}
