//! The table `alerts`.

use slipway_platform::{
    Result,
    clock::Timestamp,
    db::expect_saved,
    etag,
    names::{AlertName, EndpointName, RevisionName},
};
use sqlx::AnyConnection;

use super::documents::Document;
use super::select::Select;
use crate::domain::alert::{Alert, State};
use crate::domain::verdict::Code;

/// Which alerts to list; everything given must match.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this environment.
    pub environment: Option<String>,
    /// Of this endpoint, by its id.
    pub endpoint: Option<String>,
    /// `(field, operator, value)` over the columns `state`, `revision` and `code`.
    pub terms: Vec<(&'static str, &'static str, String)>,
    /// Only those that are not resolved.
    pub open: bool,
}

/// Inserts a new alert.
pub async fn insert(conn: &mut AnyConnection, alert: &Alert) -> Result<()> {
    let changed = next_change(conn).await?;
    sqlx::query(
        "INSERT INTO alerts (id, environment, endpoint, revision, code, state, open_key, silenced_until, \
         started_at, ended_at, generation, document, changed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(alert.name.id().to_string())
    .bind(alert.name.environment().id())
    .bind(alert.name.endpoint().id())
    .bind(alert.revision.to_string())
    .bind(alert.code.as_str())
    .bind(alert.state.as_str())
    .bind(open_key(alert))
    .bind(silenced_until(alert))
    .bind(alert.start.0)
    .bind(alert.end.map(|at| at.0))
    .bind(alert.generation)
    .bind(alert.to_bytes())
    .bind(changed)
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves the next generation of an alert that was read at `alert.generation`; returns it as saved.
pub async fn save(conn: &mut AnyConnection, mut alert: Alert) -> Result<Alert> {
    let read_at = alert.generation;
    alert.generation += 1;
    let changed = next_change(conn).await?;
    let result = sqlx::query(
        "UPDATE alerts SET state = $1, open_key = $2, silenced_until = $3, ended_at = $4, generation = $5, \
         document = $6, changed = $7 WHERE id = $8 AND generation = $9",
    )
    .bind(alert.state.as_str())
    .bind(open_key(&alert))
    .bind(silenced_until(&alert))
    .bind(alert.end.map(|at| at.0))
    .bind(alert.generation)
    .bind(alert.to_bytes())
    .bind(changed)
    .bind(alert.name.id().to_string())
    .bind(read_at)
    .execute(conn)
    .await?;
    expect_saved(&result, &alert.name.to_string(), &etag::of(read_at))?;
    Ok(alert)
}

/// Reads an alert; the name's endpoint must be the alert's.
pub async fn get(conn: &mut AnyConnection, name: &AlertName) -> Result<Option<Alert>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM alerts WHERE id = $1 AND environment = $2 AND endpoint = $3",
    )
    .bind(name.id().to_string())
    .bind(name.environment().id())
    .bind(name.endpoint().id())
    .fetch_optional(conn)
    .await?;
    one(row)
}

/// Reads the open alert of an anomaly.
pub async fn open(
    conn: &mut AnyConnection,
    revision: &RevisionName,
    code: Code,
) -> Result<Option<Alert>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("SELECT document FROM alerts WHERE open_key = $1")
        .bind(key_of(revision, code))
        .fetch_optional(conn)
        .await?;
    one(row)
}

/// Reads the open alerts of a revision.
pub async fn open_of_revision(
    conn: &mut AnyConnection,
    revision: &RevisionName,
) -> Result<Vec<Alert>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM alerts WHERE environment = $1 AND endpoint = $2 AND revision = $3 \
         AND open_key IS NOT NULL",
    )
    .bind(revision.environment().id())
    .bind(revision.endpoint().id())
    .bind(revision.to_string())
    .fetch_all(conn)
    .await?;
    many(rows)
}

/// Reads the open alerts of an endpoint, newest first, at most `limit`.
pub async fn open_of_endpoint(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    limit: i64,
) -> Result<Vec<Alert>> {
    let wanted = Wanted {
        environment: Some(endpoint.environment().id().to_owned()),
        endpoint: Some(endpoint.id().to_owned()),
        open: true,
        ..Wanted::default()
    };
    list(conn, &wanted, None, limit).await
}

