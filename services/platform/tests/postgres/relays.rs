//! Replicas with a relay each: one of them publishes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use slipway_platform::{
    Result,
    clock::{Clock, SystemClock},
    db::Db,
    events::{BusHealth, EmbeddedLog, Event, EventBus, Relay, Subscription, catalog, log, outbox},
    lease::{Instance, Leases, ReplicaConfig},
    metrics,
    migrate::Migrations,
    tasks::Tasks,
    testing::postgres,
};
use slipway_proto::event::v1::VersionCreated;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

static PUBLISHER: Migrations = Migrations {
    name: "registry",
    steps: &[],
};
const PATIENCE: Duration = Duration::from_secs(60);

async fn publish(db: &Db, numbers: std::ops::RangeInclusive<i64>) {
    for number in numbers {
        let data = VersionCreated {
            model: "a".to_owned(),
            number,
            ..Default::default()
        };
        let mut tx = db.begin().await.unwrap();
        let subject = format!("a/versions/{number}");
        outbox::publish(&mut tx, SystemClock.now(), "a", &subject, &data)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

/// The sequences of what arrives, in the order of arrival, until there are `count`.
async fn arrivals(log: &EmbeddedLog, count: usize) -> Vec<i64> {
    let topics = [catalog::REGISTRY_TOPIC];
    let mut subscription = log.subscribe("arrivals", &topics).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
        let delivery = next.expect("an event comes").unwrap();
        seen.push(delivery.into_event().unwrap().sequence);
    }
    seen
}

/// A replica with leases and a relay of its own, and how much it has published.
struct Leased {
    tasks: Tasks,
    holding: Tasks,
    bus: Arc<CountingBus>,
}

struct CountingBus {
    log: EmbeddedLog,
    published: Mutex<usize>,
}

#[async_trait]
impl EventBus for CountingBus {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.log.publish(events).await?;
        *self.published.lock().unwrap() += events.len();
        Ok(())
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        self.log.subscribe(group, topics).await
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.log.health()
    }
}

impl Leased {
    fn start(db: &Db, log: &EmbeddedLog, address: &str) -> Self {
        let tasks = Tasks::new(CancellationToken::new());
        let holding = Tasks::new(CancellationToken::new());
        let instance = Instance::new(address);
        let leases = Leases::new(db.clone(), instance, &ReplicaConfig::default());
        leases.spawn(&holding);
        let bus = Arc::new(CountingBus {
            log: log.clone(),
            published: Mutex::new(0),
        });
        let relay = Relay::new(db.clone(), bus.clone(), SystemClock::shared());
        relay.spawn_while(&tasks, leases.campaign("outbox relay"));
        Self {
            tasks,
            holding,
            bus,
        }
    }

    fn published(&self) -> usize {
        *self.bus.published.lock().unwrap()
    }

    async fn stop(self) {
        self.tasks.join(Duration::from_secs(5)).await;
        self.holding.join(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn one_replica_publishes_and_the_next_one_goes_on_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&postgres(folder.path()), &PUBLISHER)
        .await
        .unwrap();
    let path = folder.path().join("events.db");
    let log = EmbeddedLog::open(&path, SystemClock::shared(), log::DEFAULT_RETENTION)
        .await
        .unwrap();
    let replicas = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
    let [first, second] = replicas.map(|address| Leased::start(&db, &log, address));
    publish(&db, 1..=5).await;
    assert_eq!(arrivals(&log, 5).await, [1, 2, 3, 4, 5]);
    let counts = (first.published(), second.published());
    assert!(counts == (5, 0) || counts == (0, 5), "{counts:?}");
    let (holder, other) = if counts.0 == 5 {
        (first, second)
    } else {
        (second, first)
    };
    holder.stop().await;
    publish(&db, 6..=8).await;
    assert_eq!(arrivals(&log, 8).await, (1..=8).collect::<Vec<i64>>());
    assert_eq!(other.published(), 3);
    other.stop().await;
}

#[tokio::test]
async fn what_waits_is_measured_also_where_nobody_publishes() {
    static MEASURED: Migrations = Migrations {
        name: "measured",
        steps: &[],
    };
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&postgres(folder.path()), &MEASURED).await.unwrap();
    let path = folder.path().join("events.db");
    let log = EmbeddedLog::open(&path, SystemClock::shared(), log::DEFAULT_RETENTION)
        .await
        .unwrap();
    publish(&db, 1..=3).await;
    let tasks = Tasks::new(CancellationToken::new());
    // Nothing keeps these leases, so nobody ever holds the relay's.
    let leases = Leases::new(db.clone(), Instance::new("a"), &ReplicaConfig::default());
    let relay = Relay::new(db, Arc::new(log), SystemClock::shared());
    relay.spawn_while(&tasks, leases.campaign("outbox relay"));
    let measured = async {
        let shown = r#"slipway_outbox_waiting{slipway_service="measured"} 3"#;
        while !metrics::text().unwrap().lines().any(|line| line == shown) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, measured)
        .await
        .expect("what waits is measured");
    assert!(tasks.join(PATIENCE).await.is_empty());
}
