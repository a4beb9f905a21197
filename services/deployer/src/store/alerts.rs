//! Alerts that fire, as far as the failure-detector told. It owns them; this is for the status only.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_platform::{Error, Result};
use sqlx::AnyConnection;

/// Notes that an alert fires.
pub async fn insert(
    conn: &mut AnyConnection,
    alert: &str,
    endpoint: &EndpointName,
    revision: &RevisionName,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO alerts (name, endpoint, revision, started_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
    )
    .bind(alert.to_owned())
    .bind(endpoint.to_string())
    .bind(revision.to_string())
    .bind(now.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that an alert is over.
pub async fn delete(conn: &mut AnyConnection, alert: &str) -> Result<()> {
    sqlx::query("DELETE FROM alerts WHERE name = $1")
        .bind(alert.to_owned())
        .execute(conn)
        .await?;
    Ok(())
}

/// The alerts that fire on an endpoint, with the revisions at fault, oldest first; at most 100.
pub async fn of(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
) -> Result<Vec<(String, RevisionName)>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, revision FROM alerts WHERE endpoint = $1 ORDER BY started_at, name LIMIT 100",
    )
    .bind(endpoint.to_string())
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(name, revision)| {
            let revision = revision
                .parse()
                .map_err(|error| Error::internal("read an alert's revision", error))?;
            Ok((name, revision))
        })
        .collect()
}
