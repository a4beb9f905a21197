//! The way of an event from a transaction to its effect, with crashes, duplicates and disorder.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use slipway_proto::event::v1::{AliasMoved, VersionCreated};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    catalog::{ANOMALY_TOPIC, REGISTRY_TOPIC},
    consumer::{self, ConsumerOptions},
    log::DEFAULT_RETENTION,
    outbox::{self, RelayOptions},
    *,
};
use crate::{
    Error, Result,
    clock::{FakeClock, SharedClock, Timestamp},
    db::{Db, Tx},
    migrate::Migrations,
};

static PUBLISHER: Migrations = Migrations {
    name: "registry",
    steps: &[],
};
static RECEIVER: Migrations = Migrations {
    name: "receiver",
    steps: &[(
        "0001_init",
        "CREATE TABLE effects (n BIGINT NOT NULL, model TEXT NOT NULL)",
    )],
};

struct World {
    folder: tempfile::TempDir,
    clock: FakeClock,
    publisher: Db,
    receiver: Db,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        Self {
            publisher: Db::open(&open("publisher.db"), &PUBLISHER).await.unwrap(),
            receiver: Db::open(&open("receiver.db"), &RECEIVER).await.unwrap(),
            clock: FakeClock::new(Timestamp(1_000_000)),
            folder,
        }
    }

    fn clock(&self) -> SharedClock {
        self.clock.shared()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("events.db")
    }

    async fn log(&self) -> EmbeddedLog {
        EmbeddedLog::open(&self.log_path(), self.clock(), DEFAULT_RETENTION)
            .await
            .unwrap()
    }

    fn relay(&self, bus: &EmbeddedLog) -> Relay {
        Relay::new(self.publisher.clone(), Arc::new(bus.clone()), self.clock())
    }

    async fn publish(&self, model: &str, number: i64) {
        let mut tx = self.publisher.begin().await.unwrap();
        put(&mut tx, model, number).await;
        tx.commit().await.unwrap();
    }

    fn consume(&self, bus: Arc<dyn EventBus>, consumer: Arc<dyn Consumer>) -> Running {
        let shutdown = CancellationToken::new();
        let options = ConsumerOptions {
            attempts_max: 4,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(4),
        };
        let run = consumer::run_with(
            self.receiver.clone(),
            bus,
            consumer,
            self.clock(),
            shutdown.clone(),
            options,
        );
        Running {
            shutdown,
            task: tokio::spawn(run),
        }
    }

    async fn effects(&self) -> Vec<(i64, String)> {
        let mut reader = self.receiver.read().await.unwrap();
        sqlx::query_as("SELECT n, model FROM effects ORDER BY rowid")
            .fetch_all(&mut *reader)
            .await
            .unwrap()
    }
}

struct Running {
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

async fn put(tx: &mut Tx, model: &str, number: i64) {
    let data = VersionCreated {
        model: model.to_owned(),
        number,
        ..Default::default()
    };
    outbox::publish(
        tx,
        Timestamp(7),
        model,
        &format!("{model}/versions/{number}"),
        &data,
    )
    .await
    .unwrap();
}

/// Writes what it is told of into `effects`, and tells the test after the fact.
struct Writer {
    group: &'static str,
    handled: mpsc::UnboundedSender<i64>,
    fail: Box<dyn Fn(i64) -> Option<Error> + Send + Sync>,
}

impl Writer {
    fn new(group: &'static str) -> (Arc<Self>, mpsc::UnboundedReceiver<i64>) {
        Self::failing(group, |_| None)
    }

    fn failing(
        group: &'static str,
        fail: impl Fn(i64) -> Option<Error> + Send + Sync + 'static,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<i64>) {
        let (handled, receiver) = mpsc::unbounded_channel();
        (
            Arc::new(Self {
                group,
                handled,
                fail: Box::new(fail),
            }),
            receiver,
        )
    }
}

#[async_trait]
impl Consumer for Writer {
    fn group(&self) -> &'static str {
        self.group
    }

    fn topics(&self) -> &'static [&'static str] {
        &[REGISTRY_TOPIC]
    }

    async fn handle(&self, tx: &mut Tx, event: &Event) -> Result<()> {
        let created: VersionCreated = event.decode()?;
        sqlx::query("INSERT INTO effects (n, model) VALUES ($1, $2)")
            .bind(created.number)
            .bind(created.model)
            .execute(&mut *tx)
            .await?;
        if let Some(error) = (self.fail)(created.number) {
            return Err(error);
        }
        let _ = self.handled.send(created.number);
        Ok(())
    }
}

