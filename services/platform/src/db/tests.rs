//! Conformance of the storage: plain cases over a `Db`, each expanded to one test per backend.

use std::time::Duration;

use sqlx::{AnyConnection, Row};

use super::{sqlite::BUSY_TIMEOUT_MS, *};

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[(
        "0001_init",
        "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, generation BIGINT NOT NULL, note TEXT, body BYTES); \
         CREATE TABLE parts (id BIGINT NOT NULL PRIMARY KEY, thing TEXT NOT NULL REFERENCES things (id));",
    )],
};

struct TestDb {
    db: Db,
    _folder: tempfile::TempDir,
}

async fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a folder?").join("100%.db");
    let db = Db::open(&format!("sqlite:{}", path.display()), &TEST)
        .await
        .unwrap();
    assert!(path.exists());
    TestDb {
        db,
        _folder: folder,
    }
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $case() {
                    let test = super::sqlite().await;
                    super::$case(&test.db).await;
                }
            )*
        }
    };
}

conformance!(
    values_come_back_as_they_were_stored,
    the_connections_are_set_up,
    a_save_by_generation_conflicts_when_the_row_moved,
    a_dropped_transaction_leaves_nothing,
    a_cancelled_writer_frees_the_writer,
    readers_see_the_last_commit_while_a_writer_works,
    readers_cannot_write,
    writers_take_turns,
    broken_keys_are_told_apart,
    a_commit_counts_and_nudges_only_when_events_were_published,
    a_stamp_changes_with_each_commit_and_with_nothing_else,
    a_commit_goes_to_its_end_when_the_caller_goes_away,
);

async fn insert(tx: &mut Tx, id: &str) {
    sqlx::query("INSERT INTO things (id, generation) VALUES ($1, 1)")
        .bind(id)
        .execute(&mut *tx)
        .await
        .unwrap();
}

async fn count(db: &Db) -> i64 {
    let mut reader = db.read().await.unwrap();
    sqlx::query_as::<_, (i64,)>("SELECT COUNT(*) FROM things")
        .fetch_one(&mut *reader)
        .await
        .unwrap()
        .0
}

async fn values_come_back_as_they_were_stored(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    let row = sqlx::query(
        "INSERT INTO things (id, generation, note, body) VALUES ($1, $2, $3, $4) \
         RETURNING id, generation, note, body",
    )
    .bind("ünïcode ' \" %")
    .bind(i64::MIN)
    .bind(None::<String>)
    .bind(vec![0_u8, 255, 1])
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(row.get::<String, _>(0), "ünïcode ' \" %");
    assert_eq!(row.get::<i64, _>("generation"), i64::MIN);
    assert_eq!(row.get::<Option<String>, _>(2), None);
    assert_eq!(row.get::<Vec<u8>, _>(3), vec![0, 255, 1]);
    tx.commit().await.unwrap();
    let mut reader = db.read().await.unwrap();
    let row: (i64, Option<String>, Option<Vec<u8>>) = sqlx::query_as(
        "SELECT generation, note, body FROM things WHERE generation = $1 AND note IS NULL",
    )
    .bind(i64::MIN)
    .fetch_one(&mut *reader)
    .await
    .unwrap();
    assert_eq!(row, (i64::MIN, None, Some(vec![0, 255, 1])));
}

async fn the_connections_are_set_up(db: &Db) {
    async fn pragmas(conn: &mut AnyConnection) -> (String, i64, i64, i64) {
        let mode: (String,) = sqlx::query_as("PRAGMA journal_mode")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        let synchronous: (i64,) = sqlx::query_as("PRAGMA synchronous")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        let keys: (i64,) = sqlx::query_as("PRAGMA foreign_keys")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        let busy: (i64,) = sqlx::query_as("PRAGMA busy_timeout")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        (mode.0, synchronous.0, keys.0, busy.0)
    }
    let full = ("wal".to_owned(), 2, 1, i64::from(BUSY_TIMEOUT_MS));
    let mut tx = db.begin().await.unwrap();
    assert_eq!(pragmas(&mut tx).await, full);
    drop(tx);
    let mut relaxed = db.begin_relaxed().await.unwrap();
    assert_eq!(pragmas(&mut relaxed).await.1, 1);
    drop(relaxed);
    let mut again = db.begin().await.unwrap();
    assert_eq!(pragmas(&mut again).await, full);
    let mut readers = Vec::new();
    for _ in 0..READERS_MAX {
        let mut reader = db.read().await.unwrap();
        assert_eq!(pragmas(&mut reader).await, full);
        readers.push(reader);
    }
}

async fn a_save_by_generation_conflicts_when_the_row_moved(db: &Db) {
    const SAVE: &str = "UPDATE things SET note = $3, generation = generation + 1 WHERE id = $1 AND generation = $2";
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    let save = |generation: i64, note: &'static str| {
        sqlx::query(SAVE).bind("a").bind(generation).bind(note)
    };
    let first = save(1, "first").execute(&mut *tx).await.unwrap();
    assert!(expect_saved(&first, "things/a", "g2").is_ok());
    let second = save(1, "second").execute(&mut *tx).await.unwrap();
    let error = expect_saved(&second, "things/a", "g2").unwrap_err();
    assert!(
        matches!(error, Error::Conflict { name, current, .. } if name == "things/a" && current == "g2")
    );
    tx.commit().await.unwrap();
    let mut reader = db.read().await.unwrap();
    let row: (String, i64) = sqlx::query_as("SELECT note, generation FROM things")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(row, ("first".to_owned(), 2));
}

async fn a_dropped_transaction_leaves_nothing(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "b").await;
    tx.rollback().await.unwrap();
    assert_eq!(count(db).await, 0);
}

