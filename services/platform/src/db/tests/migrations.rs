//! How the tables are brought up to date, on either database.

use super::*;

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
    let storage = storage(folder.path());
    Db::open(&storage, &TEST).await.unwrap().close().await;
    Db::open(&storage, &LONGER).await.unwrap().close().await;
    // An older program beside a newer database goes on.
    Db::open(&storage, &TEST).await.unwrap().close().await;
    let error = Db::open(&storage, &CHANGED).await.unwrap_err();
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
    let storage = storage(folder.path());
    assert!(Db::open(&storage, &BROKEN).await.is_err());
    Db::open(&storage, &TEST).await.unwrap();
}

#[tokio::test]
async fn a_newer_database_is_refused_only_when_its_change_is_breaking() {
    static NEWER: Migrations = Migrations {
        name: "test",
        steps: &[
            TEST.steps[0],
            (
                "0002_breaking_split",
                "ALTER TABLE things ADD COLUMN more BIGINT",
            ),
        ],
    };
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    Db::open(&storage, &NEWER).await.unwrap().close().await;
    let error = Db::open(&storage, &TEST).await.unwrap_err();
    assert_eq!(error.reason(), "SCHEMA_TOO_NEW");
    let text = error.to_string();
    assert!(text.contains("test 0002_breaking_split"), "{text}");
    let place = match storage.schema.as_str() {
        "" => "storage.db",
        schema => schema,
    };
    assert!(text.contains(place), "{text}");
    Db::open(&storage, &NEWER).await.unwrap().close().await;
}

#[tokio::test]
async fn the_database_of_another_service_is_refused() {
    static OTHER: Migrations = Migrations {
        name: "other",
        steps: &[("0001_init", "CREATE TABLE others (id TEXT)")],
    };
    let folder = tempfile::tempdir().unwrap();
    let storage = storage(folder.path());
    Db::open(&storage, &TEST).await.unwrap().close().await;
    let error = Db::open(&storage, &OTHER).await.unwrap_err();
    assert_eq!(error.reason(), "STORAGE_OF_ANOTHER_SERVICE");
    assert!(error.to_string().contains("belongs to the test"), "{error}");
}
