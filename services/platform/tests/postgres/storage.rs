//! The storage: several replicas on one database, and errors of a server.

use std::{path::Path, sync::Arc, time::Duration};

use slipway_platform::{
    Error, Result,
    clock::Timestamp,
    config::Secret,
    db::{Db, StorageConfig, Tx},
    events::outbox,
    migrate::Migrations,
    testing::postgres,
};
use slipway_proto::event::v1::VersionCreated;
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::sync::Barrier;

static TEST: Migrations = Migrations {
    name: "test",
    steps: &[(
        "0001_init",
        "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, generation BIGINT NOT NULL)",
    )],
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two replicas' handles on one schema.
async fn replicas(folder: &Path) -> (Db, Db) {
    let storage = postgres(folder);
    let first = Db::open(&storage, &TEST).await.unwrap();
    let second = Db::open(&storage, &TEST).await.unwrap();
    (first, second)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

async fn insert(tx: &mut Tx, id: &str) {
    sqlx::query("INSERT INTO things (id, generation) VALUES ($1, 1)")
        .bind(id)
        .execute(tx)
        .await
        .unwrap();
}

/// Whether it is still waiting after a moment in which it could have gone on.
async fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(150), future)
        .await
        .is_err()
}

#[tokio::test]
async fn replicas_write_one_at_a_time_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = replicas(folder.path()).await;
    let mut tx = first.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    let writers: Vec<_> = (0..40)
        .map(|i| {
            let db = if i % 2 == 0 { &first } else { &second }.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let row: (i64,) = sqlx::query_as("SELECT generation FROM things")
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
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
    let row: (i64,) = sqlx::query_as("SELECT generation FROM things")
        .fetch_one(&mut *second.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(row.0, 41);
}

#[tokio::test]
async fn a_key_excludes_itself_and_the_whole_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = replicas(folder.path()).await;
    for other in [&first, &second] {
        let a = first.begin_for("a").await.unwrap();
        let b = within("another key", other.begin_for("b")).await.unwrap();
        let mut same = Box::pin(other.begin_for("a"));
        assert!(waits(&mut same).await, "the same key ran at once");
        let mut whole = Box::pin(other.begin());
        assert!(waits(&mut whole).await, "the whole ran beside a key");
        drop((a, b));
        let same = within("the same key", same).await.unwrap();
        assert!(waits(&mut whole).await, "the whole ran beside a key");
        drop(same);
        let whole = within("the whole", whole).await.unwrap();
        let mut key = Box::pin(first.begin_for("c"));
        assert!(waits(&mut key).await, "a key ran beside the whole");
        drop(whole);
        within("a key", key).await.unwrap();
    }
}

#[tokio::test]
async fn another_replica_hears_of_a_commit_and_of_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = replicas(folder.path()).await;
    let mut commits = second.commits();
    // Once both listen, word comes sooner than the look of once a second.
    let mut soonest = Duration::MAX;
    for i in 0..20 {
        let mut tx = first.begin().await.unwrap();
        insert(&mut tx, &format!("a{i}")).await;
        commits.mark_unchanged();
        let begun = std::time::Instant::now();
        tx.commit().await.unwrap();
        within("word of a commit", commits.changed()).await.unwrap();
        soonest = soonest.min(begun.elapsed());
    }
    assert!(soonest < Duration::from_millis(300), "{soonest:?}");
    let mut tx = first.begin().await.unwrap();
    let created = VersionCreated::default();
    outbox::publish(&mut tx, Timestamp(7), "a", "a/versions/1", &created)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    within("word of events", second.outbox_nudge().nudged()).await;
}

#[tokio::test]
async fn a_commit_after_a_failed_statement_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _second) = replicas(folder.path()).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    assert!(
        sqlx::query("SELECT nonsense")
            .execute(&mut tx)
            .await
            .is_err()
    );
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Internal { .. }), "{error:?}");
    assert_eq!(counted(&db).await, 0);
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    assert_eq!(counted(&db).await, 1);
}

#[tokio::test]
async fn what_takes_too_long_has_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageConfig {
        statement_timeout_ms: 100,
        lock_timeout_ms: 50,
        acquire_timeout_ms: 3_000,
        ..postgres(folder.path())
    };
    let first = Db::open(&storage, &TEST).await.unwrap();
    let slow = sqlx::query("SELECT 1 FROM pg_sleep(5)")
        .execute(&mut *first.read().await.unwrap())
        .await
        .unwrap_err();
    assert!(matches!(slow.into(), Error::DeadlineExceeded { .. }));
    let patient = Db::open(&postgres(folder.path()), &TEST).await.unwrap();
    let held = patient.begin().await.unwrap();
    let error = first.begin().await.unwrap_err();
    assert!(matches!(error, Error::Contended { .. }), "{error:?}");
    assert_eq!(error.reason(), "STORAGE_CONTENDED");
    drop(held);
    within("a turn", first.begin()).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_hangs_in_its_transaction_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageConfig {
        lock_timeout_ms: 200,
        ..postgres(folder.path())
    };
    let hangs = Db::open(&storage, &TEST).await.unwrap();
    let waits = Db::open(&postgres(folder.path()), &TEST).await.unwrap();
    let mut held = hangs.begin().await.unwrap();
    insert(&mut held, "a").await;
    let mut tx = within("the turn of the other", waits.begin())
        .await
        .unwrap();
    insert(&mut tx, "a").await;
    tx.commit().await.unwrap();
    let error = held.commit().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutcomeUnknown { .. } | Error::Unavailable { .. }
        ),
        "{error:?}"
    );
    drop(within("its next turn", hangs.begin()).await.unwrap());
    assert_eq!(counted(&waits).await, 1);
}

