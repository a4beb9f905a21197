//! Blocks: what was rolled back may not run on that endpoint until a person lifts it.

use slipway_platform::clock::Timestamp;
use slipway_platform::names::{BlockName, EndpointName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::stored_name;
use crate::domain::resources::{Actor, Block};

const COLUMNS: &str = "SELECT name, version_digest, revision, version, reason, actor_kind, actor_name, created_at, \
                       lifted_at, lifted_by_kind, lifted_by_name, lift_reason FROM blocks";

/// Sets a block.
pub async fn insert(conn: &mut AnyConnection, block: &Block) -> Result<()> {
    sqlx::query(
        "INSERT INTO blocks (name, endpoint, version_digest, revision, version, reason, actor_kind, actor_name, \
         created_at, lifted_at, lifted_by_kind, lifted_by_name, lift_reason) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, '', '', '')",
    )
    .bind(block.name.to_string())
    .bind(block.name.endpoint().to_string())
    .bind(block.version_digest.as_str())
    .bind(block.revision.to_string())
    .bind(block.version.to_string())
    .bind(block.reason.as_str())
    .bind(block.actor.kind.as_str())
    .bind(block.actor.name.as_str())
    .bind(block.created_at.0)
    .execute(conn)
    .await?;
    Ok(())
}

/// Lifts a block. One that is lifted already stays as it is.
pub async fn lift(
    conn: &mut AnyConnection,
    name: &BlockName,
    by: &Actor,
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE blocks SET lifted_at = $1, lifted_by_kind = $2, lifted_by_name = $3, lift_reason = $4 \
         WHERE name = $5 AND lifted_at IS NULL",
    )
    .bind(now.0)
    .bind(by.kind.as_str())
    .bind(by.name.as_str())
    .bind(reason.to_owned())
    .bind(name.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// The block; `NotFound` if there is none.
pub async fn get(conn: &mut AnyConnection, name: &BlockName) -> Result<Block> {
    let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE name = $1")))
        .bind(name.to_string())
        .fetch_optional(conn)
        .await?;
    row.as_ref()
        .map(read)
        .transpose()?
        .ok_or_else(|| Error::not_found("block", name))
}

/// The block in force on a digest, if there is one.
pub async fn in_force(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    digest: &str,
) -> Result<Option<Block>> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND version_digest = $2 AND lifted_at IS NULL ORDER BY name LIMIT 1"
    )))
    .bind(endpoint.to_string())
    .bind(digest.to_owned())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(read).transpose()
}

/// A page of an endpoint's blocks, newest first, with one more row than the page if there is one.
pub async fn list(
    conn: &mut AnyConnection,
    endpoint: &EndpointName,
    include_lifted: bool,
    page: &Page,
) -> Result<Vec<Block>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "{COLUMNS} WHERE endpoint = $1 AND (lifted_at IS NULL OR $2 = 1) AND ($3 = '' OR name < $3) \
         ORDER BY name DESC LIMIT $4"
    )))
    .bind(endpoint.to_string())
    .bind(i64::from(include_lifted))
    .bind(page.after().unwrap_or_default().to_owned())
    .bind(page.limit())
    .fetch_all(conn)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &sqlx::any::AnyRow) -> Result<Block> {
    let lifted_at: Option<i64> = row.try_get(8)?;
    let lifted = match lifted_at {
        Some(at) => Some((
            Timestamp(at),
            Actor {
                kind: row.try_get(9)?,
                name: row.try_get(10)?,
            },
            row.try_get(11)?,
        )),
        None => None,
    };
    Ok(Block {
        name: stored_name(row.try_get(0)?)?,
        version_digest: row.try_get(1)?,
        revision: stored_name(row.try_get(2)?)?,
        version: stored_name(row.try_get(3)?)?,
        reason: row.try_get(4)?,
        actor: Actor {
            kind: row.try_get(5)?,
            name: row.try_get(6)?,
        },
        created_at: Timestamp(row.try_get(7)?),
        lifted,
    })
}