async fn next(receiver: &mut mpsc::UnboundedReceiver<i64>) -> i64 {
    tokio::time::timeout(Duration::from_secs(20), receiver.recv())
        .await
        .expect("an event is handled")
        .unwrap()
}

async fn deliver(subscription: &mut Box<dyn Subscription>) -> Delivery {
    tokio::time::timeout(Duration::from_secs(20), subscription.next())
        .await
        .expect("an event comes")
        .unwrap()
}

fn event(key: &str, sequence: i64, id: &str) -> Event {
    Event {
        id: id.to_owned(),
        source: "//slipway/registry".to_owned(),
        r#type: VersionCreated::TYPE.to_owned(),
        topic: REGISTRY_TOPIC.to_owned(),
        key: key.to_owned(),
        sequence,
        subject: key.to_owned(),
        time: Timestamp(9),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        data: format!("{{\"model\":\"{key}\",\"number\":\"{sequence}\"}}").into_bytes(),
    }
}

/// Publishes, and then says that it failed: what a crash between publishing and marking looks like.
struct CrashAfterPublish {
    log: EmbeddedLog,
    crash: AtomicBool,
}

#[async_trait]
impl EventBus for CrashAfterPublish {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.log.publish(events).await?;
        if self.crash.swap(false, Ordering::SeqCst) {
            return Err(Error::OutcomeUnknown {
                what: "publish".to_owned(),
            });
        }
        Ok(())
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        self.log.subscribe(group, topics).await
    }
}

#[tokio::test]
async fn events_travel_in_commit_order_with_a_sequence_per_key() {
    let world = World::new().await;
    let log = world.log().await;
    for (model, number) in [("a", 1), ("b", 1), ("a", 2)] {
        world.publish(model, number).await;
    }
    let mut lost = world.publisher.begin().await.unwrap();
    put(&mut lost, "a", 99).await;
    drop(lost);
    world.publish("a", 3).await;
    world.relay(&log).run_once().await.unwrap();
    world.relay(&log).run_once().await.unwrap();

    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let event = deliver(&mut subscription).await.event;
        assert_eq!(event.source, "//slipway/registry");
        assert_eq!(event.time, Timestamp(7));
        let data: VersionCreated = event.decode().unwrap();
        assert!(matches!(
            event.decode::<AliasMoved>(),
            Err(Error::Invalid(_))
        ));
        seen.push((event.key, event.sequence, data.number));
    }
    let expected = [("a", 1, 1), ("b", 1, 1), ("a", 2, 2), ("a", 3, 3)];
    assert_eq!(
        seen,
        expected.map(|(key, sequence, number)| (key.to_owned(), sequence, number))
    );
    let more = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
    assert!(more.is_err(), "nothing is published twice");
}

#[tokio::test]
async fn concurrent_publishers_leave_no_gap_and_no_disorder() {
    let world = World::new().await;
    let log = world.log().await;
    let relay = world.relay(&log);
    let writers: Vec<_> = (0..40)
        .map(|i| {
            let db = world.publisher.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                put(&mut tx, if i % 2 == 0 { "even" } else { "odd" }, i).await;
                tx.commit().await.unwrap();
            })
        })
        .collect();
    relay.run_once().await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    relay.run_once().await.unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut sequences = std::collections::BTreeMap::<String, Vec<i64>>::new();
    for _ in 0..40 {
        let event = deliver(&mut subscription).await.event;
        sequences.entry(event.key).or_default().push(event.sequence);
    }
    let dense: Vec<i64> = (1..=20).collect();
    assert_eq!(sequences["even"], dense);
    assert_eq!(sequences["odd"], dense);
}

#[tokio::test]
async fn a_crash_between_publish_and_mark_has_one_effect() {
    let world = World::new().await;
    let log = world.log().await;
    let bus = Arc::new(CrashAfterPublish {
        log: log.clone(),
        crash: AtomicBool::new(true),
    });
    let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
    world.publish("a", 1).await;
    world.publish("a", 2).await;
    assert!(relay.run_once().await.is_err());
    relay.run_once().await.unwrap();
    world.publish("a", 3).await;
    relay.run_once().await.unwrap();

    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus, writer);
    for expected in 1..=3 {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    assert_eq!(world.effects().await.len(), 3);
    let mut raw = log.subscribe("raw", &[REGISTRY_TOPIC]).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(deliver(&mut raw).await.event.id);
    }
    assert_eq!(
        (&ids[0], &ids[1]),
        (&ids[2], &ids[3]),
        "the first two were published twice"
    );
}

