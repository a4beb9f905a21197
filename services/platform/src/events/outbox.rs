//! The outbox: events that are committed with the state change they tell of, and the relay that publishes
//! them.
//!
//! A row's position comes from a counter row that stays locked until the transaction commits, so positions
//! become visible in order and the relay never skips one that commits late. The relay reads what is not
//! published yet, publishes it, then marks it; a crash in between publishes again, and consumers' inboxes
//! drop the duplicate. Published rows, old inbox rows and old request ids are deleted after their retention.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use sqlx::Row;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Result, Violations,
    clock::{SharedClock, Timestamp},
    config::Validate,
    db::{Db, Tx},
    events::{Event, EventBus, EventData, inbox},
    json, requests,
    tasks::{Nudge, Tasks},
    telemetry,
};

/// Puts an event into the outbox of `tx`'s database; it is published after the commit, in commit order.
/// Returns its id. `key` names the resource whose events stay in order, `subject` what it is about.
pub async fn publish<D: EventData>(
    tx: &mut Tx,
    now: Timestamp,
    key: &str,
    subject: &str,
    data: &D,
) -> Result<String> {
    let id = Uuid::now_v7().to_string();
    publish_with_id(tx, now, &id, key, subject, data).await?;
    Ok(id)
}

/// [`publish`] under an id that the caller chose, so that the same decision can travel another way too.
pub async fn publish_with_id<D: EventData>(
    tx: &mut Tx,
    now: Timestamp,
    id: &str,
    key: &str,
    subject: &str,
    data: &D,
) -> Result<()> {
    let data = json::to_json_bytes(data)?;
    append(
        tx,
        now,
        Outgoing {
            id,
            r#type: D::TYPE,
            topic: D::TOPIC,
            key,
            subject,
            data,
        },
    )
    .await
}

/// An event before it has its place in the outbox.
pub(crate) struct Outgoing<'a> {
    pub id: &'a str,
    pub r#type: &'a str,
    pub topic: &'a str,
    pub key: &'a str,
    pub subject: &'a str,
    pub data: Vec<u8>,
}

pub(crate) async fn append(tx: &mut Tx, now: Timestamp, event: Outgoing<'_>) -> Result<()> {
    let position: (i64,) = sqlx::query_as(
        "UPDATE slipway_counters SET value = value + 1 WHERE name = 'outbox' RETURNING value",
    )
    .fetch_one(&mut *tx)
    .await?;
    let sequence: (i64,) = sqlx::query_as(
        "INSERT INTO slipway_outbox_keys (topic, event_key, sequence) VALUES ($1, $2, 1) \
         ON CONFLICT (topic, event_key) DO UPDATE SET sequence = slipway_outbox_keys.sequence + 1 \
         RETURNING sequence",
    )
    .bind(event.topic)
    .bind(event.key)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO slipway_outbox (position, id, type, topic, event_key, sequence, subject, time, traceparent, data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(position.0)
    .bind(event.id)
    .bind(event.r#type)
    .bind(event.topic)
    .bind(event.key)
    .bind(sequence.0)
    .bind(event.subject)
    .bind(now.0)
    .bind(telemetry::current_traceparent())
    .bind(event.data)
    .execute(&mut *tx)
    .await?;
    tx.mark_published();
    Ok(())
}

/// How much the relay does at once, and how long rows are kept; a section of a service's settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayOptions {
    /// Events published in one call of the bus.
    pub batch_max: u32,
    /// How long published events stay in the outbox.
    pub outbox_retention_hours: u32,
    /// How long the inbox remembers; must be longer than any bus keeps events.
    pub inbox_retention_hours: u32,
    /// How long a `request_id` is remembered.
    pub request_retention_hours: u32,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            batch_max: 256,
            outbox_retention_hours: 24,
            inbox_retention_hours: 30 * 24,
            request_retention_hours: 24,
        }
    }
}

impl Validate for RelayOptions {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            (1..=10_000).contains(&self.batch_max),
            "batch_max",
            "must be 1 to 10,000",
        );
        let years = 10 * 366 * 24;
        for (field, hours) in [
            ("outbox_retention_hours", self.outbox_retention_hours),
            ("inbox_retention_hours", self.inbox_retention_hours),
            ("request_retention_hours", self.request_retention_hours),
        ] {
            problems.require(
                (1..=years).contains(&hours),
                field,
                "must be 1 hour to 10 years",
            );
        }
    }
}

