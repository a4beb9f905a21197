//! Endpoints: what people set, and what decisions change.

use std::collections::BTreeSet;

use slipway_platform::clock::Timestamp;
use slipway_platform::db::expect_saved;
use slipway_platform::names::{EndpointName, EnvironmentName, ModelName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::routes::next_version;
use super::{from_text, readable, stored_name, to_text};
use crate::domain::resources::EndpointSettings;
use crate::domain::serving::Serving;
use crate::domain::traffic::Revision;

/// An endpoint as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointRow {
    pub name: EndpointName,
    pub settings: EndpointSettings,
    /// Of the settings.
    pub generation: i64,
    /// With its blocked and ready revisions filled in.
    pub serving: Serving,
    serving_generation: i64,
    pub last_revision: u32,
    pub created_at: Timestamp,
}

pub(super) type Columns = (String, String, i64, String, i64, i64, i64);
const COLUMNS: &str = "SELECT name, settings, generation, serving, serving_generation, last_revision, created_at FROM endpoints";

/// Creates one that serves nothing. `AlreadyExists` if the name is taken.
pub async fn insert(
    conn: &mut AnyConnection,
    name: &EndpointName,
    settings: &EndpointSettings,
    now: Timestamp,
) -> Result<()> {
    let version = next_version(conn).await?;
    let result = sqlx::query(
        "INSERT INTO endpoints (name, environment, model, settings, generation, serving, serving_generation, \
         last_revision, routes_version, pin_expires_at, created_at) \
         VALUES ($1, $2, $3, $4, 1, $5, 1, 0, $6, NULL, $7) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name.to_string())
    .bind(name.environment().to_string())
    .bind(settings.model.to_string())
    .bind(to_text(settings)?)
    .bind(to_text(&Serving::default())?)
    .bind(version)
    .bind(now.0)
    .execute(conn)
    .await?;
    match result.rows_affected() {
        0 => Err(Error::already_exists("endpoint", name)),
        _ => Ok(()),
    }
}

/// Saves the settings by generation. Hosts and the sticky header are routes, so proxies hear of it.
pub async fn save_settings(conn: &mut AnyConnection, row: &EndpointRow) -> Result<()> {
    let version = next_version(conn).await?;
    let result = sqlx::query(
        "UPDATE endpoints SET settings = $1, model = $2, routes_version = $3, generation = generation + 1 \
         WHERE name = $4 AND generation = $5",
    )
    .bind(to_text(&row.settings)?)
    .bind(row.settings.model.to_string())
    .bind(version)
    .bind(row.name.to_string())
    .bind(row.generation)
    .execute(conn)
    .await?;
    expect_saved(&result, &row.name.to_string(), &etag::of(row.generation))
}

/// Saves what a decision has changed, by generation.
pub async fn save_serving(
    conn: &mut AnyConnection,
    row: &mut EndpointRow,
    serving: &Serving,
) -> Result<()> {
    let result = sqlx::query(
        "UPDATE endpoints SET serving = $1, pin_expires_at = $2, serving_generation = serving_generation + 1 \
         WHERE name = $3 AND serving_generation = $4",
    )
    .bind(to_text(serving)?)
    .bind(serving.pin.as_ref().map(|pin| pin.expires_at.0))
    .bind(row.name.to_string())
    .bind(row.serving_generation)
    .execute(conn)
    .await?;
    expect_saved(
        &result,
        &row.name.to_string(),
        &serving.generation.to_string(),
    )?;
    row.serving_generation += 1;
    Ok(())
}

/// Notes that proxies must be told of the endpoint anew.
pub async fn touch_routes(conn: &mut AnyConnection, name: &EndpointName) -> Result<()> {
    let version = next_version(conn).await?;
    sqlx::query("UPDATE endpoints SET routes_version = $1 WHERE name = $2")
        .bind(version)
        .bind(name.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes the next revision number.
pub async fn next_revision(conn: &mut AnyConnection, name: &EndpointName) -> Result<u32> {
    let (number,): (i64,) = sqlx::query_as(
        "UPDATE endpoints SET last_revision = last_revision + 1 WHERE name = $1 RETURNING last_revision",
    )
    .bind(name.to_string())
    .fetch_one(conn)
    .await?;
    u32::try_from(number).map_err(|error| Error::internal("revision number", error))
}

/// The endpoint; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &EndpointName) -> Result<EndpointRow> {
    let row: Option<Columns> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
        .bind(name.to_string())
        .fetch_optional(&mut *conn)
        .await?;
    let row = row
        .map(read)
        .transpose()?
        .ok_or_else(|| Error::not_found("endpoint", name))?;
    complete(conn, row).await
}

/// A page of an environment's endpoints, or of all, by name, with one more row than the page if there is one.
pub async fn list(
    conn: &mut AnyConnection,
    environment: Option<&EnvironmentName>,
    page: &Page,
) -> Result<Vec<EndpointRow>> {
    let after = page.after().unwrap_or_default().to_owned();
    let rows: Vec<Columns> = match environment {
        Some(environment) => {
            sqlx::query_as(AssertSqlSafe(format!(
                "{COLUMNS} WHERE environment = $3 AND name > $1 ORDER BY name LIMIT $2"
            )))
            .bind(after)
            .bind(page.limit())
            .bind(environment.to_string())
            .fetch_all(conn)
            .await?
        }
        None => {
            sqlx::query_as(AssertSqlSafe(format!(
                "{COLUMNS} WHERE name > $1 ORDER BY name LIMIT $2"
            )))
            .bind(after)
            .bind(page.limit())
            .fetch_all(conn)
            .await?
        }
    };
    rows.into_iter().map(read).collect()
}

/// The endpoints of an environment that run a model; at most `limit`.
pub async fn of_model(
    conn: &mut AnyConnection,
    environment: &EnvironmentName,
    model: &ModelName,
    limit: i64,
) -> Result<Vec<EndpointName>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM endpoints WHERE model = $1 AND environment = $2 ORDER BY name LIMIT $3",
    )
    .bind(model.to_string())
    .bind(environment.to_string())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|(name,)| stored_name(name)).collect()
}