async fn a_cancelled_writer_frees_the_writer(db: &Db) {
    let held = db.begin().await.unwrap();
    for _ in 0..20 {
        let waiting = tokio::time::timeout(Duration::from_millis(1), db.begin()).await;
        assert!(waiting.is_err());
    }
    drop(held);
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    assert_eq!(count(db).await, 1);
}

async fn readers_see_the_last_commit_while_a_writer_works(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    let mut readers = Vec::new();
    for _ in 0..READERS_MAX {
        readers.push(db.read().await.unwrap());
    }
    for reader in &mut readers {
        let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM things")
            .fetch_one(&mut **reader)
            .await
            .unwrap();
        assert_eq!(row.0, 0);
    }
    tx.commit().await.unwrap();
    for reader in &mut readers {
        let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM things")
            .fetch_one(&mut **reader)
            .await
            .unwrap();
        assert_eq!(row.0, 1);
    }
}

async fn readers_cannot_write(db: &Db) {
    let mut reader = db.read().await.unwrap();
    let result = sqlx::query("INSERT INTO things (id, generation) VALUES ('a', 1)")
        .execute(&mut *reader)
        .await;
    assert!(result.is_err());
    drop(reader);
    assert_eq!(count(db).await, 0);
}

async fn writers_take_turns(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let row: (i64,) = sqlx::query_as("SELECT generation FROM things")
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
                sqlx::query("UPDATE things SET generation = $1")
                    .bind(row.0 + 1)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut reader = db.read().await.unwrap();
    let row: (i64,) = sqlx::query_as("SELECT generation FROM things")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(row.0, 21);
}

async fn broken_keys_are_told_apart(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    let twice = sqlx::query("INSERT INTO things (id, generation) VALUES ('a', 1)")
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert!(is_unique_violation(&twice));
    let orphan = sqlx::query("INSERT INTO parts (id, thing) VALUES (1, 'nothing')")
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert!(!is_unique_violation(&orphan));
    assert!(matches!(Error::from(orphan), Error::Internal { .. }));
}

async fn a_commit_counts_and_nudges_only_when_events_were_published(db: &Db) {
    let commits = db.commits();
    let before = *commits.borrow();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    drop(db.begin().await.unwrap());
    assert_eq!(*commits.borrow(), before + 1);
    let nudged = tokio::time::timeout(Duration::from_millis(5), db.outbox_nudge().nudged()).await;
    assert!(nudged.is_err());
    let mut tx = db.begin().await.unwrap();
    tx.mark_published();
    tx.commit().await.unwrap();
    db.outbox_nudge().nudged().await;
}

async fn a_stamp_changes_with_each_commit_and_with_nothing_else(db: &Db) {
    let before = db.stamp().unwrap();
    count(db).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    assert_eq!(db.stamp(), Some(before));
    tx.rollback().await.unwrap();
    assert_eq!(db.stamp(), Some(before));
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    assert!(db.stamp().unwrap() > before);
}

async fn a_commit_goes_to_its_end_when_the_caller_goes_away(db: &Db) {
    let mut commits = db.commits();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    let mut commit = Box::pin(tx.commit());
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    commits.changed().await.unwrap();
    assert_eq!(count(db).await, 1);
    assert!(db.stamp().is_some());
}

#[tokio::test]
async fn an_exclusive_database_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    let first = Db::open_exclusive(&url, &TEST).await.unwrap();
    let second = Db::open_exclusive(&url, &TEST).await.unwrap_err();
    assert!(matches!(
        second,
        Error::Precondition {
            reason: "STORAGE_IN_USE",
            ..
        }
    ));
    // A handle that is still about does not keep it, once it is closed.
    first.close().await;
    Db::open_exclusive(&url, &TEST).await.unwrap();
}

#[tokio::test]
async fn migrations_run_once_and_a_changed_one_is_refused() {
    static CHANGED: Migrations = Migrations {
        name: "test",
        steps: &[("0001_init", "CREATE TABLE other (id TEXT)")],
    };
    static LONGER: Migrations = Migrations {
        name: "test",
        steps: &[
            TEST.steps[0],
            ("0002_more", "ALTER TABLE things ADD COLUMN more BIGINT"),
        ],
    };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    Db::open(&url, &TEST).await.unwrap().close().await;
    Db::open(&url, &LONGER).await.unwrap().close().await;
    // An older program beside a newer database goes on.
    Db::open(&url, &TEST).await.unwrap().close().await;
    let error = Db::open(&url, &CHANGED).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Precondition {
                reason: "MIGRATION_CHANGED",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing() {
    static BROKEN: Migrations = Migrations {
        name: "test",
        steps: &[(
            "0001_init",
            "CREATE TABLE things (id TEXT); CREATE TABLE oops oops",
        )],
    };
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("a.db").display());
    assert!(Db::open(&url, &BROKEN).await.is_err());
    Db::open(&url, &TEST).await.unwrap();
}

#[tokio::test]
async fn a_url_that_is_not_a_file_is_refused() {
    for url in ["", "sqlite:", "sqlite::memory:", "mysql://x", "/tmp/x.db"] {
        assert!(
            matches!(Db::open(url, &TEST).await, Err(Error::Invalid(_))),
            "{url}"
        );
    }
}

#[test]
fn bytes_is_replaced_as_a_word_only() {
    let sql = "CREATE TABLE t (a BYTES, size_BYTES BIGINT, BYTES_2 TEXT, b BYTES NOT NULL)";
    assert_eq!(
        migrate::Dialect::Postgres.translate(sql),
        "CREATE TABLE t (a BYTEA, size_BYTES BIGINT, BYTES_2 TEXT, b BYTEA NOT NULL)"
    );
}
