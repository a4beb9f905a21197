//! Plain SQL migrations, applied in order and once, each in a transaction of its own.
//!
//! Owns the table `slipway_migrations`. Invariants: an applied step is never run again; a step whose text
//! changed after it was applied is refused. Changes are additive, so a step that this program does not know
//! is left alone: during an upgrade a newer replica may have been first. A step that an older program cannot
//! live with has `breaking` as a word of its name (`0007_breaking_split`), and a database that has one of
//! those beyond what the program knows is refused.

mod dialect;

use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};

use crate::{Error, Result, clock::Clock};

pub use dialect::Dialect;

/// A named list of steps; `name` is the service's, and also names its event source.
#[derive(Debug)]
pub struct Migrations {
    /// `registry`.
    pub name: &'static str,
    /// (`0001_init`, SQL text), oldest first. Bytes columns are written `BYTES`. A name with the word
    /// `breaking` keeps older programs out.
    pub steps: &'static [(&'static str, &'static str)],
}

/// The tables that every service's database has.
pub static PLATFORM: Migrations = Migrations {
    name: "platform",
    steps: &[
        ("0001_events", include_str!("../migrations/0001_events.sql")),
        ("0002_leases", include_str!("../migrations/0002_leases.sql")),
        ("0003_events", include_str!("../migrations/0003_events.sql")),
    ],
};

/// Applies what is missing of `sets`, in the order given. `shown` names the database for people.
pub async fn apply(
    conn: &mut AnyConnection,
    dialect: Dialect,
    sets: &[&Migrations],
    clock: &dyn Clock,
    shown: &str,
) -> Result<()> {
    let table = "CREATE TABLE IF NOT EXISTS slipway_migrations (component TEXT NOT NULL, step TEXT NOT NULL, \
                 checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (component, step))";
    sqlx::raw_sql(AssertSqlSafe(dialect.translate(table)))
        .execute(&mut *conn)
        .await?;
    refuse_what_is_not_ours(conn, sets, shown).await?;
    for set in sets {
        for (step, sql) in set.steps {
            apply_step(conn, dialect, set.name, step, sql, clock).await?;
        }
    }
    Ok(())
}

/// A database of another service, and one that a newer program changed in a way that this one does not know.
async fn refuse_what_is_not_ours(
    conn: &mut AnyConnection,
    sets: &[&Migrations],
    shown: &str,
) -> Result<()> {
    let applied: Vec<(String, String)> =
        sqlx::query_as("SELECT component, step FROM slipway_migrations ORDER BY component, step")
            .fetch_all(&mut *conn)
            .await?;
    for (component, step) in applied {
        let Some(set) = sets.iter().find(|set| set.name == component) else {
            return Err(Error::precondition(
                "STORAGE_OF_ANOTHER_SERVICE",
                shown,
                format!(
                    "{shown} belongs to the {component}; give this service another storage.url or \
                     storage.schema"
                ),
            ));
        };
        let known = set.steps.iter().any(|(name, _)| *name == step);
        if !known && step.split('_').any(|word| word == "breaking") {
            return Err(Error::precondition(
                "SCHEMA_TOO_NEW",
                shown,
                format!(
                    "{shown} was changed by a newer program in a way that this one does not know \
                     ({component} {step}); upgrade this program, or restore a backup from before"
                ),
            ));
        }
    }
    Ok(())
}

async fn apply_step(
    conn: &mut AnyConnection,
    dialect: Dialect,
    component: &str,
    step: &str,
    sql: &str,
    clock: &dyn Clock,
) -> Result<()> {
    let begin = match dialect {
        Dialect::Sqlite => "BEGIN IMMEDIATE",
        Dialect::Postgres => "BEGIN",
    };
    let mut tx = conn.begin_with(begin).await?;
    let applied: Option<(String,)> = sqlx::query_as(
        "SELECT checksum FROM slipway_migrations WHERE component = $1 AND step = $2",
    )
    .bind(component)
    .bind(step)
    .fetch_optional(&mut *tx)
    .await?;
    let checksum = hex::encode(Sha256::digest(sql.as_bytes()));
    if let Some((applied,)) = applied {
        if applied != checksum {
            return Err(Error::Precondition {
                reason: "MIGRATION_CHANGED",
                subject: format!("{component}/{step}"),
                description: "this migration was applied with another text; restore the program or the database"
                    .to_owned(),
            });
        }
        return Ok(());
    }
    sqlx::raw_sql(AssertSqlSafe(dialect.translate(sql)))
        .execute(&mut *tx)
        .await?;
    sqlx::query("INSERT INTO slipway_migrations (component, step, checksum, applied_at) VALUES ($1, $2, $3, $4)")
        .bind(component)
        .bind(step)
        .bind(checksum)
        .bind(clock.now().0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    tracing::info!(component, step, "migration applied");
    Ok(())
}
