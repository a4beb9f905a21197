//! Copies a service's whole database into a new one: the way from the embedded file to PostgreSQL.
//!
//! Everything is one transaction of the target, so an interrupted copy leaves it as it was. The source must
//! not be in use, and stays as it is. Leases and the record of migrations are not copied: the target has its
//! own. Events count as not published yet, so that the bus of the target gets those that the outbox still
//! has; consumers whose inbox was copied too drop what they have handled.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use sqlx::{AnyConnection, AssertSqlSafe, Row, any::AnyRow, query::Query};

use super::{Db, StorageConfig, Tx};
use crate::{Error, Result, events::outbox, migrate::Migrations};

/// Parameters of one INSERT at most; PostgreSQL takes 65,535.
const PARAMETERS_MAX: usize = 4_000;
/// Tables that belong to a database and not to what is stored in it, by how their names begin.
const NOT_COPIED: [&str; 3] = ["slipway_migrations", "slipway_leases", "slipway_replicas"];
/// Tables in which every service that has done anything has rows.
const TRACES: [&str; 3] = [
    "slipway_outbox_keys",
    "slipway_inbox_sequences",
    "slipway_requests",
];

/// A table that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
}

/// Copies the SQLite database `from` into `to`, which is made when it is missing. `progress` hears of each
/// table and of the rows that it has so far.
///
/// `Precondition` `STORAGE_IN_USE` when a process has the source open, `STORAGE_NOT_EMPTY` when the target
/// has been used. Nothing is written unless everything is.
pub async fn copy(
    from: &StorageConfig,
    to: &StorageConfig,
    service: &'static Migrations,
    mut progress: impl FnMut(&str, u64),
) -> Result<Vec<Copied>> {
    let source = Db::open_exclusive(from, service).await?;
    if source.is_shared() {
        return Err(Error::invalid("from", "must be a SQLite database"));
    }
    let target = Db::open(to, service).await?;
    let mut tx = target.begin().await?;
    refuse_used(&mut tx, to).await?;
    let mut reader = source.read().await?;
    let tables = in_order(&mut reader).await?;
    // What the migrations put there; whoever refers to others goes first.
    for table in tables.iter().rev() {
        execute(&mut tx, &format!("DELETE FROM {}", table.name)).await?;
    }
    let mut copied = Vec::new();
    for table in &tables {
        let rows = copy_table(&mut reader, &mut tx, table, &mut progress).await?;
        let table = table.name.clone();
        copied.push(Copied { table, rows });
    }
    publish_again(&mut tx).await?;
    tx.commit().await?;
    drop(reader);
    source.close().await;
    target.close().await;
    Ok(copied)
}

async fn refuse_used(tx: &mut Tx, to: &StorageConfig) -> Result<()> {
    for table in TRACES {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        let (rows,): (i64,) = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_one(&mut **tx)
            .await?;
        if rows > 0 {
            let why =
                "the target has been used; give an empty schema or database, or drop it first";
            let shown = format!("schema {:?}", to.schema);
            return Err(Error::precondition("STORAGE_NOT_EMPTY", shown, why));
        }
    }
    Ok(())
}

struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    refers_to: BTreeSet<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    Bytes,
}

/// The tables of the source, each after those that it refers to.
async fn in_order(conn: &mut AnyConnection) -> Result<Vec<Table>> {
    let names: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' \
         ORDER BY name",
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut waiting = Vec::new();
    for (name,) in names {
        if !NOT_COPIED.iter().any(|prefix| name.starts_with(prefix)) {
            waiting.push(table(conn, name).await?);
        }
    }
    let mut ordered: Vec<Table> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let placed: BTreeSet<String> = ordered.iter().map(|table| table.name.clone()).collect();
        let (ready, later): (Vec<Table>, Vec<Table>) = waiting
            .into_iter()
            .partition(|table| table.refers_to.is_subset(&placed));
        if ready.is_empty() {
            return Err(Error::internal(
                "order the tables",
                "they refer to each other in a circle",
            ));
        }
        ordered.extend(ready);
        waiting = later;
    }
    Ok(ordered)
}

