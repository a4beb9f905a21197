//! The table `decisions`: written once, never changed.

use slipway_platform::{Result, clock::Timestamp};
use sqlx::AnyConnection;

use super::documents::Document;
pub use super::documents::StoredDecision;

/// Stores a decision.
pub async fn insert(conn: &mut AnyConnection, stored: &StoredDecision) -> Result<()> {
    let decision = &stored.decision;
    sqlx::query(
        "INSERT INTO decisions (id, watch_key, endpoint, revision, code, decided_at, document) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(decision.id.as_str())
    .bind(stored.subject.key().to_string())
    .bind(stored.subject.endpoint.to_string())
    .bind(stored.subject.candidate.to_string())
    .bind(decision.finding.code.as_str())
    .bind(decision.time.0)
    .bind(stored.to_bytes())
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads a decision.
pub async fn get(conn: &mut AnyConnection, id: &str) -> Result<Option<StoredDecision>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT document FROM decisions WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    Ok(row
        .map(|(document,)| StoredDecision::from_bytes(&document))
        .transpose()?)
}

/// Forgets decisions made before `before`, at most `limit`. Returns how many.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM decisions WHERE id IN \
         (SELECT id FROM decisions WHERE decided_at < $1 ORDER BY decided_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
