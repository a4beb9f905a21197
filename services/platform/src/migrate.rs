//! Plain SQL migrations, applied in order and once, each in a transaction of its own.
//!
//! Owns the table `slipway_migrations`. Invariants: an applied step is never run again; a step whose text
//! changed after it was applied is refused; steps that this program does not know are left alone, since
//! during an upgrade a newer replica may have been first, and changes are additive.

use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, AssertSqlSafe, Connection};

use crate::{Error, Result, clock::Clock, db::BYTES};

/// A named list of steps; `name` is the service's, and also names its event source.
#[derive(Debug)]
pub struct Migrations {
    /// `registry`.
    pub name: &'static str,
    /// (`0001_init`, SQL text), oldest first. Bytes columns are written `BYTES`.
    pub steps: &'static [(&'static str, &'static str)],
}

/// The tables that every service's database has.
pub static PLATFORM: Migrations = Migrations {
    name: "platform",
    steps: &[("0001_events", include_str!("../migrations/0001_events.sql"))],
};

/// Which database runs the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The embedded default.
    Sqlite,
    /// For replicas.
    Postgres,
}

impl Dialect {
    fn bytes(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BLOB",
            Dialect::Postgres => "BYTEA",
        }
    }

    /// Replaces the word `BYTES` by the dialect's type; other words that contain it stay.
    pub fn translate(self, sql: &str) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut out = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some(at) = rest.find(BYTES) {
            let (before, after) = (&rest[..at], &rest[at + BYTES.len()..]);
            let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
            out.push_str(before);
            out.push_str(if whole { self.bytes() } else { BYTES });
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// Applies what is missing of `sets`, in the order given.
pub async fn apply(
    conn: &mut AnyConnection,
    dialect: Dialect,
    sets: &[&Migrations],
    clock: &dyn Clock,
) -> Result<()> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS slipway_migrations (component TEXT NOT NULL, step TEXT NOT NULL, \
         checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (component, step))",
    )
    .execute(&mut *conn)
    .await?;
    for set in sets {
        for (step, sql) in set.steps {
            apply_step(conn, dialect, set.name, step, sql, clock).await?;
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
