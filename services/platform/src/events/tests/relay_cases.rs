//! The relay: rows that become visible late, numbers, a bus that is away, what is too old.

use std::collections::BTreeMap;

use tokio::{sync::watch, time::Instant};

use super::*;
use crate::{
    lease::{Instance, Leases, ReplicaConfig},
    migrate,
    tasks::Tasks,
};

/// The numbers of publication with the keys and sequences of their events.
pub(super) async fn numbers(db: &Db) -> Vec<(i64, String, i64)> {
    sqlx::query_as(
        "SELECT published, event_key, sequence FROM slipway_outbox WHERE published IS NOT NULL ORDER BY published",
    )
    .fetch_all(&mut *db.read().await.unwrap())
    .await
    .unwrap()
}

async fn waiting(db: &Db) -> i64 {
    let row: (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM slipway_outbox WHERE published_at IS NULL")
            .fetch_one(&mut *db.read().await.unwrap())
            .await
            .unwrap();
    row.0
}

/// What was published of each key, first arrivals only.
pub(super) async fn arrivals(log: &EmbeddedLog, count: usize) -> BTreeMap<String, Vec<i64>> {
    let mut subscription = log.subscribe("arrivals", &[REGISTRY_TOPIC]).await.unwrap();
    let mut seen = BTreeMap::<String, Vec<i64>>::new();
    while seen.values().map(Vec::len).sum::<usize>() < count {
        let event = deliver(&mut subscription).await.into_event().unwrap();
        let sequences = seen.entry(event.key).or_default();
        if !sequences.contains(&event.sequence) {
            sequences.push(event.sequence);
        }
    }
    seen
}

/// Effects of the events of `world`, in the order in which they came about.
pub(super) async fn effects_of(
    world: &World,
    log: &EmbeddedLog,
    count: usize,
) -> Vec<(i64, String)> {
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(Arc::new(log.clone()), writer);
    for _ in 0..count {
        next(&mut handled).await;
    }
    running.stop().await;
    world.effects().await
}

#[tokio::test]
async fn a_row_that_becomes_visible_late_is_published_late_and_not_lost() {
    let world = World::new().await;
    let log = world.log().await;
    let relay = world.relay(&log);
    world.publish("a", 1).await;
    relay.run_once().await.unwrap();
    world.publish("b", 1).await;
    // As if another transaction had taken its position before that of `a`, and committed after it.
    let mut tx = world.publisher.begin().await.unwrap();
    sqlx::query("UPDATE slipway_outbox SET position = -1 WHERE published_at IS NULL")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    relay.run_once().await.unwrap();
    assert_eq!(
        numbers(&world.publisher).await,
        [(1, "a".to_owned(), 1), (2, "b".to_owned(), 1)]
    );
}

#[tokio::test]
async fn every_published_row_gets_the_next_number_in_the_order_of_positions() {
    let world = World::new().await;
    let log = world.log().await;
    let options = RelayOptions {
        batch_max: 3,
        ..RelayOptions::default()
    };
    let relay = Relay::with_options(
        world.publisher.clone(),
        Arc::new(log.clone()),
        world.clock(),
        options,
    );
    for number in 1..=7 {
        world
            .publish(if number % 2 == 0 { "even" } else { "odd" }, number)
            .await;
    }
    relay.run_once().await.unwrap();
    let found = numbers(&world.publisher).await;
    let dense: Vec<i64> = (1..=7).collect();
    assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), dense);
    let odd: Vec<i64> = found
        .iter()
        .filter(|row| row.1 == "odd")
        .map(|row| row.2)
        .collect();
    assert_eq!(odd, [1, 2, 3, 4]);
    assert_eq!(
        arrivals(&log, 7).await,
        BTreeMap::from([
            ("even".to_owned(), vec![1, 2, 3]),
            ("odd".to_owned(), vec![1, 2, 3, 4])
        ])
    );
}

/// Fails until it is told not to; each failure appends a part of the batch first.
struct FailingBus {
    log: EmbeddedLog,
    fails: AtomicBool,
    calls: Mutex<Vec<Instant>>,
}

impl FailingBus {
    fn new(log: &EmbeddedLog) -> Arc<Self> {
        Arc::new(Self {
            log: log.clone(),
            fails: AtomicBool::new(true),
            calls: Mutex::default(),
        })
    }

    fn calls(&self) -> Vec<Instant> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl EventBus for FailingBus {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.calls.lock().unwrap().push(Instant::now());
        if !self.fails.load(Ordering::SeqCst) {
            return self.log.publish(events).await;
        }
        self.log.publish(&events[..events.len() / 2]).await?;
        Err(Error::unavailable("broker"))
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        self.log.subscribe(group, topics).await
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.log.health()
    }
}

#[tokio::test]
async fn a_batch_of_which_a_part_went_out_is_repeated_whole() {
    let world = World::new().await;
    let log = world.log().await;
    let bus = FailingBus::new(&log);
    let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
    for number in 1..=5 {
        world.publish("a", number).await;
    }
    assert!(relay.run_once().await.is_err());
    assert_eq!(
        waiting(&world.publisher).await,
        5,
        "nothing is taken for published"
    );
    bus.fails.store(false, Ordering::SeqCst);
    relay.run_once().await.unwrap();
    let expected: Vec<_> = (1..=5).map(|n| (n, "a".to_owned())).collect();
    assert_eq!(effects_of(&world, &log, 5).await, expected);
}