async fn table(conn: &mut AnyConnection, name: String) -> Result<Table> {
    let columns: Vec<(String, String)> =
        sqlx::query_as("SELECT name, type FROM pragma_table_info($1) ORDER BY cid")
            .bind(name.as_str())
            .fetch_all(&mut *conn)
            .await?;
    let columns: Result<Vec<(String, Kind)>> = columns
        .into_iter()
        .map(|(column, declared)| match declared.as_str() {
            "BIGINT" | "INTEGER" => Ok((column, Kind::Number)),
            "TEXT" => Ok((column, Kind::Text)),
            "BLOB" => Ok((column, Kind::Bytes)),
            other => Err(Error::internal(
                "copy a table",
                format!("{name}.{column} is {other}"),
            )),
        })
        .collect();
    let refers_to: Vec<(String,)> =
        sqlx::query_as("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)")
            .bind(name.as_str())
            .fetch_all(&mut *conn)
            .await?;
    let refers_to = refers_to.into_iter().map(|(other,)| other);
    Ok(Table {
        columns: columns?,
        refers_to: refers_to.filter(|other| *other != name).collect(),
        name,
    })
}

async fn copy_table(
    source: &mut AnyConnection,
    target: &mut AnyConnection,
    table: &Table,
    progress: &mut impl FnMut(&str, u64),
) -> Result<u64> {
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let names = names.join(", ");
    let batch_max = (PARAMETERS_MAX / table.columns.len()).max(1);
    let select = format!("SELECT {names} FROM {}", table.name);
    let mut rows = sqlx::query(AssertSqlSafe(select)).fetch(source);
    let (mut batch, mut copied) = (Vec::with_capacity(batch_max), 0);
    progress(&table.name, 0);
    loop {
        let row = rows.try_next().await?;
        let ended = row.is_none();
        batch.extend(row);
        if batch.len() == batch_max || (ended && !batch.is_empty()) {
            insert(target, table, &names, &batch).await?;
            copied += batch.len() as u64;
            batch.clear();
            progress(&table.name, copied);
        }
        if ended {
            return Ok(copied);
        }
    }
}

async fn insert(
    target: &mut AnyConnection,
    table: &Table,
    names: &str,
    rows: &[AnyRow],
) -> Result<()> {
    let width = table.columns.len();
    let values: Vec<String> = (0..rows.len())
        .map(|row| {
            let places: Vec<String> = (1..=width)
                .map(|column| format!("${}", row * width + column))
                .collect();
            format!("({})", places.join(", "))
        })
        .collect();
    let sql = format!(
        "INSERT INTO {} ({names}) VALUES {}",
        table.name,
        values.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for row in rows {
        for (index, (_, kind)) in table.columns.iter().enumerate() {
            query = bind(query, row, index, *kind)?;
        }
    }
    query.execute(target).await?;
    Ok(())
}

type AnyQuery<'q> = Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

fn bind<'q>(query: AnyQuery<'q>, row: &AnyRow, index: usize, kind: Kind) -> Result<AnyQuery<'q>> {
    Ok(match kind {
        Kind::Number => query.bind(row.try_get::<Option<i64>, _>(index)?),
        Kind::Text => query.bind(row.try_get::<Option<String>, _>(index)?),
        Kind::Bytes => query.bind(row.try_get::<Option<Vec<u8>>, _>(index)?),
    })
}

/// The bus of the target has nothing yet. Numbers of publication go on behind the old ones, so that a token
/// of `WatchEvents` from before is known to be too old.
async fn publish_again(tx: &mut Tx) -> Result<()> {
    execute(
        tx,
        "UPDATE slipway_outbox SET published_at = NULL, published = NULL",
    )
    .await?;
    execute(
        tx,
        "UPDATE slipway_counters SET value = (SELECT c.value FROM slipway_counters c \
         WHERE c.name = 'outbox published') WHERE name = 'outbox deleted'",
    )
    .await?;
    outbox::continue_positions(tx).await
}

