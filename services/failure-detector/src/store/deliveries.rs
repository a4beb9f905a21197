//! The table `deliveries`: the queue of notifications, and for a while what became of them.

use slipway_platform::{Result, clock::Timestamp, names::ChannelName};
use sqlx::AnyConnection;

use super::Corrupt;
use super::documents::Document;
use super::select::Select;
use crate::domain::notification::Notification;

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for its next attempt.
    Queued,
    /// Taken by the receiver.
    Delivered,
    /// Given up.
    GaveUp,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Queued => "QUEUED",
            State::Delivered => "DELIVERED",
            State::GaveUp => "GAVE_UP",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        match text {
            "QUEUED" => Ok(State::Queued),
            "DELIVERED" => Ok(State::Delivered),
            "GAVE_UP" => Ok(State::GaveUp),
            other => Err(Corrupt::new(format!("unknown state {other}")).into()),
        }
    }
}

/// One notification on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Constant over attempts.
    pub id: String,
    /// The channel.
    pub channel: ChannelName,
    /// What it says.
    pub notification: Notification,
    /// Where it is.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// What the last attempt gave.
    pub last_error: String,
    /// When it was queued.
    pub created: Timestamp,
    /// When the next attempt is due.
    pub due: Timestamp,
}

type Row = (String, String, String, i64, i64, i64, String, Vec<u8>);

/// Queues a delivery.
pub async fn insert(conn: &mut AnyConnection, delivery: &Delivery) -> Result<()> {
    sqlx::query(
        "INSERT INTO deliveries (id, channel, state, attempts, due_at, created_at, last_error, document) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(delivery.id.as_str())
    .bind(delivery.channel.id())
    .bind(delivery.state.as_str())
    .bind(i64::from(delivery.attempts))
    .bind(delivery.due.0)
    .bind(delivery.created.0)
    .bind(delivery.last_error.as_str())
    .bind(delivery.notification.to_bytes())
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves what an attempt gave. Only a queued delivery changes; false when it is no longer queued.
pub async fn save_attempt(conn: &mut AnyConnection, delivery: &Delivery) -> Result<bool> {
    let result = sqlx::query(
        "UPDATE deliveries SET state = $1, attempts = $2, due_at = $3, last_error = $4 \
         WHERE id = $5 AND state = 'QUEUED'",
    )
    .bind(delivery.state.as_str())
    .bind(i64::from(delivery.attempts))
    .bind(delivery.due.0)
    .bind(delivery.last_error.as_str())
    .bind(delivery.id.as_str())
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// The channels for which something is due, the longest due first, at most `limit`.
pub async fn due_channels(
    conn: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ChannelName>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT channel FROM deliveries WHERE state = 'QUEUED' AND due_at <= $1 \
         GROUP BY channel ORDER BY MIN(due_at), channel LIMIT $2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|(channel,)| Ok(ChannelName::new(channel).map_err(Corrupt::from)?))
        .collect()
}

/// Reads what is due for a channel, the longest due first, at most `limit`.
pub async fn due(
    conn: &mut AnyConnection,
    channel: &ChannelName,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, channel, state, attempts, due_at, created_at, last_error, document FROM deliveries \
         WHERE channel = $1 AND state = 'QUEUED' AND due_at <= $2 ORDER BY due_at, id LIMIT $3",
    )
    .bind(channel.id())
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(assemble).collect()
}

/// How many wait for a channel.
pub async fn queued(conn: &mut AnyConnection, channel: &ChannelName) -> Result<i64> {
    let row: (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM deliveries WHERE channel = $1 AND state = 'QUEUED'")
            .bind(channel.id())
            .fetch_one(conn)
            .await?;
    Ok(row.0)
}

/// Gives up everything that waits for a channel.
pub async fn give_up_all(
    conn: &mut AnyConnection,
    channel: &ChannelName,
    reason: &str,
) -> Result<()> {
    sqlx::query(
        "UPDATE deliveries SET state = 'GAVE_UP', last_error = $1 WHERE channel = $2 AND state = 'QUEUED'",
    )
    .bind(reason)
    .bind(channel.id())
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes everything of a channel.
pub async fn delete_all(conn: &mut AnyConnection, channel: &ChannelName) -> Result<()> {
    sqlx::query("DELETE FROM deliveries WHERE channel = $1")
        .bind(channel.id())
        .execute(conn)
        .await?;
    Ok(())
}

/// Lists deliveries, newest first, of one channel or of all, after the id `after`.
pub async fn list(
    conn: &mut AnyConnection,
    channel: Option<&ChannelName>,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let mut select = Select::from(
        "SELECT id, channel, state, attempts, due_at, created_at, last_error, document FROM deliveries",
    );
    if let Some(channel) = channel {
        select.and("channel", "=", channel.id());
    }
    if let Some(after) = after {
        select.and("id", "<", after);
    }
    let rows: Vec<Row> = select.fetch(conn, "id DESC", limit).await?;
    rows.into_iter().map(assemble).collect()
}

/// Forgets deliveries made before `before` that no longer wait, at most `limit`. Returns how many.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries \
         WHERE created_at < $1 AND state <> 'QUEUED' ORDER BY created_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

fn assemble(row: Row) -> Result<Delivery> {
    let (id, channel, state, attempts, due, created, last_error, document) = row;
    Ok(Delivery {
        id,
        channel: ChannelName::new(&channel).map_err(Corrupt::from)?,
        notification: Notification::from_bytes(&document)?,
        state: State::parse(&state)?,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        last_error,
        created: Timestamp(created),
        due: Timestamp(due),
    })
}
