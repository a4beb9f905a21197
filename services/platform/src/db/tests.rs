//! Conformance of the storage: plain cases over a `Db`, on the database that the environment names.

mod migrations;
mod sqlite;

use std::time::Duration;

use sqlx::Row;

use super::*;
use crate::{Error, testing::storage};

/// Readers at once that every database has.
const READERS: usize = 3;

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[(
        "0001_init",
        "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, generation BIGINT NOT NULL, note TEXT, body BYTES); \
         CREATE TABLE parts (id BIGINT NOT NULL PRIMARY KEY, thing TEXT NOT NULL REFERENCES things (id));",
    )],
};

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod conforms {
            $(
                #[tokio::test]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let storage = super::storage(folder.path());
                    let db = super::Db::open(&storage, &super::TEST).await.unwrap();
                    super::$case(&db).await;
                    db.close().await;
                }
            )*
        }
    };
}

conformance!(
    values_come_back_as_they_were_stored,
    a_save_by_generation_conflicts_when_the_row_moved,
    a_dropped_transaction_leaves_nothing,
    a_cancelled_writer_frees_the_writer,
    readers_see_the_last_commit_while_a_writer_works,
    readers_cannot_write,
    writers_take_turns,
    broken_keys_are_told_apart,
    a_commit_counts_and_nudges_only_when_events_were_published,
    a_commit_goes_to_its_end_when_the_caller_goes_away,
    a_cancelled_begin_leaves_no_transaction_open,
    what_follows_a_commit_does_not_follow_a_rollback,
    text_is_in_the_order_of_its_bytes,
    writers_of_one_key_take_turns,
    the_clock_goes_on,
    health_does_not_wait_behind_writers,
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
    for _ in 0..READERS {
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

/// Reads, lets others run, and writes what it read plus one.
async fn add_one(mut tx: Tx) {
    let row: (i64,) = sqlx::query_as("SELECT generation FROM things WHERE id = 'a'")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    tokio::task::yield_now().await;
    sqlx::query("UPDATE things SET generation = $1 WHERE id = 'a'")
        .bind(row.0 + 1)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn writers_take_turns(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { add_one(db.begin().await.unwrap()).await })
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
    drop(tx);
    let mut tx = db.begin().await.unwrap();
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
    let after = *commits.borrow();
    assert!(after > before);
    drop(db.begin().await.unwrap());
    assert!(db.is_shared() || *commits.borrow() == before + 1);
    let nudged = tokio::time::timeout(Duration::from_millis(5), db.outbox_nudge().nudged()).await;
    assert!(nudged.is_err());
    let mut tx = db.begin().await.unwrap();
    tx.mark_published();
    tx.commit().await.unwrap();
    db.outbox_nudge().nudged().await;
}

async fn a_commit_goes_to_its_end_when_the_caller_goes_away(db: &Db) {
    let mut commits = db.commits();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    let mut commit = Box::pin(tx.commit());
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    while count(db).await == 0 {
        commits.changed().await.unwrap();
    }
    assert_eq!(db.stamp().is_some(), !db.is_shared());
}

async fn a_cancelled_begin_leaves_no_transaction_open(db: &Db) {
    for _ in 0..20 {
        let mut begin = Box::pin(db.begin());
        let _ = futures::poll!(&mut begin);
        drop(begin);
    }
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    assert_eq!(count(db).await, 1);
}

async fn what_follows_a_commit_does_not_follow_a_rollback(db: &Db) {
    let (sender, ran) = std::sync::mpsc::channel();
    let then = |what: &'static str| {
        let sender = sender.clone();
        move || sender.send(what).unwrap()
    };
    let mut tx = db.begin().await.unwrap();
    tx.after_commit(then("rolled back"));
    tx.rollback().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.after_commit(then("dropped"));
    drop(tx);
    let mut tx = db.begin_for("a").await.unwrap();
    tx.after_commit(then("first"));
    tx.after_commit(then("second"));
    assert!(ran.try_recv().is_err());
    tx.commit().await.unwrap();
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), ["first", "second"]);
}

async fn text_is_in_the_order_of_its_bytes(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    for id in ["b", "a-b", "ab", "B", "é", "a_b", "Z", "a"] {
        insert(&mut tx, id).await;
    }
    tx.commit().await.unwrap();
    let rows: Vec<(String,)> = sqlx::query_as("SELECT id FROM things WHERE id > $1 ORDER BY id")
        .bind("B")
        .fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    let ids: Vec<_> = rows.iter().map(|(id,)| id.as_str()).collect();
    assert_eq!(ids, ["Z", "a", "a-b", "a_b", "ab", "b", "é"]);
}

async fn writers_of_one_key_take_turns(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { add_one(db.begin_for("things/a").await.unwrap()).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let row: (i64,) = sqlx::query_as("SELECT generation FROM things")
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(row.0, 21);
}

async fn the_clock_goes_on(db: &Db) {
    let first = db.now().await.unwrap();
    assert!(first.0 > 1_700_000_000_000_000);
    assert!(db.now().await.unwrap() >= first);
}

/// PostgreSQL has three connections that write here, SQLite one.
async fn health_does_not_wait_behind_writers(db: &Db) {
    let mut open = Vec::new();
    for key in 0..if db.is_shared() { 3 } else { 1 } {
        open.push(db.begin_for(&format!("things/{key}")).await.unwrap());
    }
    let checked = tokio::time::timeout(Duration::from_secs(60), db.check()).await;
    checked.expect("an answer in time").unwrap();
}