#[tokio::test]
async fn a_deadlock_is_contention_and_one_of_the_two_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = replicas(folder.path()).await;
    let mut tx = first.begin().await.unwrap();
    insert(&mut tx, "a").await;
    insert(&mut tx, "b").await;
    tx.commit().await.unwrap();
    let mine = |db: Db,
                key: &'static str,
                one: &'static str,
                two: &'static str,
                met: Arc<Barrier>| async move {
        const SAVE: &str = "UPDATE things SET generation = generation + 1 WHERE id = $1";
        let mut tx = db.begin_for(key).await?;
        sqlx::query(SAVE).bind(one).execute(&mut tx).await?;
        met.wait().await;
        sqlx::query(SAVE).bind(two).execute(&mut tx).await?;
        tx.commit().await
    };
    let met = Arc::new(Barrier::new(2));
    let (a, b) = tokio::join!(
        mine(first, "x", "a", "b", met.clone()),
        mine(second, "y", "b", "a", met)
    );
    let errors: Vec<Error> = [a, b].into_iter().filter_map(Result::err).collect();
    assert!(
        matches!(errors.as_slice(), [Error::Contended { .. }]),
        "{errors:?}"
    );
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    static LATER: Migrations = Migrations {
        name: "test",
        steps: &[
            TEST.steps[0],
            ("0002_later", "CREATE TABLE later (id TEXT)"),
        ],
    };
    let folder = tempfile::tempdir().unwrap();
    let storage = postgres(folder.path());
    let starts = (0..6).map(|_| Db::open(&storage, &LATER));
    for opened in futures::future::join_all(starts).await {
        opened.unwrap().close().await;
    }
}

#[tokio::test]
async fn connections_that_were_cut_are_made_again() {
    // A name of its own, so that only its own connections are cut.
    static CUT: Migrations = Migrations {
        name: "cut",
        steps: TEST.steps,
    };
    let folder = tempfile::tempdir().unwrap();
    let storage = postgres(folder.path());
    let first = Db::open(&storage, &CUT).await.unwrap();
    let second = Db::open(&storage, &CUT).await.unwrap();
    let mut server = PgConnection::connect(storage.url.expose()).await.unwrap();
    for round in 0..3 {
        let mut open = first.begin().await.unwrap();
        insert(&mut open, "lost").await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slipway cut'",
        )
        .execute(&mut server)
        .await
        .unwrap();
        let outcome = open.commit().await.unwrap_err();
        assert!(
            matches!(outcome, Error::OutcomeUnknown { .. }),
            "{outcome:?}"
        );
        for db in [&first, &second] {
            within("a connection", saved(db)).await;
        }
        let rows = within("a reader", counted(&second)).await;
        assert_eq!(rows, 2 * (round + 1));
    }
    // And word of commits comes again.
    let mut commits = first.commits();
    commits.mark_unchanged();
    saved(&second).await;
    within("word of a commit", commits.changed()).await.unwrap();
}

/// Saves a row, again and again while the storage is unavailable.
async fn saved(db: &Db) {
    let id = uuid::Uuid::new_v4().to_string();
    loop {
        let attempt = async {
            let mut tx = db.begin().await?;
            sqlx::query("INSERT INTO things (id, generation) VALUES ($1, 1)")
                .bind(id.as_str())
                .execute(&mut tx)
                .await?;
            tx.commit().await
        };
        match attempt.await {
            Ok(()) => return,
            Err(Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn counted(db: &Db) -> i64 {
    loop {
        let attempt = async {
            let mut reader = db.read().await?;
            let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM things")
                .fetch_one(&mut reader)
                .await?;
            Result::Ok(row.0)
        };
        match attempt.await {
            Ok(count) => return count,
            Err(Error::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_address_is_said_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let right = postgres(folder.path());
    let options: PgConnectOptions = right.url.expose().parse().unwrap();
    let options = options.password("hunter2");
    let at = |options: PgConnectOptions| StorageConfig {
        url: Secret::new(options.to_url_lossy().to_string()),
        acquire_timeout_ms: 2_000,
        ..right.clone()
    };
    let cases = [
        (at(options.clone().port(1)), "UNAVAILABLE"),
        (at(options.clone().host("nowhere.invalid")), "UNAVAILABLE"),
        (
            at(options.clone().database("no_such_database")),
            "STORAGE_MISSING",
        ),
        (
            at(options.clone().username("nobody_of_this_name")),
            "STORAGE_LOGIN_REFUSED",
        ),
        (
            at(options.ssl_mode(PgSslMode::Require)),
            "STORAGE_CONNECTION_REFUSED",
        ),
    ];
    for (storage, reason) in cases {
        let error = Db::open(&storage, &TEST).await.unwrap_err();
        let (text, all) = (error.to_string(), format!("{error:?}"));
        assert_eq!(error.reason(), reason, "{text}");
        assert!(!all.contains("hunter2"), "{all}");
        assert!(text.contains("postgres://"), "{text}");
    }
}
