//! Environments and their evidence policies.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::expect_saved;
use slipway_platform::names::EnvironmentName;
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};
use sqlx::AnyConnection;

use super::{from_text, stored_name, to_text};
use crate::domain::resources::EvidencePolicy;

/// An environment as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRow {
    pub name: EnvironmentName,
    pub description: String,
    pub evidence: EvidencePolicy,
    pub generation: i64,
    pub created_at: Timestamp,
}

type Columns = (String, String, String, i64, i64);
const COLUMNS: &str =
    "SELECT name, description, evidence, generation, created_at FROM environments";

/// Creates one. `AlreadyExists` if the name is taken.
pub async fn insert(conn: &mut AnyConnection, row: &EnvironmentRow) -> Result<()> {
    let result = sqlx::query(
        "INSERT INTO environments (name, description, evidence, generation, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(row.name.to_string())
    .bind(row.description.as_str())
    .bind(to_text(&row.evidence)?)
    .bind(row.generation)
    .bind(row.created_at.0)
    .execute(conn)
    .await?;
    match result.rows_affected() {
        0 => Err(Error::already_exists("environment", &row.name)),
        _ => Ok(()),
    }
}

/// Saves description and policy by generation.
pub async fn save(conn: &mut AnyConnection, row: &EnvironmentRow) -> Result<()> {
    let result = sqlx::query(
        "UPDATE environments SET description = $1, evidence = $2, generation = generation + 1 \
         WHERE name = $3 AND generation = $4",
    )
    .bind(row.description.as_str())
    .bind(to_text(&row.evidence)?)
    .bind(row.name.to_string())
    .bind(row.generation)
    .execute(conn)
    .await?;
    expect_saved(&result, &row.name.to_string(), &etag::of(row.generation))
}

/// The environment; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &EnvironmentName) -> Result<EnvironmentRow> {
    let row: Option<Columns> =
        sqlx::query_as(sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
            .bind(name.to_string())
            .fetch_optional(conn)
            .await?;
    row.map(read)
        .transpose()?
        .ok_or_else(|| Error::not_found("environment", name))
}

/// A page of environments by name, with one more row than the page if there is one.
pub async fn list(conn: &mut AnyConnection, page: &Page) -> Result<Vec<EnvironmentRow>> {
    let rows: Vec<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{COLUMNS} WHERE name > $1 ORDER BY name LIMIT $2"
    )))
    .bind(page.after().unwrap_or_default().to_owned())
    .bind(page.limit())
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(read).collect()
}

fn read((name, description, evidence, generation, created_at): Columns) -> Result<EnvironmentRow> {
    Ok(EnvironmentRow {
        name: stored_name(&name)?,
        description,
        evidence: from_text(&evidence)?,
        generation,
        created_at: Timestamp(created_at),
    })
}
