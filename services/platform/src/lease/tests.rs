//! Leases where there are no replicas, and what a lease is by itself; `tests/postgres` has the replicas.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::migrate::Migrations;

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[],
};
const LONG: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(3);

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
    while Instant::now() <= end {
        std::thread::yield_now();
    }
    assert!(!lease.is_held());
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