async fn execute(tx: &mut Tx, sql: &str) -> Result<()> {
    sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use slipway_proto::event::v1::AliasMoved;

    use super::*;
    use crate::{clock::Timestamp, testing::storage};

    static TEST: Migrations = Migrations {
        name: "test",
        // The one that refers comes first by its name.
        steps: &[(
            "0001_init",
            "CREATE TABLE wholes (id TEXT NOT NULL PRIMARY KEY, note TEXT, body BYTES, size BIGINT); \
             CREATE TABLE parts (id BIGINT NOT NULL PRIMARY KEY, whole TEXT NOT NULL REFERENCES wholes (id)); \
             CREATE TABLE counts (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL); \
             INSERT INTO counts (name, value) VALUES ('a', 1);",
        )],
    };

    async fn filled(folder: &tempfile::TempDir, rows: i64) -> StorageConfig {
        let config = StorageConfig::sqlite(&folder.path().join("from.db"));
        let db = Db::open_exclusive(&config, &TEST).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        for id in 0..rows {
            sqlx::query("INSERT INTO wholes (id, note, body, size) VALUES ($1, $2, $3, $4)")
                .bind(format!("w{id}"))
                .bind((id % 2 == 0).then(|| "ünïcode '".to_owned()))
                .bind((id % 3 == 0).then(|| vec![0_u8, 255]))
                .bind((id % 5 == 0).then_some(i64::MIN))
                .execute(&mut *tx)
                .await
                .unwrap();
            sqlx::query("INSERT INTO parts (id, whole) VALUES ($1, $2)")
                .bind(id)
                .bind(format!("w{id}"))
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        execute(&mut tx, "UPDATE counts SET value = 7")
            .await
            .unwrap();
        outbox::publish(&mut tx, Timestamp(1), "k", "s", &AliasMoved::default())
            .await
            .unwrap();
        execute(
            &mut tx,
            "UPDATE slipway_outbox SET published_at = 1, published = 1, position = 9",
        )
        .await
        .unwrap();
        execute(
            &mut tx,
            "UPDATE slipway_counters SET value = 1 WHERE name = 'outbox published'",
        )
        .await
        .unwrap();
        execute(
            &mut tx,
            "UPDATE slipway_counters SET value = 9 WHERE name = 'outbox'",
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        config
    }

    async fn number(db: &Db, sql: &str) -> i64 {
        let mut reader = db.read().await.unwrap();
        let query = sqlx::query_as::<_, (i64,)>(AssertSqlSafe(sql.to_owned()));
        query.fetch_one(&mut *reader).await.unwrap().0
    }

    #[tokio::test]
    async fn every_row_is_copied_and_events_wait_to_be_published() {
        let folder = tempfile::tempdir().unwrap();
        let rows = 2_500;
        let from = filled(&folder, rows).await;
        let to = storage(&folder.path().join("to"));
        let mut seen = Vec::new();
        let copied = copy(&from, &to, &TEST, |table, rows| {
            seen.push((table.to_owned(), rows))
        })
        .await
        .unwrap();
        let wholes = copied.iter().find(|table| table.table == "wholes").unwrap();
        assert_eq!(wholes.rows, rows as u64);
        assert!(seen.contains(&("parts".to_owned(), rows as u64)));
        let db = Db::open(&to, &TEST).await.unwrap();
        assert_eq!(number(&db, "SELECT COUNT(*) FROM parts").await, rows);
        assert_eq!(number(&db, "SELECT value FROM counts").await, 7);
        let nulls = "SELECT COUNT(*) FROM wholes WHERE note IS NULL AND id = 'w1' AND body IS NULL";
        assert_eq!(number(&db, nulls).await, 1);
        let mut reader = db.read().await.unwrap();
        let first: (String, Vec<u8>, i64) =
            sqlx::query_as("SELECT note, body, size FROM wholes WHERE id = 'w0'")
                .fetch_one(&mut *reader)
                .await
                .unwrap();
        assert_eq!(first, ("ünïcode '".to_owned(), vec![0, 255], i64::MIN));
        drop(reader);
        let waiting = "SELECT COUNT(*) FROM slipway_outbox WHERE published_at IS NULL";
        assert_eq!(number(&db, waiting).await, 1);
        // The next event of the key goes on where the old database ended.
        let mut tx = db.begin().await.unwrap();
        outbox::publish(&mut tx, Timestamp(2), "k", "s", &AliasMoved::default())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let last = "SELECT sequence FROM slipway_outbox ORDER BY position DESC LIMIT 1";
        assert_eq!(number(&db, last).await, 2);
        assert_eq!(number(&db, "SELECT COUNT(*) FROM slipway_outbox").await, 2);
        db.close().await;
    }

    #[tokio::test]
    async fn a_database_that_was_used_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let from = filled(&folder, 3).await;
        let to = storage(&folder.path().join("to"));
        copy(&from, &to, &TEST, |_, _| {}).await.unwrap();
        let again = copy(&from, &to, &TEST, |_, _| {}).await.unwrap_err();
        assert!(
            matches!(
                again,
                Error::Precondition {
                    reason: "STORAGE_NOT_EMPTY",
                    ..
                }
            ),
            "{again}"
        );
        let db = Db::open(&to, &TEST).await.unwrap();
        assert_eq!(number(&db, "SELECT COUNT(*) FROM parts").await, 3);
        db.close().await;
    }

    #[tokio::test]
    async fn a_database_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let from = filled(&folder, 1).await;
        let running = Db::open_exclusive(&from, &TEST).await.unwrap();
        let to = storage(&folder.path().join("to"));
        let refused = copy(&from, &to, &TEST, |_, _| {}).await.unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Precondition {
                    reason: "STORAGE_IN_USE",
                    ..
                }
            ),
            "{refused}"
        );
        running.close().await;
    }
}
