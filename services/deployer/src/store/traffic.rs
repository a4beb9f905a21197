//! Every generation of every endpoint's traffic: what served when, who decided it and why.

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::EndpointName;
use slipway_platform::paging::Page;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{from_text, stored_name, to_text};
use crate::domain::resources::{Actor, TrafficRecord};

type Columns = (
    String,
    i64,
    String,
    Option<String>,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
);
const COLUMNS: &str = "SELECT endpoint, generation, targets, pin, actor_kind, actor_name, reason, rollout, decided_at, \
                       applied_at FROM traffic";

/// Records a generation, which proxies are to accept.
pub async fn insert(conn: &mut AnyConnection, record: &TrafficRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO traffic_awaited (endpoint, generation) VALUES ($1, $2) \
         ON CONFLICT (endpoint) DO UPDATE SET generation = excluded.generation",
    )
    .bind(record.endpoint.to_string())
    .bind(record.generation)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO traffic (endpoint, generation, targets, pin, actor_kind, actor_name, reason, rollout, decided_at, \
         applied_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL)",
    )
    .bind(record.endpoint.to_string())
    .bind(record.generation)
    .bind(to_text(&record.traffic)?)
    .bind(record.pin.as_ref().map(to_text).transpose()?)
    .bind(record.actor.kind.as_str())
    .bind(record.actor.name.as_str())
    .bind(record.reason.as_str())
    .bind(record.rollout.as_str())
    .bind(record.decided_at.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes when every proxy had accepted a generation; the first time counts.
pub async fn mark_applied(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    generation: i64,
    at: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE traffic SET applied_at = $1 WHERE endpoint = $2 AND generation = $3 AND applied_at IS NULL",
    )
    .bind(at.0)
    .bind(endpoint.to_string())
    .bind(generation)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM traffic_awaited WHERE endpoint = $1 AND generation = $2")
        .bind(endpoint.to_string())
        .bind(generation)
        .execute(conn)
        .await?;
    Ok(())
}

/// A generation, if there was one.
pub async fn find(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    generation: i64,
) -> Result<Option<TrafficRecord>> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND generation = $2"
    )))
    .bind(endpoint.to_string())
    .bind(generation)
    .fetch_optional(conn)
    .await?;
    row.map(read).transpose()
}

/// A page of generations, newest first, with one more row than the page if there is one.
pub async fn list(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    page: &Page,
) -> Result<Vec<TrafficRecord>> {
    let before = page
        .after()
        .and_then(|after| after.parse().ok())
        .unwrap_or(i64::MAX);
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND generation < $2 ORDER BY generation DESC LIMIT $3"
    )))
    .bind(endpoint.to_string())
    .bind(before)
    .bind(page.limit())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(read).collect()
}

/// The newest generation of each endpoint of which it is not known that every proxy has accepted it.
pub async fn awaited(conn: &mut AnyConnection) -> Result<Vec<(EndpointName, i64)>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT endpoint, generation FROM traffic_awaited ORDER BY endpoint")
            .fetch_all(conn)
            .await?;
    rows.into_iter()
        .map(|(endpoint, generation)| Ok((stored_name(&endpoint)?, generation)))
        .collect()
}

fn read(row: Columns) -> Result<TrafficRecord> {
    let (endpoint, generation, targets, pin, kind, name, reason, rollout, decided_at, applied_at) =
        row;
    Ok(TrafficRecord {
        endpoint: stored_name(&endpoint)?,
        generation,
        traffic: from_text(&targets)?,
        pin: pin.as_deref().map(from_text).transpose()?,
        decided_at: Timestamp(decided_at),
        actor: Actor { kind, name },
        reason,
        rollout,
        applied_at: applied_at.map(Timestamp),
    })
}
