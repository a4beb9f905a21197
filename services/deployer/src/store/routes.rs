//! What proxies are to be told of endpoints, and the versions that it is stored under. A version has a stamp, so that
//! it is noticed when a commit was lost and another one has its version.

use std::net::SocketAddr;

use slipway_platform::names::RevisionName;
use slipway_platform::{Error, Result};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::endpoints::{self, EndpointRow};
use super::revisions::named;
use super::signals::{self, Signal};
use super::{from_text, readable};

/// Versions whose stamps are kept: far more than a publisher is ever behind.
const STAMPS_KEPT: i64 = 1_000;

/// The version that a change of routes is stored under.
pub(super) async fn next_version(conn: &mut AnyConnection) -> Result<i64> {
    let version = signals::raise(conn, Signal::Routes).await?;
    stamp(conn, version).await?;
    Ok(version)
}

/// Tells this version from every other one that has, had, or will have the same number.
async fn stamp(conn: &mut AnyConnection, version: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO routes_stamps (version, stamp) VALUES ($1, $2) \
         ON CONFLICT (version) DO UPDATE SET stamp = excluded.stamp",
    )
    .bind(version)
    .bind(uuid::Uuid::new_v4().simple().to_string())
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM routes_stamps WHERE version <= $1")
        .bind(version - STAMPS_KEPT)
        .execute(conn)
        .await?;
    Ok(())
}

/// What proxies are to be told of an endpoint.
#[derive(Debug)]
pub struct Routed {
    pub endpoint: EndpointRow,
    /// Where its revisions listen: those that run or are losing their last connections.
    pub addresses: Vec<(RevisionName, Vec<SocketAddr>)>,
    /// The trace of the decision that the present traffic comes from; may be empty.
    pub traceparent: String,
}

/// What proxies are to be told now.
#[derive(Debug)]
pub struct Routing {
    /// The version of the snapshot.
    pub version: i64,
    /// Other than before: what is stored has gone back, and was given newer versions by [`outrun`].
    pub history: i64,
    /// Of the version; empty: it was stored by a replica that gave none.
    pub stamp: String,
    /// The one that is stored of the version that was asked from; empty: it is not known.
    pub stamp_then: String,
    /// The endpoints that were asked for, without those that cannot be read.
    pub routed: Vec<Routed>,
}

/// The version of the snapshot, and the endpoints whose routes changed after version `since`. Read in one
/// statement, so that every replica has the same under the same version. An endpoint that cannot be read is left
/// out, and said: it must not keep the others from going back.
pub async fn since(conn: &mut AnyConnection, since: i64) -> Result<Routing> {
    let rows = sqlx::query(
        "SELECT signals.value, COALESCE(histories.value, 0), endpoints.name, endpoints.settings, endpoints.generation, endpoints.serving, \
         endpoints.serving_generation, endpoints.last_revision, endpoints.created_at, endpoints.routes_traceparent, \
         revisions.number, revisions.addresses, COALESCE(stamps.stamp, ''), COALESCE(stamps_then.stamp, '') FROM signals \
         LEFT JOIN routes_stamps stamps ON stamps.version = signals.value \
         LEFT JOIN routes_stamps stamps_then ON stamps_then.version = $1 \
         LEFT JOIN signals histories ON histories.name = 'histories' \
         LEFT JOIN endpoints ON endpoints.routes_version > $1 \
         LEFT JOIN revisions ON revisions.endpoint = endpoints.name AND revisions.addresses <> '[]' \
         WHERE signals.name = 'routes' ORDER BY endpoints.name, revisions.number",
    )
    .bind(since)
    .fetch_all(conn)
    .await?;
    let (mut version, mut history) = (since, 0);
    let (mut stamp, mut stamp_then) = (String::new(), String::new());
    // An endpoint with its revisions, one row for each of them.
    let mut found: Vec<(String, Vec<AnyRow>)> = Vec::new();
    for row in rows {
        (version, history) = (row.try_get(0)?, row.try_get(1)?);
        (stamp, stamp_then) = (row.try_get(12)?, row.try_get(13)?);
        let Some(name) = row.try_get::<Option<String>, _>(2)? else {
            continue;
        };
        match found.last_mut() {
            Some((known, rows)) if *known == name => rows.push(row),
            _ => found.push((name, vec![row])),
        }
    }
    Ok(Routing {
        version,
        history,
        stamp,
        stamp_then,
        routed: readable(found, |(name, _)| name, read),
    })
}

fn read((name, rows): (String, Vec<AnyRow>)) -> Result<Routed> {
    let first = rows
        .first()
        .ok_or_else(|| Error::internal("read routes", "no row"))?;
    let columns = (
        name,
        first.try_get(3)?,
        first.try_get(4)?,
        first.try_get(5)?,
        first.try_get(6)?,
        first.try_get(7)?,
        first.try_get(8)?,
    );
    let endpoint = endpoints::read(columns)?;
    let mut addresses = Vec::new();
    for row in &rows {
        if let Some(number) = row.try_get::<Option<i64>, _>(10)? {
            let revision = named(&endpoint.name, number)?;
            addresses.push((revision, from_text(row.try_get::<&str, _>(11)?)?));
        }
    }
    Ok(Routed {
        endpoint,
        addresses,
        traceparent: first.try_get(9)?,
    })
}

/// What is stored is not what was told under versions up to `told`: an earlier state of the database was restored.
/// Gives all routes a newer version and another history than the one that was told, unless another
/// replica was first and has given them both. In a transaction that excludes all others.
pub async fn outrun(conn: &mut AnyConnection, told: i64, history: i64) -> Result<()> {
    let (stored, stored_history): (i64, i64) = sqlx::query_as(
        "SELECT signals.value, COALESCE(histories.value, 0) FROM signals \
         LEFT JOIN signals histories ON histories.name = 'histories' WHERE signals.name = 'routes'",
    )
    .fetch_one(&mut *conn)
    .await?;
    if stored > told && stored_history != history {
        return Ok(());
    }
    let version = stored.max(told) + 1;
    sqlx::query("UPDATE signals SET value = $1 WHERE name = 'routes'")
        .bind(version)
        .execute(&mut *conn)
        .await?;
    stamp(conn, version).await?;
    sqlx::query("UPDATE endpoints SET routes_version = $1")
        .bind(version)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO signals (name, value) VALUES ('histories', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(version)
    .execute(conn)
    .await?;
    Ok(())
}
