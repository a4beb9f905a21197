//! The tables `aliases` and `alias_movements`: where each alias points, and everywhere it ever pointed.

use slipway_platform::{
    Result,
    clock::Timestamp,
    db::expect_saved,
    names::{AliasName, ModelName},
};
use sqlx::{AnyConnection, Row, any::AnyRow};

use crate::domain::alias::{Actor, Alias};

/// One row of the history.
#[derive(Debug, Clone)]
pub struct Movement {
    /// The alias from then on.
    pub alias: Alias,
    /// The version's number before.
    pub previous: Option<i64>,
}

/// Reads an alias, removed ones included.
pub async fn load(conn: &mut AnyConnection, name: &AliasName) -> Result<Option<Alias>> {
    let row = sqlx::query(
        "SELECT generation, number, moved_at, actor_kind, actor_name, reason FROM aliases \
         WHERE workspace = $1 AND model = $2 AND alias = $3",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(name.id())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(alias).transpose()
}

/// Saves a movement and adds it to the history. `before` is what the alias was read as; `Conflict` when it
/// is not that any more.
pub async fn save(
    conn: &mut AnyConnection,
    name: &AliasName,
    before: Option<&Alias>,
    after: &Alias,
) -> Result<()> {
    let sql = match before {
        Some(_) => {
            "UPDATE aliases SET generation = $4, number = $5, moved_at = $6, actor_kind = $7, actor_name = $8, \
             reason = $9 WHERE workspace = $1 AND model = $2 AND alias = $3 AND generation = $4 - 1"
        }
        None => {
            "INSERT INTO aliases (workspace, model, alias, generation, number, moved_at, actor_kind, actor_name, \
             reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (workspace, model, alias) DO NOTHING"
        }
    };
    let result = sqlx::query(sql)
        .bind(name.workspace().id())
        .bind(name.model().id())
        .bind(name.id())
        .bind(after.generation)
        .bind(after.number)
        .bind(after.moved_at.0)
        .bind(after.actor.kind.as_str())
        .bind(after.actor.name.as_str())
        .bind(after.reason.as_str())
        .execute(&mut *conn)
        .await?;
    expect_saved(&result, &name.to_string(), "")?;
    sqlx::query(
        "INSERT INTO alias_movements (workspace, model, alias, generation, number, previous_number, moved_at, \
         actor_kind, actor_name, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(name.id())
    .bind(after.generation)
    .bind(after.number)
    .bind(before.and_then(|alias| alias.number))
    .bind(after.moved_at.0)
    .bind(after.actor.kind.as_str())
    .bind(after.actor.name.as_str())
    .bind(after.reason.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

/// The alias as it was at `time`: its newest movement until then.
pub async fn at(
    conn: &mut AnyConnection,
    name: &AliasName,
    time: Timestamp,
) -> Result<Option<Alias>> {
    let row = sqlx::query(
        "SELECT generation, number, moved_at, actor_kind, actor_name, reason FROM alias_movements \
         WHERE workspace = $1 AND model = $2 AND alias = $3 AND moved_at <= $4 ORDER BY generation DESC LIMIT 1",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(name.id())
    .bind(time.0)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(alias).transpose()
}

/// The aliases of a model that are not removed, by name, after `after`.
pub async fn list(
    conn: &mut AnyConnection,
    model: &ModelName,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, Alias)>> {
    let rows = sqlx::query(
        "SELECT generation, number, moved_at, actor_kind, actor_name, reason, alias FROM aliases \
         WHERE workspace = $1 AND model = $2 AND alias > $3 AND number IS NOT NULL ORDER BY alias LIMIT $4",
    )
    .bind(model.workspace().id())
    .bind(model.id())
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(6)?, alias(row)?)))
        .collect()
}

/// The movements of an alias before generation `before`, newest first.
pub async fn movements(
    conn: &mut AnyConnection,
    name: &AliasName,
    before: i64,
    limit: i64,
) -> Result<Vec<Movement>> {
    let rows = sqlx::query(
        "SELECT generation, number, moved_at, actor_kind, actor_name, reason, previous_number \
         FROM alias_movements WHERE workspace = $1 AND model = $2 AND alias = $3 AND generation < $4 \
         ORDER BY generation DESC LIMIT $5",
    )
    .bind(name.workspace().id())
    .bind(name.model().id())
    .bind(name.id())
    .bind(before)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Movement {
                alias: alias(row)?,
                previous: row.try_get(6)?,
            })
        })
        .collect()
}

fn alias(row: &AnyRow) -> Result<Alias> {
    Ok(Alias {
        generation: row.try_get(0)?,
        number: row.try_get(1)?,
        moved_at: Timestamp(row.try_get(2)?),
        actor: Actor {
            kind: row.try_get(3)?,
            name: row.try_get(4)?,
        },
        reason: row.try_get(5)?,
    })
}