/// Reads alerts whose silence is over, at most `limit`.
pub async fn silence_over(
    conn: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Alert>> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "SELECT document FROM alerts WHERE silenced_until IS NOT NULL AND silenced_until <= $1 \
         ORDER BY silenced_until LIMIT $2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    many(rows)
}

/// Lists alerts, newest first, after the id `after`.
pub async fn list(
    conn: &mut AnyConnection,
    wanted: &Wanted,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Alert>> {
    // Ids are UUIDs of version 7, so their order is that of creation.
    let mut select = Select::from("SELECT document FROM alerts");
    if let Some(environment) = &wanted.environment {
        select.and("environment", "=", environment);
    }
    if let Some(endpoint) = &wanted.endpoint {
        select.and("endpoint", "=", endpoint);
    }
    for (column, operator, value) in &wanted.terms {
        select.and(column, operator, value);
    }
    if wanted.open {
        select.and_that("open_key IS NOT NULL");
    }
    if let Some(after) = after {
        select.and("id", "<", after);
    }
    many(select.fetch(conn, "id DESC", limit).await?)
}

/// The number of the newest change.
pub async fn last_change(conn: &mut AnyConnection) -> Result<i64> {
    let row: (i64,) = sqlx::query_as("SELECT changes FROM alert_changes WHERE id = 1")
        .fetch_one(conn)
        .await?;
    Ok(row.0)
}

/// Reads the alerts of an environment and endpoint (none: all) that changed after the change `after`, in the order
/// of their last changes, at most `limit`; with the numbers of those.
pub async fn changed_after(
    conn: &mut AnyConnection,
    environment: Option<&str>,
    endpoint: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Alert)>> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT changed, document FROM alerts WHERE changed > $1 AND ($2 = '' OR environment = $2) \
         AND ($3 = '' OR endpoint = $3) ORDER BY changed LIMIT $4",
    )
    .bind(after)
    .bind(environment.unwrap_or_default())
    .bind(endpoint.unwrap_or_default())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|(changed, document)| Ok((*changed, Alert::from_bytes(document)?)))
        .collect()
}

/// How many are open.
pub async fn count_open(conn: &mut AnyConnection) -> Result<i64> {
    let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM alerts WHERE open_key IS NOT NULL")
        .fetch_one(conn)
        .await?;
    Ok(row.0)
}

async fn next_change(conn: &mut AnyConnection) -> Result<i64> {
    let row: (i64,) = sqlx::query_as(
        "UPDATE alert_changes SET changes = changes + 1 WHERE id = 1 RETURNING changes",
    )
    .fetch_one(conn)
    .await?;
    Ok(row.0)
}

/// Forgets alerts that were over before `before`, at most `limit`. Returns how many.
pub async fn collect(conn: &mut AnyConnection, before: Timestamp, limit: i64) -> Result<u64> {
    let result = sqlx::query(
        "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
    )
    .bind(before.0)
    .bind(limit)
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}

fn key_of(revision: &RevisionName, code: Code) -> String {
    format!("{revision} {}", code.as_str())
}

fn open_key(alert: &Alert) -> Option<String> {
    (alert.state != State::Resolved).then(|| key_of(&alert.revision, alert.code))
}

fn silenced_until(alert: &Alert) -> Option<i64> {
    match alert.state {
        State::Silenced { until } => Some(until.0),
        State::Firing | State::Acknowledged | State::Resolved => None,
    }
}

fn one(row: Option<(Vec<u8>,)>) -> Result<Option<Alert>> {
    Ok(row
        .map(|(document,)| Alert::from_bytes(&document))
        .transpose()?)
}

fn many(rows: Vec<(Vec<u8>,)>) -> Result<Vec<Alert>> {
    rows.iter()
        .map(|(document,)| Ok(Alert::from_bytes(document)?))
        .collect()
}