/// Endpoints that serve something, for the steady watch. One that cannot be read is left out, and said.
pub async fn serving(conn: &mut AnyConnection) -> Result<Vec<EndpointRow>> {
    let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(format!("{COLUMNS} ORDER BY name")))
        .fetch_all(conn)
        .await?;
    let mut rows = readable(rows, |row| &row.0, read);
    rows.retain(|row| !row.serving.traffic.is_empty());
    Ok(rows)
}

/// Notes the trace that the present traffic comes from.
pub async fn set_routes_trace(
    conn: &mut AnyConnection,
    name: &EndpointName,
    traceparent: &str,
) -> Result<()> {
    sqlx::query("UPDATE endpoints SET routes_traceparent = $1 WHERE name = $2")
        .bind(traceparent)
        .bind(name.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// Endpoints whose pin has expired; at most `limit`.
pub async fn expired_pins(
    conn: &mut AnyConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<EndpointName>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM endpoints WHERE pin_expires_at <= $1 ORDER BY pin_expires_at LIMIT $2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|(name,)| stored_name(name)).collect()
}

/// When the next pin expires.
pub async fn next_pin_expiry(conn: &mut AnyConnection) -> Result<Option<Timestamp>> {
    let (next,): (Option<i64>,) = sqlx::query_as("SELECT MIN(pin_expires_at) FROM endpoints")
        .fetch_one(conn)
        .await?;
    Ok(next.map(Timestamp))
}

async fn complete(conn: &mut AnyConnection, mut row: EndpointRow) -> Result<EndpointRow> {
    let name = row.name.to_string();
    row.serving.blocked = numbers(
        sqlx::query_as(
            "SELECT number FROM revisions WHERE endpoint = $1 AND version_digest IN \
             (SELECT version_digest FROM blocks WHERE endpoint = $1 AND lifted_at IS NULL)",
        )
        .bind(name.clone())
        .fetch_all(&mut *conn)
        .await?,
    );
    row.serving.ready = numbers(
        sqlx::query_as("SELECT number FROM revisions WHERE endpoint = $1 AND state = 'READY'")
            .bind(name)
            .fetch_all(&mut *conn)
            .await?,
    );
    Ok(row)
}

fn numbers(rows: Vec<(i64,)>) -> BTreeSet<Revision> {
    rows.into_iter()
        .filter_map(|(number,)| u32::try_from(number).ok())
        .map(Revision)
        .collect()
}

pub(super) fn read(
    (name, settings, generation, serving, serving_generation, last_revision, created_at): Columns,
) -> Result<EndpointRow> {
    Ok(EndpointRow {
        name: stored_name(&name)?,
        settings: from_text(&settings)?,
        generation,
        serving: from_text(&serving)?,
        serving_generation,
        last_revision: u32::try_from(last_revision).unwrap_or(0),
        created_at: Timestamp(created_at),
    })
}