#[tokio::test]
async fn duplicates_and_older_events_have_no_effect() {
    let world = World::new().await;
    let log = world.log().await;
    let late = [
        event("a", 1, "1"),
        event("a", 3, "3"),
        event("a", 1, "1"),
        event("a", 2, "2"),
        event("b", 1, "b1"),
    ];
    log.publish(&late).await.unwrap();
    let mut foreign = event("a", 1, "1");
    foreign.source = "//elsewhere".to_owned();
    log.publish(&[foreign, event("a", 0, "unnumbered"), event("a", 4, "4")])
        .await
        .unwrap();
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(Arc::new(log), writer);
    for expected in [1, 3, 1, 1, 0, 4] {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    assert_eq!(world.effects().await.len(), 6);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_keeps_the_order() {
    let world = World::new().await;
    let log = world.log().await;
    let failures = Mutex::new(2);
    let (writer, mut handled) = Writer::failing("g", move |number| {
        let mut left = failures.lock().unwrap();
        (number == 1 && *left > 0).then(|| {
            *left -= 1;
            Error::Unavailable {
                what: "peer".to_owned(),
            }
        })
    });
    log.publish(&[event("a", 1, "1"), event("a", 2, "2"), event("b", 3, "3")])
        .await
        .unwrap();
    let running = world.consume(Arc::new(log), writer);
    for expected in 1..=3 {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    let numbers: Vec<i64> = world.effects().await.into_iter().map(|(n, _)| n).collect();
    assert_eq!(numbers, [1, 2, 3], "a rolled back attempt leaves nothing");
}

#[tokio::test]
async fn what_cannot_be_handled_becomes_a_dead_letter_with_its_reason() {
    let world = World::new().await;
    let log = world.log().await;
    let mut broken = event("a", 1, "broken");
    broken.data = b"{\"number\":\"NaN\"}".to_vec();
    log.publish(&[
        broken,
        event("a", 2, "lasting"),
        event("a", 3, "stubborn"),
        event("a", 4, "good"),
    ])
    .await
    .unwrap();
    let (writer, mut handled) = Writer::failing("g", |number| match number {
        2 => Some(Error::not_found("model", "a")),
        3 => Some(Error::unavailable("peer")),
        _ => None,
    });
    let bus: Arc<dyn EventBus> = Arc::new(log.clone());
    let running = world.consume(bus.clone(), writer);
    assert_eq!(next(&mut handled).await, 4);
    running.stop().await;
    assert_eq!(world.effects().await.len(), 1);

    Relay::new(world.receiver.clone(), bus, world.clock())
        .run_once()
        .await
        .unwrap();
    let mut letters = log.subscribe("people", &[DEAD_LETTER_TOPIC]).await.unwrap();
    for (id, reason) in [
        ("broken", "json"),
        ("lasting", "model a was not found"),
        ("stubborn", "peer"),
    ] {
        let letter = deliver(&mut letters).await.event;
        let data: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
        assert_eq!((&data["id"], &data["group"]), (&id.into(), &"g".into()));
        assert!(data["reason"].as_str().unwrap().contains(reason), "{data}");
        assert_eq!(letter.key, "a");
    }
}

#[tokio::test]
async fn a_log_opened_again_resumes_its_groups() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[event("a", 1, "1"), event("a", 2, "2"), event("a", 3, "3")])
        .await
        .unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let first = deliver(&mut subscription).await;
    subscription.commit(&first).await.unwrap();
    let second = deliver(&mut subscription).await;
    assert_eq!(second.event.id, "2");
    drop((subscription, log));

    let log = world.log().await;
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let again = deliver(&mut subscription).await;
    assert_eq!(
        again, second,
        "what was not committed comes again, unchanged"
    );
    subscription.commit(&again).await.unwrap();
    // An older position never moves the group back.
    subscription.commit(&first).await.unwrap();
    drop(subscription);
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    assert_eq!(deliver(&mut subscription).await.event.id, "3");
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_gone() {
    let world = World::new().await;
    let log = world.log().await;
    let second = EmbeddedLog::open(&world.log_path(), world.clock(), DEFAULT_RETENTION).await;
    assert!(matches!(
        second,
        Err(Error::Precondition {
            reason: "EVENT_LOG_IN_USE",
            ..
        })
    ));
    drop(log);
    world.log().await;
}

#[tokio::test]
async fn every_group_gets_every_event_and_one_member_at_a_time_works() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[event("a", 1, "1"), event("a", 2, "2")])
        .await
        .unwrap();
    for group in ["g1", "g2"] {
        let mut subscription = log.subscribe(group, &[REGISTRY_TOPIC]).await.unwrap();
        assert_eq!(deliver(&mut subscription).await.event.id, "1");
        assert_eq!(deliver(&mut subscription).await.event.id, "2");
    }
    let mut active = log.subscribe("g3", &[REGISTRY_TOPIC]).await.unwrap();
    let first = deliver(&mut active).await;
    active.commit(&first).await.unwrap();
    let mut standby = log.subscribe("g3", &[REGISTRY_TOPIC]).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(20), standby.next())
            .await
            .is_err()
    );
    drop(active);
    assert_eq!(deliver(&mut standby).await.event.id, "2");
}

