//! What the relay reads and marks.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, any::AnyRow};

use crate::{
    Result,
    clock::Timestamp,
    db::{Db, Tx},
    events::Event,
};

/// A batch ends with the event by which its data exceeds this.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The columns that [`event`] reads, after the first one.
pub(super) const EVENT_COLUMNS: &str =
    "id, type, topic, event_key, sequence, subject, time, traceparent, data";

/// The event of a row whose columns from the second on are [`EVENT_COLUMNS`].
pub(super) fn event(source: &str, row: &AnyRow) -> Result<Event> {
    Ok(Event {
        id: row.try_get(1)?,
        source: source.to_owned(),
        r#type: row.try_get(2)?,
        topic: row.try_get(3)?,
        key: row.try_get(4)?,
        sequence: row.try_get(5)?,
        subject: row.try_get(6)?,
        time: Timestamp(row.try_get(7)?),
        traceparent: row.try_get(8)?,
        data: row.try_get(9)?,
    })
}

/// Rows that are not published, lowest positions first.
#[derive(Default)]
pub(super) struct Batch {
    pub positions: Vec<i64>,
    pub events: Vec<Event>,
}

/// Reads the next batch: at most `limit` rows, and not much more than [`BATCH_BYTES_MAX`].
///
/// One statement sees one moment: with a row, it sees every row of the same key that comes before.
pub(super) async fn waiting(db: &Db, limit: u32) -> Result<Batch> {
    let sql = format!(
        "SELECT position, {EVENT_COLUMNS} FROM slipway_outbox WHERE published_at IS NULL \
         ORDER BY position LIMIT $1"
    );
    let mut reader = db.read().await?;
    let mut rows = sqlx::query(AssertSqlSafe(sql))
        .bind(i64::from(limit))
        .fetch(&mut *reader);
    let mut batch = Batch::default();
    let mut bytes = 0;
    while bytes < BATCH_BYTES_MAX
        && let Some(row) = rows.try_next().await?
    {
        let event = event(db.source(), &row)?;
        bytes += event.data.len();
        batch.positions.push(row.try_get(0)?);
        batch.events.push(event);
    }
    Ok(batch)
}

/// Marks exactly these rows as published, those that are so already excepted, and numbers them in the
/// order of their positions. Returns how many it marked.
pub(super) async fn mark(tx: &mut Tx, positions: &[i64], now: Timestamp) -> Result<u64> {
    // Locks the counter until commit: numbers become visible in their order, and of two relays with the
    // same rows the second one sees what the first one marked.
    let newest: (i64,) = sqlx::query_as(
        "UPDATE slipway_counters SET value = value + 0 WHERE name = 'outbox published' RETURNING value",
    )
    .fetch_one(&mut *tx)
    .await?;
    let list: Vec<String> = positions.iter().map(i64::to_string).collect();
    let sql = format!(
        "WITH batch AS (SELECT position AS place, ROW_NUMBER() OVER (ORDER BY position) AS n \
         FROM slipway_outbox WHERE published_at IS NULL AND position IN ({})) \
         UPDATE slipway_outbox SET published_at = $1, published = $2 + batch.n \
         FROM batch WHERE position = batch.place",
        list.join(", ")
    );
    let marked = sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(now.0)
        .bind(newest.0)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    sqlx::query("UPDATE slipway_counters SET value = value + $1 WHERE name = 'outbox published'")
        .bind(i64::try_from(marked).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
    Ok(marked)
}

/// How many rows wait, counted to `limit`, and since when the first of them.
pub(super) async fn backlog(db: &Db, limit: i64) -> Result<(i64, Option<Timestamp>)> {
    let row: (i64, Option<i64>) = sqlx::query_as(
        "SELECT COUNT(*), MIN(time) FROM \
         (SELECT time FROM slipway_outbox WHERE published_at IS NULL ORDER BY position LIMIT $1) AS waiting",
    )
    .bind(limit)
    .fetch_one(&mut *db.read().await?)
    .await?;
    Ok((row.0, row.1.map(Timestamp)))
}
