//! The embedded event bus: a durable log in one SQLite file that belongs to one process.
//!
//! Events have one total order, the order of `publish`; a consumer group keeps an offset per topic.
//! A lock file beside the database keeps a second process out; the operating system drops the lock with
//! the process, so a crash never leaves the log closed. Subscribers are woken by the append itself.
//!
//! Appends are durable against loss of power before `publish` returns. Offsets are durable against the
//! crash of the process only: losing one repeats a delivery, which an inbox suppresses.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::File,
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Row, any::AnyRow};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::{
    Error, Result,
    clock::{SharedClock, Timestamp},
    db::{self, Db, StorageConfig},
    events::{BusHealth, Delivery, Event, EventBus, Position, Received, Subscription, trace},
    migrate::Migrations,
    tasks::{Nudge, Tasks},
    telemetry,
};

static MIGRATIONS: Migrations = Migrations {
    name: "event-log",
    steps: &[(
        "0001_log",
        include_str!("../../migrations/0001_event_log.sql"),
    )],
};

/// Events that a subscription reads ahead.
const READ_AHEAD: i64 = 128;
/// Topics that one subscription may name.
const TOPICS_MAX: usize = 16;
/// Events that one collection deletes at most.
const COLLECT_LIMIT: i64 = 10_000;
/// Collections that follow each other at most; appends have their turn in between.
const COLLECTIONS_MAX: usize = 100;

/// How often old events are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

/// How long events are kept unless said otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The embedded log; clones are handles to the same one.
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    clock: SharedClock,
    retention: Duration,
    /// The newest position; its change wakes subscribers.
    newest: watch::Sender<i64>,
    /// A file that is open can be used.
    health: watch::Sender<BusHealth>,
    /// One active subscription per group; the next one waits its turn.
    groups: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// Held while the log is open.
    _lock: File,
}

impl EmbeddedLog {
    /// Opens the log at `path` (`…/events.db`), creating it when it is missing. `Precondition`
    /// `EVENT_LOG_IN_USE` when another process has it open.
    pub async fn open(path: &Path, clock: SharedClock, retention: Duration) -> Result<Self> {
        let lock = db::lock(path)?.ok_or_else(|| {
            let why = "another process has this event log open; stop it or use another data folder";
            Error::precondition("EVENT_LOG_IN_USE", path.display(), why)
        })?;
        let db = Db::open(&StorageConfig::sqlite(path), &MIGRATIONS).await?;
        let newest: (Option<i64>,) = sqlx::query_as("SELECT MAX(position) FROM event_log")
            .fetch_one(&mut *db.read().await?)
            .await?;
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                clock,
                retention,
                newest: watch::channel(newest.0.unwrap_or(0)).0,
                health: watch::channel(BusHealth::Ok).0,
                groups: Mutex::default(),
                _lock: lock,
            }),
        })
    }

    /// Deletes old events in the background, for as long as `tasks` run.
    pub fn spawn(&self, tasks: &Tasks) {
        let log = self.clone();
        tasks.every(
            "event log retention",
            COLLECT_EVERY,
            Nudge::new(),
            move || {
                let log = log.clone();
                async move { log.collect_all().await }
            },
        );
    }

    /// Deletes events that are older than the retention, read or not; a bounded number at a time. Returns
    /// how many.
    pub async fn collect(&self) -> Result<u64> {
        let before = self
            .inner
            .clock
            .now()
            .0
            .saturating_sub(self.inner.retention.as_micros() as i64);
        let mut tx = self.inner.db.begin().await?;
        let deleted = sqlx::query(
            "DELETE FROM event_log WHERE position IN \
             (SELECT position FROM event_log WHERE appended_at < $1 ORDER BY position LIMIT $2)",
        )
        .bind(before)
        .bind(COLLECT_LIMIT)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    async fn collect_all(&self) -> Result<()> {
        for _ in 0..COLLECTIONS_MAX {
            if self.collect().await? < COLLECT_LIMIT as u64 {
                break;
            }
        }
        Ok(())
    }

    async fn append(&self, events: &[Event]) -> Result<()> {
        let now = self.inner.clock.now();
        let mut tx = self.inner.db.begin().await?;
        let mut position = 0;
        // They end when the events are durable.
        let mut spans = Vec::with_capacity(events.len());
        for event in events {
            let span = trace::sending(self.system(), event);
            let traceparent = telemetry::traceparent_of(&span);
            spans.push(span);
            let row: (i64,) = sqlx::query_as(
                "INSERT INTO event_log (topic, event_key, id, source, type, sequence, subject, time, traceparent, data, appended_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING position",
            )
            .bind(event.topic.as_str())
            .bind(event.key.as_str())
            .bind(event.id.as_str())
            .bind(event.source.as_str())
            .bind(event.r#type.as_str())
            .bind(event.sequence)
            .bind(event.subject.as_str())
            .bind(event.time.0)
            .bind(traceparent.or_else(|| event.traceparent.clone()))
            .bind(event.data.as_slice())
            .bind(now.0)
            .fetch_one(&mut *tx)
            .await?;
            position = row.0;
        }
        tx.commit().await?;
        self.inner.newest.send_replace(position);
        Ok(())
    }
}

#[async_trait]
impl EventBus for EmbeddedLog {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends by itself, and must not end with the caller"
    )]
    async fn publish(&self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        // A caller that goes away must not leave the log between commit and wake-up.
        let (log, events) = (self.clone(), events.to_vec());
        let append = async move { log.append(&events).await };
        tokio::spawn(append)
            .await
            .map_err(|e| Error::internal("event log append", e))?
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        if group.is_empty() || topics.is_empty() || topics.len() > TOPICS_MAX {
            return Err(Error::invalid(
                "topics",
                format!("1 to {TOPICS_MAX} topics and a group are needed"),
            ));
        }
        let turn = self
            .inner
            .groups
            .lock()
            .await
            .entry(group.to_owned())
            .or_default()
            .clone();
        Ok(Box::new(LogSubscription {
            log: self.clone(),
            group: group.to_owned(),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            newest: self.inner.newest.subscribe(),
            turn,
            held: None,
            offsets: BTreeMap::new(),
            buffer: VecDeque::new(),
        }))
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.inner.health.subscribe()
    }
}