#[tokio::test]
async fn topics_are_merged_in_log_order_and_a_new_topic_starts_at_its_beginning() {
    let world = World::new().await;
    let log = world.log().await;
    let on = |topic: &str, id: &str| Event {
        topic: topic.to_owned(),
        ..event("a", 0, id)
    };
    let events = [
        on(ANOMALY_TOPIC, "1"),
        on(REGISTRY_TOPIC, "2"),
        on("other", "3"),
        on(ANOMALY_TOPIC, "4"),
    ];
    log.publish(&events).await.unwrap();
    let mut narrow = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let delivery = deliver(&mut narrow).await;
    narrow.commit(&delivery).await.unwrap();
    drop(narrow);
    let mut wide = log
        .subscribe("g", &[REGISTRY_TOPIC, ANOMALY_TOPIC])
        .await
        .unwrap();
    assert_eq!(deliver(&mut wide).await.event.id, "1");
    assert_eq!(deliver(&mut wide).await.event.id, "4");
}

#[tokio::test]
async fn an_append_wakes_subscribers_without_polling() {
    let world = World::new().await;
    let log = world.log().await;
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    for round in 1..=50 {
        let waiting = tokio::spawn(async move {
            let delivery = deliver(&mut subscription).await;
            (subscription, delivery)
        });
        // Nothing but the append can end the wait: there is no timer in a subscription.
        log.publish(&[event("a", round, &round.to_string())])
            .await
            .unwrap();
        let delivery;
        (subscription, delivery) = waiting.await.unwrap();
        assert_eq!(delivery.event.sequence, round);
    }
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let world = World::new().await;
    let log = world.log().await;
    let events: Vec<Event> = (1..=300).map(|n| event("a", n, &n.to_string())).collect();
    log.publish(&events).await.unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 300 {
        if let Ok(delivery) =
            tokio::time::timeout(Duration::from_micros(200), subscription.next()).await
        {
            got.push(delivery.unwrap().event.sequence);
        }
    }
    assert_eq!(got, (1..=300).collect::<Vec<i64>>());
}

#[tokio::test]
async fn retention_deletes_old_events_and_old_rows() {
    let world = World::new().await;
    let log = world.log().await;
    let options = RelayOptions {
        outbox_retention: Duration::from_secs(60),
        ..RelayOptions::default()
    };
    let relay = Relay::with_options(
        world.publisher.clone(),
        Arc::new(log.clone()),
        world.clock(),
        options,
    );
    world.publish("a", 1).await;
    relay.run_once().await.unwrap();
    assert_eq!(log.collect().await.unwrap(), 0);
    world
        .clock
        .advance(DEFAULT_RETENTION + Duration::from_secs(1));
    world.publish("a", 2).await;
    relay.run_once().await.unwrap();
    assert_eq!(log.collect().await.unwrap(), 1);
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    assert_eq!(
        deliver(&mut subscription).await.event.sequence,
        2,
        "numbering goes on after a deletion"
    );
    let mut reader = world.publisher.read().await.unwrap();
    let left: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM slipway_outbox")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(left.0, 1);
}

#[tokio::test]
async fn a_consumer_stops_between_events_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    let log = world.log().await;
    let bus: Arc<dyn EventBus> = Arc::new(log.clone());
    log.publish(&[event("a", 1, "1")]).await.unwrap();
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus.clone(), writer.clone());
    assert_eq!(next(&mut handled).await, 1);
    running.stop().await;
    log.publish(&[event("a", 2, "2")]).await.unwrap();
    let running = world.consume(bus, writer);
    assert_eq!(next(&mut handled).await, 2);
    running.stop().await;
    assert_eq!(world.effects().await.len(), 2);
}