/// Batches that one run publishes at most; the rest waits for the next run.
const BATCHES_PER_RUN: usize = 64;
/// Rows that one housekeeping deletes at most from each table.
const COLLECT_LIMIT: i64 = 5_000;
/// How often old rows are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How often the outbox is looked at without a nudge: what a crash left behind, and failed runs.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Publishes a database's outbox to the bus. Clones share their state.
#[derive(Clone)]
pub struct Relay {
    db: Db,
    bus: Arc<dyn EventBus>,
    clock: SharedClock,
    options: RelayOptions,
    collected_at: Arc<Mutex<Option<Timestamp>>>,
}

impl Relay {
    /// A relay with the default options.
    pub fn new(db: Db, bus: Arc<dyn EventBus>, clock: SharedClock) -> Self {
        Self::with_options(db, bus, clock, RelayOptions::default())
    }

    /// A relay with the options given.
    pub fn with_options(
        db: Db,
        bus: Arc<dyn EventBus>,
        clock: SharedClock,
        options: RelayOptions,
    ) -> Self {
        Self {
            db,
            bus,
            clock,
            options,
            collected_at: Arc::default(),
        }
    }

    /// Runs the relay as a supervised background task: on each commit with events, and once a second.
    pub fn spawn(self, tasks: &Tasks) {
        let nudge = self.nudge();
        tasks.every("outbox relay", POLL_EVERY, nudge, move || {
            let relay = self.clone();
            async move { relay.run_once().await }
        });
    }

    /// Notified after each commit that put an event into the outbox.
    pub fn nudge(&self) -> Nudge {
        self.db.outbox_nudge()
    }

    /// Publishes what waits, in order, and marks it published; deletes what is past its retention.
    pub async fn run_once(&self) -> Result<()> {
        for _ in 0..BATCHES_PER_RUN {
            let batch = self.waiting().await?;
            let Some(last) = batch.last() else { break };
            let (last, full) = (last.0, batch.len() == self.options.batch_max as usize);
            let events: Vec<Event> = batch.into_iter().map(|(_, event)| event).collect();
            self.bus.publish(&events).await?;
            self.mark(last).await?;
            if !full {
                break;
            }
        }
        self.collect_when_due().await
    }

    async fn waiting(&self) -> Result<Vec<(i64, Event)>> {
        let mut reader = self.db.read().await?;
        let rows = sqlx::query(
            "SELECT position, id, type, topic, event_key, sequence, subject, time, traceparent, data \
             FROM slipway_outbox WHERE published_at IS NULL ORDER BY position LIMIT $1",
        )
        .bind(i64::from(self.options.batch_max))
        .fetch_all(&mut *reader)
        .await?;
        rows.iter()
            .map(|row| {
                let event = Event {
                    id: row.try_get(1)?,
                    source: self.db.source().to_owned(),
                    r#type: row.try_get(2)?,
                    topic: row.try_get(3)?,
                    key: row.try_get(4)?,
                    sequence: row.try_get(5)?,
                    subject: row.try_get(6)?,
                    time: Timestamp(row.try_get(7)?),
                    traceparent: row.try_get(8)?,
                    data: row.try_get(9)?,
                };
                Ok((row.try_get(0)?, event))
            })
            .collect()
    }

    async fn mark(&self, last: i64) -> Result<()> {
        let mut tx = self.db.begin().await?;
        sqlx::query("UPDATE slipway_outbox SET published_at = $1 WHERE published_at IS NULL AND position <= $2")
            .bind(self.clock.now().0)
            .bind(last)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }

    async fn collect_when_due(&self) -> Result<()> {
        let now = self.clock.now();
        let mut collected_at = self.collected_at.lock().await;
        if collected_at.is_some_and(|at| now.0 - at.0 < COLLECT_EVERY.as_micros() as i64) {
            return Ok(());
        }
        *collected_at = Some(now);
        let before = |hours: u32| now - Duration::from_secs(u64::from(hours) * 3600);
        let mut tx = self.db.begin().await?;
        let outbox = sqlx::query(
            "DELETE FROM slipway_outbox WHERE position IN \
             (SELECT position FROM slipway_outbox WHERE published_at < $1 LIMIT $2)",
        )
        .bind(before(self.options.outbox_retention_hours).0)
        .bind(COLLECT_LIMIT)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let inbox = inbox::collect(
            &mut tx,
            before(self.options.inbox_retention_hours),
            COLLECT_LIMIT,
        )
        .await?;
        let requests = requests::collect(
            &mut tx,
            before(self.options.request_retention_hours),
            COLLECT_LIMIT,
        )
        .await?;
        if outbox + inbox + requests == 0 {
            return tx.rollback().await;
        }
        tracing::debug!(outbox, inbox, requests, "rows past their retention deleted");
        tx.commit().await
    }
}
