//! What only SQLite does.

use sqlx::AnyConnection;

use super::super::sqlite::{BUSY_TIMEOUT_MS, READERS_MAX};
use super::*;

async fn open() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a folder?").join("100%.db");
    let db = Db::open(&StorageConfig::sqlite(&path), &TEST)
        .await
        .unwrap();
    assert!(path.exists());
    (folder, db)
}

#[tokio::test]
async fn the_connections_are_set_up() {
    let (_folder, db) = open().await;
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

#[tokio::test]
async fn a_stamp_changes_with_each_commit_and_with_nothing_else() {
    let (_folder, db) = open().await;
    let before = db.stamp().unwrap();
    count(&db).await;
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

#[tokio::test]
async fn an_exclusive_database_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageConfig::sqlite(&folder.path().join("a.db"));
    let first = Db::open_exclusive(&storage, &TEST).await.unwrap();
    let second = Db::open_exclusive(&storage, &TEST).await.unwrap_err();
    assert!(matches!(
        second,
        Error::Precondition {
            reason: "STORAGE_IN_USE",
            ..
        }
    ));
    // A handle that is still about does not keep it, once it is closed.
    first.close().await;
    Db::open_exclusive(&storage, &TEST).await.unwrap();
}

#[tokio::test]
async fn a_url_that_is_not_a_file_is_refused() {
    for url in ["", "sqlite:", "sqlite::memory:", "mysql://x", "/tmp/x.db"] {
        assert!(
            matches!(
                Db::open(&StorageConfig::new(url), &TEST).await,
                Err(Error::Invalid(_))
            ),
            "{url}"
        );
    }
}
