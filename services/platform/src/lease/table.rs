//! The SQL of leases and replicas, for PostgreSQL: nobody else shares a database.
//!
//! Every statement commits by itself, takes no lock of the schema, and asks the database's clock.

use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe};

use super::Instance;
use crate::Result;

/// The database's clock, read when the statement begins.
const NOW: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";
/// How long the row of a lost replica is kept, in the time that it takes to be lost.
const KEPT_FACTOR: i64 = 20;

/// A lease as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub name: String,
    pub holder: Instance,
}

/// Takes those of `names` that are free or whose time ran out, and keeps those that `instance` holds; gives
/// the names and epochs of what it holds now. A lease that ran out is a new one, also for its last holder.
pub(super) async fn take(
    conn: &mut AnyConnection,
    instance: &Instance,
    names: &[String],
    for_time: Duration,
) -> Result<Vec<(String, i64)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<String> = (0..names.len()).map(|i| format!("(${})", i + 4)).collect();
    // In the order of the names, so that replicas lock rows in the same order.
    let sql = format!(
        "INSERT INTO slipway_leases (name, holder, address, epoch, expires_at) \
         SELECT wanted.name, $1, $2, 1, {NOW} + $3 FROM (VALUES {}) AS wanted (name) ORDER BY wanted.name \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, address = excluded.address, \
         expires_at = excluded.expires_at, epoch = slipway_leases.epoch + \
         CASE WHEN slipway_leases.expires_at <= excluded.expires_at - $3 THEN 1 ELSE 0 END \
         WHERE slipway_leases.holder = excluded.holder \
         OR slipway_leases.expires_at <= excluded.expires_at - $3 \
         RETURNING name, epoch",
        values.join(", ")
    );
    let mut query = sqlx::query_as(AssertSqlSafe(sql))
        .bind(instance.id.as_str())
        .bind(instance.address.as_str())
        .bind(micros(for_time));
    for name in names {
        query = query.bind(name.as_str());
    }
    Ok(query.fetch_all(conn).await?)
}

/// Lets go of everything among `names` that `id` holds.
pub(super) async fn release(conn: &mut AnyConnection, id: &str, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = (0..names.len()).map(|i| format!("${}", i + 2)).collect();
    let sql = format!(
        "UPDATE slipway_leases SET expires_at = 0 WHERE holder = $1 AND name IN ({})",
        places.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(id);
    for name in names {
        query = query.bind(name.as_str());
    }
    query.execute(conn).await?;
    Ok(())
}

/// Who holds the leases whose name begins with `prefix`, in the order of the names.
pub(super) async fn held(conn: &mut AnyConnection, prefix: &str) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT name, holder, address FROM slipway_leases \
         WHERE starts_with(name, $1) AND expires_at > {NOW} ORDER BY name"
    );
    let rows: Vec<(String, String, String)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(prefix)
        .fetch_all(conn)
        .await?;
    let row = |(name, id, address)| Row {
        name,
        holder: Instance { id, address },
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Says that `instance` is alive for another while, and forgets replicas that are long lost.
pub(super) async fn beat(
    conn: &mut AnyConnection,
    instance: &Instance,
    for_time: Duration,
) -> Result<()> {
    let sql = format!(
        "WITH forgotten AS (DELETE FROM slipway_replicas WHERE expires_at < {NOW} - $3 * {KEPT_FACTOR} AND id <> $1) \
         INSERT INTO slipway_replicas (id, address, expires_at) VALUES ($1, $2, {NOW} + $3) \
         ON CONFLICT (id) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(instance.id.as_str())
        .bind(instance.address.as_str())
        .bind(micros(for_time))
        .execute(conn)
        .await?;
    Ok(())
}

/// Says that `id` has stopped.
pub(super) async fn leave(conn: &mut AnyConnection, id: &str) -> Result<()> {
    sqlx::query("DELETE FROM slipway_replicas WHERE id = $1")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The replicas that are alive, or were so less than `indulgence` ago, in the order of their ids.
pub(super) async fn alive(conn: &mut AnyConnection, indulgence: Duration) -> Result<Vec<Instance>> {
    let sql = format!(
        "SELECT id, address FROM slipway_replicas WHERE expires_at > {NOW} - $1 ORDER BY id"
    );
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(micros(indulgence))
        .fetch_all(conn)
        .await?;
    let instance = |(id, address)| Instance { id, address };
    Ok(rows.into_iter().map(instance).collect())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
