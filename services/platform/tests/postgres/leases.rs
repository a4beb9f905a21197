//! Leases of several replicas, on the database's clock.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use slipway_platform::{
    db::Db,
    lease::{Instance, Lease, Leases, ReplicaConfig},
    migrate::Migrations,
    tasks::{Nudge, Tasks},
    testing::postgres,
};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[],
};
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TAKEOVER: Duration = Duration::from_secs(4);
/// Nobody takes over in this time: what moves within [`PATIENCE`] was handed over.
const NEVER: Duration = Duration::from_secs(600);

struct Replica {
    leases: Leases,
    tasks: Tasks,
    db: Db,
}

impl Replica {
    async fn start(folder: &Path, name: &str) -> Self {
        Self::start_with(folder, name, TAKEOVER).await
    }

    async fn start_with(folder: &Path, name: &str, takeover: Duration) -> Self {
        let db = Db::open(&postgres(folder), &TEST).await.unwrap();
        let config = ReplicaConfig {
            takeover_ms: takeover.as_millis() as u64,
            ..Default::default()
        };
        let instance = Instance::new(format!("http://{name}"));
        let leases = Leases::new(db.clone(), instance, &config);
        let tasks = Tasks::new(CancellationToken::new());
        leases.spawn(&tasks);
        Self { leases, tasks, db }
    }

    /// Its connections are cut and it does nothing more, as after `kill -9`.
    async fn kill(&self) {
        self.db.close().await;
    }

    async fn stop(&self) {
        assert!(self.tasks.join(PATIENCE).await.is_empty());
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until `replica` takes so many for alive.
async fn live(replica: &Replica, count: usize) {
    within("the replicas", async {
        while replica.leases.replicas().await.unwrap().len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_of_two_replicas_holds_and_a_planned_stop_hands_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start_with(folder.path(), "a", NEVER).await;
    let b = Replica::start_with(folder.path(), "b", NEVER).await;
    let at_a = a.leases.campaign("relay");
    within("the first holder", at_a.held()).await;
    let at_b = b.leases.campaign("relay");
    assert!(b.leases.take("relay").await.unwrap().is_none());
    let holder = b.leases.holder("relay").await.unwrap();
    assert_eq!(holder.as_ref(), Some(a.leases.instance()));
    let first = at_a.epoch();
    a.stop().await;
    assert!(!at_a.is_held());
    within("the second holder", at_b.held()).await;
    assert!(at_b.epoch() > first);
    assert_eq!(
        b.leases.replicas().await.unwrap(),
        [b.leases.instance().clone()]
    );
    let holders = b.leases.holders("rel").await.unwrap();
    assert_eq!(holders, [("relay".to_owned(), b.leases.instance().clone())]);
    assert!(b.leases.holders("other").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_work_of_a_killed_replica_is_taken_over_and_not_before_it_has_lost_it() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let at_a = a.leases.campaign("relay");
    within("the first holder", at_a.held()).await;
    let at_b = b.leases.campaign("relay");
    live(&b, 2).await;
    a.kill().await;
    within("the takeover", at_b.held()).await;
    assert!(!at_a.is_held(), "both held it for a while");
    live(&b, 1).await;
}

#[tokio::test]
async fn a_lease_is_let_go_of_with_its_last_clone_or_by_release() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let taken = a.leases.take("shard/1").await.unwrap().unwrap();
    assert!(a.leases.take("shard/1").await.unwrap().is_some());
    assert!(b.leases.take("shard/1").await.unwrap().is_none());
    // Kept for longer than it lasts by itself.
    let begun = b.db.now().await.unwrap();
    while b.db.now().await.unwrap().since(begun) < TAKEOVER {
        assert!(b.leases.take("shard/1").await.unwrap().is_none());
    }
    assert!(taken.is_held());
    drop(taken);
    let at_b = within("the lease that was dropped", async {
        loop {
            if let Some(lease) = b.leases.take("shard/1").await.unwrap() {
                break lease;
            }
        }
    })
    .await;
    at_b.release().await.unwrap();
    let back = a.leases.take("shard/1").await.unwrap().unwrap();
    assert!(back.is_held());
}

#[tokio::test]
async fn many_leases_are_shared_and_none_is_held_twice() {
    let folder = tempfile::tempdir().unwrap();
    let replicas = [
        Replica::start(folder.path(), "a").await,
        Replica::start(folder.path(), "b").await,
        Replica::start(folder.path(), "c").await,
    ];
    let names: Vec<String> = (0..30).map(|i| format!("shard/{i:02}")).collect();
    let leases: Vec<Vec<Lease>> = replicas
        .iter()
        .map(|r| names.iter().map(|n| r.leases.campaign(n)).collect())
        .collect();
    let held = |of: &[Lease]| of.iter().filter(|lease| lease.is_held()).count();
    within("all leases", async {
        while leases.iter().map(|of| held(of)).sum::<usize>() < names.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for i in 0..names.len() {
        assert_eq!(leases.iter().filter(|of| of[i].is_held()).count(), 1);
    }
    replicas[0].stop().await;
    replicas[1].stop().await;
    within("all leases", async {
        while held(&leases[2]) < names.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Work that is at most at one place at once, and ends when the test lets it.
struct Work {
    places: AtomicUsize,
    begun: [Notify; 2],
    ends: Semaphore,
}

impl Work {
    async fn run(&self, place: usize) {
        let others = self.places.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two at once");
        self.begun[place].notify_one();
        self.ends.acquire().await.unwrap().forget();
        self.places.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn work_under_a_lease_ends_before_another_replica_begins_it() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let work = Arc::new(Work {
        places: AtomicUsize::new(0),
        begun: [Notify::new(), Notify::new()],
        ends: Semaphore::new(0),
    });
    for (place, replica) in [&a, &b].into_iter().enumerate() {
        let work = work.clone();
        let lease = replica.leases.campaign("slow");
        let period = Duration::from_millis(1);
        replica
            .tasks
            .every_while("slow", lease, period, Nudge::new(), move || {
                let work = work.clone();
                async move {
                    work.run(place).await;
                    Ok(())
                }
            });
    }
    let first = within("work", async {
        tokio::select! {
            () = work.begun[0].notified() => 0,
            () = work.begun[1].notified() => 1,
        }
    })
    .await;
    let (holder, other) = if first == 0 { (&a, &b) } else { (&b, &a) };
    let stopped = async {
        holder.stop().await;
        true
    };
    let refused = async {
        // While the work goes on, the other asks for longer than a lease lasts by itself, in vain.
        let begun = other.db.now().await.unwrap();
        while other.db.now().await.unwrap().since(begun) < TAKEOVER {
            assert!(other.leases.take("slow").await.unwrap().is_none());
        }
        work.ends.add_permits(100);
    };
    let (stopped, ()) = tokio::join!(stopped, refused);
    assert!(stopped);
    within("the other's work", work.begun[1 - first].notified()).await;
    assert_eq!(other.tasks.reports()["slow"].failures, 0);
}