#[tokio::test]
async fn a_bus_that_is_away_is_asked_less_and_less_often_and_gets_everything_in_order() {
    let world = World::new().await;
    let log = world.log().await;
    let bus = FailingBus::new(&log);
    let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let (relay, stop) = (relay.clone(), stop.clone());
        async move { relay.run(stop).await }
    });
    // Every commit nudges the relay, which must not make it ask more often.
    let mut number = 0;
    while bus.calls().len() < 4 {
        number += 1;
        world.publish("a", number).await;
    }
    let calls = bus.calls();
    for (n, least) in [100, 200, 400].into_iter().enumerate() {
        let waited = calls[n + 1] - calls[n];
        assert!(waited >= Duration::from_millis(least), "{waited:?}");
    }
    bus.fails.store(false, Ordering::SeqCst);
    let count = usize::try_from(number).unwrap();
    let dense: Vec<i64> = (1..=number).collect();
    assert_eq!(arrivals(&log, count).await["a"], dense);
    stop.cancel();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_relay_that_is_stopped_publishes_nothing_more() {
    let world = World::new().await;
    let log = world.log().await;
    let stop = CancellationToken::new();
    stop.cancel();
    world.publish("a", 1).await;
    world.relay(&log).run(stop).await.unwrap();
    assert_eq!(waiting(&world.publisher).await, 1);
}

#[tokio::test]
async fn what_is_not_published_is_never_too_old() {
    let world = World::new().await;
    let log = world.log().await;
    let bus = FailingBus::new(&log);
    let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
    world.publish("a", 1).await;
    bus.fails.store(false, Ordering::SeqCst);
    relay.run_once().await.unwrap();
    bus.fails.store(true, Ordering::SeqCst);
    world.publish("a", 2).await;
    world.clock.advance(Duration::from_secs(400 * 24 * 3600));
    assert!(relay.run_once().await.is_err());
    assert!(
        numbers(&world.publisher).await.is_empty(),
        "what is published was deleted"
    );
    assert_eq!(waiting(&world.publisher).await, 1);
    bus.fails.store(false, Ordering::SeqCst);
    relay.run_once().await.unwrap();
    assert_eq!(numbers(&world.publisher).await, [(2, "a".to_owned(), 2)]);
}

#[tokio::test]
async fn an_event_that_no_bus_would_take_fails_its_transaction() {
    let world = World::new().await;
    let mut tx = world.publisher.begin().await.unwrap();
    let data = VersionCreated {
        model: "x".repeat(outbox::DATA_BYTES_MAX),
        ..Default::default()
    };
    let refused = outbox::publish(&mut tx, Timestamp(1), "k", "s", &data).await;
    assert!(
        matches!(refused, Err(Error::Internal { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_outbox_of_before_gets_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let url = format!("sqlite:{}?mode=rwc", path.display());
    crate::db::install_drivers();
    let mut conn = <sqlx::AnyConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    static BEFORE: Migrations = Migrations {
        name: "platform",
        steps: &[(
            "0001_events",
            include_str!("../../../migrations/0001_events.sql"),
        )],
    };
    let clock = FakeClock::new(Timestamp(1));
    migrate::apply(
        &mut conn,
        migrate::Dialect::Sqlite,
        &[&BEFORE],
        &clock,
        "a.db",
    )
    .await
    .unwrap();
    sqlx::raw_sql(
        "UPDATE slipway_counters SET value = 9 WHERE name = 'outbox'; \
         INSERT INTO slipway_outbox (position, id, type, topic, event_key, sequence, subject, time, data, published_at) \
         VALUES (7, 'x', 't', 'o', 'k', 1, 's', 1, '{}', 5), (8, 'y', 't', 'o', 'k', 2, 's', 1, '{}', 5), \
         (9, 'z', 't', 'o', 'k', 3, 's', 1, '{}', NULL);",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    drop(conn);
    let db = Db::open(&crate::db::StorageConfig::sqlite(&path), &PUBLISHER)
        .await
        .unwrap();
    assert_eq!(outbox::newest(&db).await.unwrap(), (8, 6));
    let found: Vec<i64> = numbers(&db).await.iter().map(|row| row.0).collect();
    assert_eq!(found, [7, 8]);
}

#[tokio::test]
async fn what_waits_and_for_how_long_is_measured() {
    static MEASURED: Migrations = Migrations {
        name: "measured",
        steps: &[],
    };
    let world = World::new().await;
    let log = world.log().await;
    let db = Db::open(&storage(&world.folder.path().join("measured")), &MEASURED)
        .await
        .unwrap();
    let bus = FailingBus::new(&log);
    for number in 1..=3 {
        let mut tx = db.begin().await.unwrap();
        put(&mut tx, "a", number).await;
        tx.commit().await.unwrap();
    }
    // Events of these tests happen at 7 µs.
    world.clock.set(Timestamp(90_000_007));
    let tasks = Tasks::new(CancellationToken::new());
    let leases = Leases::new(db.clone(), Instance::new("a"), &ReplicaConfig::default());
    leases.spawn(&tasks);
    let relay = Relay::new(db, bus.clone(), world.clock());
    relay.spawn_while(&tasks, leases.campaign("outbox relay"));
    let waiting = |expected: f64, age: f64| async move {
        let shown = async {
            while metric("slipway_outbox_waiting", "measured") != Some(expected)
                || metric("slipway_outbox_age", "measured") != Some(age)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), shown)
            .await
            .expect("it is measured");
    };
    waiting(3.0, 90.0).await;
    bus.fails.store(false, Ordering::SeqCst);
    waiting(0.0, 0.0).await;
    assert!(tasks.join(Duration::from_secs(20)).await.is_empty());
}
