//! The way of an event from a transaction to its effect, with crashes, duplicates and disorder.

mod concurrent_cases;
mod dead_letter_cases;
mod flow_cases;
mod handover_cases;
mod kafka_cases;
mod log_cases;
mod parking_cases;
mod patience_cases;
mod relay_cases;
mod retention_cases;
mod version_cases;
mod watch_cases;

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
    testing::storage,
};

static PUBLISHER: Migrations = Migrations {
    name: "registry",
    steps: &[],
};
static RECEIVER: Migrations = Migrations {
    name: "receiver",
    steps: &[(
        "0001_init",
        "CREATE TABLE effects (place BIGINT NOT NULL, n BIGINT NOT NULL, model TEXT NOT NULL)",
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
        let open = |name: &str| storage(&folder.path().join(name));
        Self {
            publisher: Db::open(&open("publisher"), &PUBLISHER).await.unwrap(),
            receiver: Db::open(&open("receiver"), &RECEIVER).await.unwrap(),
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
            patience: Duration::from_secs(20),
            storage_backoff_max: Duration::from_millis(4),
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
        sqlx::query_as("SELECT n, model FROM effects ORDER BY place")
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
        sqlx::query("INSERT INTO effects (place, n, model) SELECT COUNT(*), $1, $2 FROM effects")
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
    tokio::time::timeout(Duration::from_secs(60), receiver.recv())
        .await
        .expect("an event is handled")
        .unwrap()
}

async fn deliver(subscription: &mut Box<dyn Subscription>) -> Delivery {
    tokio::time::timeout(Duration::from_secs(60), subscription.next())
        .await
        .expect("an event comes")
        .unwrap()
}

async fn deliver_event(subscription: &mut Box<dyn Subscription>) -> Event {
    deliver(subscription).await.into_event().unwrap()
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
    log: Arc<dyn EventBus>,
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

    fn health(&self) -> tokio::sync::watch::Receiver<BusHealth> {
        self.log.health()
    }
}

/// The value of a metric for what `wanted` names, as `/metrics` shows it; `None` before its first one.
fn metric(name: &str, wanted: &str) -> Option<f64> {
    let text = crate::metrics::text().unwrap();
    let quoted = format!("\"{wanted}\"");
    let of = |line: &&str| line.starts_with(name) && line.contains(&quoted);
    let value = text.lines().find(of)?.rsplit(' ').next()?;
    value.parse().ok()
}

/// How often a consumer group has tried again.
fn retries(group: &str) -> u64 {
    metric("slipway_event_retries", group).unwrap_or(0.0) as u64
}
