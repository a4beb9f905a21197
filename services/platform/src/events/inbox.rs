//! The inbox: which events and decisions already had their effect in this database.
//!
//! The row is written in the transaction of the effect. Rows are kept longer than any bus keeps events.

use crate::{Result, clock::Timestamp, db::Tx, events::Event};

/// What the inbox says of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Not seen before: handle it in this transaction.
    New,
    /// The same source and id had its effect already.
    Duplicate,
    /// A newer event of the same topic and key was seen.
    Stale {
        /// The newest sequence seen.
        seen: i64,
    },
}

/// Records that `consumer` acts on `source` + `id` now; false when it did before. For decisions that also
/// come by another way than the bus, under the same id.
pub async fn first_time(
    tx: &mut Tx,
    consumer: &str,
    source: &str,
    id: &str,
    now: Timestamp,
) -> Result<bool> {
    let result = sqlx::query(
        "INSERT INTO slipway_inbox (consumer, source, id, received_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (consumer, source, id) DO NOTHING",
    )
    .bind(consumer)
    .bind(source)
    .bind(id)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Admits an event for `consumer`: duplicates by source and id, and what is older than the newest sequence
/// of its source, topic and key, are not handled. Events without a sequence are only deduplicated.
pub async fn admit(
    tx: &mut Tx,
    consumer: &str,
    event: &Event,
    now: Timestamp,
) -> Result<Admission> {
    if !first_time(tx, consumer, &event.source, &event.id, now).await? {
        return Ok(Admission::Duplicate);
    }
    if event.sequence <= 0 {
        return Ok(Admission::New);
    }
    let seen: (i64,) = sqlx::query_as(
        "INSERT INTO slipway_inbox_sequences (consumer, source, topic, event_key, sequence) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (consumer, source, topic, event_key) DO UPDATE SET \
         sequence = CASE WHEN excluded.sequence > slipway_inbox_sequences.sequence \
         THEN excluded.sequence ELSE slipway_inbox_sequences.sequence END RETURNING sequence",
    )
    .bind(consumer)
    .bind(event.source.as_str())
    .bind(event.topic.as_str())
    .bind(event.key.as_str())
    .bind(event.sequence)
    .fetch_one(&mut *tx)
    .await?;
    Ok(if seen.0 > event.sequence {
        Admission::Stale { seen: seen.0 }
    } else {
        Admission::New
    })
}

/// Forgets what was received before `before`; at most `limit` rows. Returns how many.
pub async fn collect(tx: &mut Tx, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM slipway_inbox WHERE (consumer, source, id) IN \
         (SELECT consumer, source, id FROM slipway_inbox WHERE received_at < $1 LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(&mut *tx)
    .await?;
    Ok(result.rows_affected())
}
