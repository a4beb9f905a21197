//! The table `models`.

use prost::Message;
use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    db::is_unique_violation,
    etag,
    names::{ModelName, WorkspaceName},
};
use slipway_proto::registry::v1::Model;
use sqlx::AnyConnection;

/// What the model's row counts to, locked until commit.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// The number of the newest version.
    pub latest_version: i64,
    /// Creations and changes of its versions.
    pub changes: i64,
}

type Row = (Vec<u8>, i64, i64);

/// Inserts a model; `AlreadyExists` when the name is taken.
pub async fn insert(
    conn: &mut AnyConnection,
    name: &ModelName,
    model: &Model,
    now: Timestamp,
) -> Result<Model> {
    let inserted = sqlx::query(
        "INSERT INTO models (workspace, model, generation, latest_version, changes, created_at, document) \
         VALUES ($1, $2, 1, 0, 0, $3, $4)",
    )
    .bind(name.workspace().id())
    .bind(name.id())
    .bind(now.0)
    .bind(model.encode_to_vec())
    .execute(conn)
    .await;
    match inserted {
        Ok(_) => assemble((model.encode_to_vec(), 1, 0)),
        Err(error) if is_unique_violation(&error) => Err(Error::already_exists("model", name)),
        Err(error) => Err(error.into()),
    }
}

/// Reads a model.
pub async fn get(conn: &mut AnyConnection, name: &ModelName) -> Result<Model> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT document, generation, latest_version FROM models WHERE workspace = $1 AND model = $2",
    )
    .bind(name.workspace().id())
    .bind(name.id())
    .fetch_optional(conn)
    .await?;
    row.map(assemble)
        .transpose()?
        .ok_or_else(|| Error::not_found("model", name))
}

/// Reads models of a workspace by name, after `after`.
pub async fn list(
    conn: &mut AnyConnection,
    workspace: &WorkspaceName,
    after: &str,
    limit: i64,
) -> Result<Vec<Model>> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT document, generation, latest_version FROM models WHERE workspace = $1 AND model > $2 \
         ORDER BY model LIMIT $3",
    )
    .bind(workspace.id())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(assemble).collect()
}

/// Takes the next version number, and locks the model until commit.
pub async fn next_version(conn: &mut AnyConnection, name: &ModelName) -> Result<Counters> {
    count(
        conn,
        name,
        "UPDATE models SET generation = generation + 1, latest_version = latest_version + 1, changes = changes + 1 \
         WHERE workspace = $1 AND model = $2 RETURNING latest_version, changes",
    )
    .await
}

/// Counts a change of one of the model's versions, and locks the model until commit.
pub async fn next_change(conn: &mut AnyConnection, name: &ModelName) -> Result<Counters> {
    count(
        conn,
        name,
        "UPDATE models SET changes = changes + 1 WHERE workspace = $1 AND model = $2 \
         RETURNING latest_version, changes",
    )
    .await
}

async fn count(conn: &mut AnyConnection, name: &ModelName, sql: &'static str) -> Result<Counters> {
    let row: Option<(i64, i64)> = sqlx::query_as(sql)
        .bind(name.workspace().id())
        .bind(name.id())
        .fetch_optional(conn)
        .await?;
    let (latest_version, changes) = row.ok_or_else(|| Error::not_found("model", name))?;
    Ok(Counters {
        latest_version,
        changes,
    })
}

fn assemble((document, generation, latest_version): Row) -> Result<Model> {
    let model = Model::decode(document.as_slice()).map_err(super::corrupt)?;
    Ok(Model {
        latest_version,
        etag: etag::of(generation),
        ..model
    })
}
