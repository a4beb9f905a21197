//! The table `judges`: under which epoch an endpoint is judged, and what its judge has counted.

use slipway_platform::{Result, clock::Timestamp, names::EndpointName};
use sqlx::AnyConnection;

use super::Corrupt;
use super::documents::Document;
pub use super::documents::JudgeState;

/// What is stored of the replica that judged last.
#[derive(Debug, Clone, PartialEq)]
pub struct Former {
    /// It did not stop as planned.
    pub lost: bool,
    /// What it had counted.
    pub state: JudgeState,
}

/// How often one holder of a lease may begin anew, in bits of the epoch.
const BEGINNINGS_BITS: u32 = 20;

/// Begins to judge under a lease, and gives the epoch to write under, and what the former judge has left. `None` when
/// a newer lease has begun.
pub async fn begin(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    lease_epoch: i64,
    now: Timestamp,
) -> Result<Option<(i64, Former)>> {
    sqlx::query(
        "INSERT INTO judges (endpoint, epoch, judging, updated_at, document) VALUES ($1, 0, 0, $2, $3) \
         ON CONFLICT (endpoint) DO NOTHING",
    )
    .bind(endpoint.to_string())
    .bind(now.0)
    .bind(JudgeState::default().to_bytes())
    .execute(&mut *conn)
    .await?;
    // Locks the row first, so that what is read is what the former judge has left.
    sqlx::query("UPDATE judges SET updated_at = $1 WHERE endpoint = $2")
        .bind(now.0)
        .bind(endpoint.to_string())
        .execute(&mut *conn)
        .await?;
    let (former, judging, document): (i64, i64, Vec<u8>) =
        sqlx::query_as("SELECT epoch, judging, document FROM judges WHERE endpoint = $1")
            .bind(endpoint.to_string())
            .fetch_one(&mut *conn)
            .await?;
    // Also when the same holder begins again, what it has still under way from before is refused.
    let epoch = (lease_epoch << BEGINNINGS_BITS).max(former + 1);
    if epoch >> BEGINNINGS_BITS != lease_epoch {
        return Ok(None);
    }
    sqlx::query("UPDATE judges SET epoch = $1, judging = 1 WHERE endpoint = $2")
        .bind(epoch)
        .bind(endpoint.to_string())
        .execute(conn)
        .await?;
    let former = Former {
        lost: judging == 1,
        state: JudgeState::from_bytes(&document)?,
    };
    Ok(Some((epoch, former)))
}

/// Writes what the judge has counted; false, and nothing is written, when another epoch has begun.
pub async fn save(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    epoch: i64,
    state: &JudgeState,
    now: Timestamp,
) -> Result<bool> {
    let result = sqlx::query(
        "UPDATE judges SET updated_at = $1, document = $2 WHERE endpoint = $3 AND epoch = $4 AND judging = 1",
    )
    .bind(now.0)
    .bind(state.to_bytes())
    .bind(endpoint.to_string())
    .bind(epoch)
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How a judge ends as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody watches.
    Rest,
    /// Another one is to go on at once; nothing is lost.
    HandedOver,
}

impl End {
    fn judging(self) -> i64 {
        match self {
            End::Rest => 0,
            End::HandedOver => 2,
        }
    }
}

/// The judge stops as planned; false when another epoch has begun.
pub async fn end(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    epoch: i64,
    how: End,
    now: Timestamp,
) -> Result<bool> {
    let result = sqlx::query(
        "UPDATE judges SET judging = $1, updated_at = $2 WHERE endpoint = $3 AND epoch = $4",
    )
    .bind(how.judging())
    .bind(now.0)
    .bind(endpoint.to_string())
    .bind(epoch)
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Endpoints that are judged or to be judged by the next that can, by name after `after`, at most `limit`.
pub async fn judged(
    conn: &mut AnyConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<EndpointName>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT endpoint FROM judges WHERE judging > 0 AND endpoint > $1 ORDER BY endpoint LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|(endpoint,)| Ok(endpoint.parse().map_err(Corrupt::from)?))
        .collect()
}

/// Whether an endpoint is judged, or to be judged by the next that can.
pub async fn is_judged(conn: &mut AnyConnection, endpoint: &EndpointName) -> Result<bool> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT judging FROM judges WHERE endpoint = $1")
        .bind(endpoint.to_string())
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some_and(|(judging,)| judging > 0))
}

/// Forgets endpoints that are not judged since `before`, at most `limit`. Returns how many.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM judges WHERE endpoint IN (SELECT endpoint FROM judges \
         WHERE judging = 0 AND updated_at < $1 ORDER BY updated_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
