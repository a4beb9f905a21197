//! Leases of two replicas. Those on PostgreSQL run with `-- --include-ignored`, see `db::tests::postgres`.

use std::{
    path::Path,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    migrate::Migrations,
    tasks::Nudge,
    testing::{POSTGRES, storage},
};

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[],
};
const LONG: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(3);
const TAKEOVER: Duration = Duration::from_millis(2_000);

struct Replica {
    leases: Leases,
    tasks: Tasks,
    db: Db,
}

impl Replica {
    async fn start(folder: &Path, name: &str) -> Self {
        assert!(
            std::env::var(POSTGRES).is_ok(),
            "this test needs a PostgreSQL server: start one with `deploy/local/stack up` and set {POSTGRES}"
        );
        let db = Db::open(&storage(folder), &TEST).await.unwrap();
        let config = ReplicaConfig {
            takeover_ms: TAKEOVER.as_millis() as u64,
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
        assert!(self.tasks.join(SOON).await.is_empty());
    }
}

async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

#[tokio::test]
async fn where_there_are_no_replicas_everything_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let storage = crate::db::StorageConfig::sqlite(&folder.path().join("a.db"));
    let db = Db::open(&storage, &TEST).await.unwrap();
    let instance = Instance::new("http://127.0.0.1:1");
    let leases = Leases::new(db, instance.clone(), &ReplicaConfig::default());
    leases.spawn(&Tasks::new(CancellationToken::new()));
    let lease = leases.campaign("a");
    assert!(lease.is_held() && lease.epoch() > 0);
    within(SOON, "a lease", lease.held()).await;
    assert!(leases.take("b").await.unwrap().unwrap().is_held());
    assert_eq!(leases.holder("a").await.unwrap(), Some(instance.clone()));
    assert_eq!(leases.replicas().await.unwrap(), [instance]);
    assert!(leases.holders("").await.unwrap().is_empty());
    let clone = lease.clone();
    lease.release().await.unwrap();
    assert!(!clone.is_held());
}

/// Nothing of the process runs while it is stopped: what it believes afterwards comes from the clock alone.
#[test]
fn a_process_that_was_stopped_knows_at_once_that_its_time_is_over() {
    let end = Instant::now() + Duration::from_millis(50);
    let tenure = claim::Tenure::Until { epoch: 1, end };
    let lease = Lease::new("relay", tenure, std::sync::Weak::new());
    assert!(lease.is_held());
    std::thread::sleep(Duration::from_millis(60));
    assert!(!lease.is_held());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn one_of_two_replicas_holds_and_a_planned_stop_hands_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let at_a = a.leases.campaign("relay");
    within(SOON, "the first holder", at_a.held()).await;
    let at_b = b.leases.campaign("relay");
    assert!(b.leases.take("relay").await.unwrap().is_none());
    let holder = b.leases.holder("relay").await.unwrap();
    assert_eq!(holder.as_ref(), Some(a.leases.instance()));
    let first = at_a.epoch();
    a.stop().await;
    assert!(!at_a.is_held());
    within(TAKEOVER / 4, "the second holder", at_b.held()).await;
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
#[ignore = "needs PostgreSQL"]
async fn the_work_of_a_killed_replica_is_taken_over_in_time_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let at_a = a.leases.campaign("relay");
    within(SOON, "the first holder", at_a.held()).await;
    let at_b = b.leases.campaign("relay");
    within(SOON, "both replicas", async {
        while b.leases.replicas().await.unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let killed = Instant::now();
    a.kill().await;
    let lost = async {
        at_a.lost().await;
        Instant::now()
    };
    let taken = async {
        at_b.held().await;
        Instant::now()
    };
    let (lost, taken) = within(TAKEOVER * 2, "the takeover", async {
        tokio::join!(lost, taken)
    })
    .await;
    assert!(lost < taken, "both held it for a while");
    assert!(taken - killed < TAKEOVER, "{:?}", taken - killed);
    assert_eq!(b.leases.replicas().await.unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_lease_is_let_go_of_with_its_last_clone_or_by_release() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let taken = a.leases.take("shard/1").await.unwrap().unwrap();
    assert!(a.leases.take("shard/1").await.unwrap().is_some());
    assert!(b.leases.take("shard/1").await.unwrap().is_none());
    // Kept for longer than it lasts by itself.
    tokio::time::sleep(TAKEOVER).await;
    assert!(taken.is_held());
    assert!(b.leases.take("shard/1").await.unwrap().is_none());
    drop(taken);
    let at_b = within(SOON, "the lease that was dropped", async {
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
#[ignore = "needs PostgreSQL"]
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
    within(SOON, "all leases", async {
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
    within(SOON, "all leases", async {
        while held(&leases[2]) < names.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn work_under_a_lease_ends_before_another_replica_begins_it() {
    let folder = tempfile::tempdir().unwrap();
    let a = Replica::start(folder.path(), "a").await;
    let b = Replica::start(folder.path(), "b").await;
    let at_work = Arc::new(AtomicI64::new(0));
    let runs = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    for (index, replica) in [&a, &b].into_iter().enumerate() {
        let (at_work, runs) = (at_work.clone(), runs.clone());
        let lease = replica.leases.campaign("slow");
        let period = Duration::from_millis(1);
        replica
            .tasks
            .every_while("slow", lease, period, Nudge::new(), move || {
                let (at_work, runs) = (at_work.clone(), runs.clone());
                async move {
                    assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    at_work.fetch_sub(1, Ordering::SeqCst);
                    runs[index].fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            });
    }
    let ran = |index: usize| {
        let runs = runs.clone();
        async move {
            let before = runs[index].load(Ordering::SeqCst);
            while runs[index].load(Ordering::SeqCst) < before + 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let first = within(SOON, "work", async {
        tokio::select! {
            () = ran(0) => 0,
            () = ran(1) => 1,
        }
    })
    .await;
    let (holder, other) = if first == 0 { (&a, &b) } else { (&b, &a) };
    holder.stop().await;
    within(SOON, "the other's work", ran(1 - first)).await;
    assert!(other.tasks.readiness().state() != crate::tasks::State::Failed(String::new()));
    assert_eq!(other.tasks.reports()["slow"].failures, 0);
}

#[tokio::test]
async fn a_loop_is_made_while_the_lease_is_held_and_cancelled_when_it_is_lost() {
    let tasks = Tasks::new(CancellationToken::new());
    let lease = Lease::always("loop");
    let (sender, mut heard) = tokio::sync::mpsc::channel(4);
    tasks.spawn_while("loop", lease.clone(), move |stop| {
        let sender = sender.clone();
        async move {
            let _ = sender.send("began").await;
            stop.cancelled().await;
            let _ = sender.send("ended").await;
        }
    });
    assert_eq!(heard.recv().await, Some("began"));
    lease.clone().release().await.unwrap();
    assert_eq!(heard.recv().await, Some("ended"));
    lease.set(claim::Tenure::Always);
    assert_eq!(within(SOON, "the loop", heard.recv()).await, Some("began"));
    assert!(tasks.join(LONG).await.is_empty());
    assert_eq!(heard.recv().await, Some("ended"));
    assert_eq!(heard.recv().await, None);
}
