//! The table `watches`.

use slipway_platform::{Result, clock::Timestamp, names::EndpointName};
use sqlx::AnyConnection;

use super::documents::Document;
use crate::domain::subject::WatchKey;
use crate::domain::watch::WatchState;

/// Writes a watch over whatever is stored of it.
pub async fn save(conn: &mut AnyConnection, state: &WatchState, now: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO watches (watch_key, endpoint, updated_at, document) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (watch_key) DO UPDATE SET endpoint = excluded.endpoint, \
         updated_at = excluded.updated_at, document = excluded.document",
    )
    .bind(state.subject.key().to_string())
    .bind(state.subject.endpoint.to_string())
    .bind(now.0)
    .bind(state.to_bytes())
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads one watch.
pub async fn get(conn: &mut AnyConnection, key: &WatchKey) -> Result<Option<WatchState>> {
    let row: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT document FROM watches WHERE watch_key = $1")
            .bind(key.to_string())
            .fetch_optional(conn)
            .await?;
    Ok(row
        .map(|(document,)| WatchState::from_bytes(&document))
        .transpose()?)
}

/// Reads the watches that were updated after `after`, the newest first, at most `limit`.
pub async fn updated_after(
    conn: &mut AnyConnection,
    after: Timestamp,
    limit: i64,
) -> Result<Vec<WatchState>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM watches WHERE updated_at > $1 ORDER BY updated_at DESC LIMIT $2",
    )
    .bind(after.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|(document,)| Ok(WatchState::from_bytes(document)?))
        .collect()
}

/// Reads the watches of an endpoint that were updated after `after`, the newest first, at most `limit`.
pub async fn of_endpoint(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    after: Timestamp,
    limit: i64,
) -> Result<Vec<WatchState>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM watches WHERE endpoint = $1 AND updated_at > $2 \
         ORDER BY updated_at DESC LIMIT $3",
    )
    .bind(endpoint.to_string())
    .bind(after.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|(document,)| Ok(WatchState::from_bytes(document)?))
        .collect()
}

/// Forgets watches that were not updated since `before`, at most `limit`. Returns how many.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM watches WHERE watch_key IN \
         (SELECT watch_key FROM watches WHERE updated_at < $1 ORDER BY updated_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