struct LogSubscription {
    log: EmbeddedLog,
    group: String,
    topics: Vec<String>,
    newest: watch::Receiver<i64>,
    turn: Arc<Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
    /// What was read of each topic, delivered or still in the buffer.
    offsets: BTreeMap<String, i64>,
    buffer: VecDeque<Delivery>,
}

#[async_trait]
impl Subscription for LogSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        if self.held.is_none() {
            let held = self.turn.clone().lock_owned().await;
            self.offsets = self.committed().await?;
            self.held = Some(held);
        }
        loop {
            if let Some(delivery) = self.buffer.pop_front() {
                return Ok(delivery);
            }
            self.newest.mark_unchanged();
            self.fill().await?;
            if self.buffer.is_empty() {
                self.newest
                    .changed()
                    .await
                    .map_err(|_| Error::Unavailable {
                        what: "event log".to_owned(),
                    })?;
            }
        }
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<()> {
        let mut tx = self.log.inner.db.begin_relaxed().await?;
        sqlx::query(
            "INSERT INTO event_log_groups (consumer, topic, position) VALUES ($1, $2, $3) \
             ON CONFLICT (consumer, topic) DO UPDATE SET position = excluded.position \
             WHERE excluded.position > event_log_groups.position",
        )
        .bind(self.group.as_str())
        .bind(delivery.position.topic.as_str())
        .bind(delivery.position.offset)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

impl LogSubscription {
    async fn committed(&self) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT topic, position FROM event_log_groups WHERE consumer = $1")
                .bind(self.group.as_str())
                .fetch_all(&mut *self.log.inner.db.read().await?)
                .await?;
        Ok(rows.into_iter().collect())
    }

    /// Reads the next events of all topics in log order. The buffer and the offsets change together and
    /// without an await in between, so that a cancelled call loses nothing.
    async fn fill(&mut self) -> Result<()> {
        let terms: Vec<String> = (0..self.topics.len())
            .map(|i| format!("(topic = ${} AND position > ${})", 2 * i + 2, 2 * i + 3))
            .collect();
        let sql = format!(
            "SELECT position, id, source, type, topic, event_key, sequence, subject, time, traceparent, data \
             FROM event_log WHERE {} ORDER BY position LIMIT $1",
            terms.join(" OR ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(READ_AHEAD);
        for topic in &self.topics {
            query = query
                .bind(topic.clone())
                .bind(self.offsets.get(topic).copied().unwrap_or(0));
        }
        let rows = query
            .fetch_all(&mut *self.log.inner.db.read().await?)
            .await?;
        let deliveries: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_>>()?;
        for delivery in deliveries {
            self.offsets
                .insert(delivery.position.topic.clone(), delivery.position.offset);
            self.buffer.push_back(delivery);
        }
        Ok(())
    }
}

fn delivery(row: &AnyRow) -> Result<Delivery> {
    let topic: String = row.try_get(4)?;
    Ok(Delivery {
        position: Position {
            topic: topic.clone(),
            partition: 0,
            offset: row.try_get(0)?,
        },
        received: Received::Event(Event {
            id: row.try_get(1)?,
            source: row.try_get(2)?,
            r#type: row.try_get(3)?,
            topic,
            key: row.try_get(5)?,
            sequence: row.try_get(6)?,
            subject: row.try_get(7)?,
            time: Timestamp(row.try_get(8)?),
            traceparent: row.try_get(9)?,
            data: row.try_get(10)?,
        }),
    })
}
