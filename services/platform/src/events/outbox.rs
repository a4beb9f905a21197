//! The outbox: events that are committed with the state change they tell of, and the relay that publishes
//! them.
//!
//! Order is per topic and key: an event first takes the row of its key, which stays locked until the
//! transaction ends, and then its position. Of two events with one key, the one with the lower position is
//! therefore committed before the other one exists. On a shared database positions come from a sequence,
//! which nobody waits for, so that a row may become visible after rows with higher positions: the relay
//! asks for what is not published, never for what comes after the last position.
//!
//! When the relay marks a row, it also gives it the next number of publication. Those have no gaps and
//! become visible in their order, so they are what a watcher resumes from.
//!
//! Invariants: a row that is not published is never deleted; a row has a number if and only if it is
//! published; the numbers of a key's rows are in the order of their positions.

mod batch;
mod metrics;
mod options;
mod published;
mod relay;
mod retention;

use uuid::Uuid;

use crate::{Error, Result, clock::Timestamp, db::Tx, events::EventData, json, telemetry};

pub use options::RelayOptions;
pub(crate) use published::{Selection, newest, page};
pub use relay::Relay;

/// The longest data of one event: with its attributes it fits into one message of any bus.
pub const DATA_BYTES_MAX: usize = 768 * 1024;

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
    if event.data.len() > DATA_BYTES_MAX {
        // No bus would take it, and everything behind it would wait for ever.
        let what = format!(
            "data of {} is {} bytes long",
            event.r#type,
            event.data.len()
        );
        return Err(Error::internal("publish event", what));
    }
    // The key's row first, then the position: see above.
    if tx.db().is_shared() {
        let sql = "WITH taken AS (INSERT INTO slipway_outbox_keys (topic, event_key, sequence) VALUES ($1, $2, 1) \
             ON CONFLICT (topic, event_key) DO UPDATE SET sequence = slipway_outbox_keys.sequence + 1 \
             RETURNING sequence) \
             INSERT INTO slipway_outbox \
             (topic, event_key, id, type, subject, time, traceparent, data, sequence, position) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, sequence, nextval('slipway_outbox_positions') FROM taken";
        bind(sqlx::query(sql), now, event).execute(&mut *tx).await?;
    } else {
        let (sequence,): (i64,) = sqlx::query_as(
            "INSERT INTO slipway_outbox_keys (topic, event_key, sequence) VALUES ($1, $2, 1) \
             ON CONFLICT (topic, event_key) DO UPDATE SET sequence = slipway_outbox_keys.sequence + 1 \
             RETURNING sequence",
        )
        .bind(event.topic)
        .bind(event.key)
        .fetch_one(&mut *tx)
        .await?;
        let (position,): (i64,) = sqlx::query_as(
            "UPDATE slipway_counters SET value = value + 1 WHERE name = 'outbox' RETURNING value",
        )
        .fetch_one(&mut *tx)
        .await?;
        let sql = "INSERT INTO slipway_outbox \
             (topic, event_key, id, type, subject, time, traceparent, data, sequence, position) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let insert = bind(sqlx::query(sql), now, event);
        insert
            .bind(sequence)
            .bind(position)
            .execute(&mut *tx)
            .await?;
    }
    tx.mark_published();
    Ok(())
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Any, sqlx::any::AnyArguments>;

/// What of an event does not depend on its place.
fn bind<'a>(query: Query<'a>, now: Timestamp, event: Outgoing<'a>) -> Query<'a> {
    query
        .bind(event.topic)
        .bind(event.key)
        .bind(event.id)
        .bind(event.r#type)
        .bind(event.subject)
        .bind(now.0)
        .bind(telemetry::current_traceparent())
        .bind(event.data)
}

/// Has positions go on behind those of rows that were copied from a database with another way of counting.
pub(crate) async fn continue_positions(tx: &mut Tx) -> Result<()> {
    if tx.db().is_shared() {
        sqlx::query(
            "SELECT setval('slipway_outbox_positions', value + 1) FROM slipway_counters WHERE name = 'outbox'",
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
