//! Storage for tests, on the database that the environment names.
//!
//! Without [`POSTGRES`] it is a SQLite file in the test's folder. With it, the URL of a PostgreSQL database
//! in which schemas may be made, it is a schema of the test's own, dropped after the folder is gone; what a
//! process leaves behind at its end is dropped by the next one.

mod schemas;

use std::path::Path;

use crate::db::StorageConfig;

/// The environment variable that sends every test of stores and services to a PostgreSQL database.
pub const POSTGRES: &str = "SLIPWAY_TEST_POSTGRES";

/// How long a test waits for a service to be ready.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until the service at `address` serves; panics when it does not in a minute.
pub async fn serving(address: &str) {
    match tokio::time::timeout(PATIENCE, crate::grpc::serving(address)).await {
        Ok(served) => served.expect("the address is a URL"),
        Err(_) => panic!("{address} does not serve after {PATIENCE:?}"),
    }
}

/// Storage of a test's own. The same folder gives the same database, so that what was started in it can be
/// started again; two services in one test take a folder each, which need not exist.
pub fn storage(folder: &Path) -> StorageConfig {
    match std::env::var(POSTGRES) {
        Ok(url) => StorageConfig {
            schema: schemas::of(&url, folder),
            connections_max: 6,
            ..StorageConfig::new(url)
        },
        Err(_) => StorageConfig::sqlite(&folder.join("storage.db")),
    }
}

/// Storage of a test's own on PostgreSQL, for what only that database does.
///
/// # Panics
/// Where [`POSTGRES`] does not name a server.
pub fn postgres(folder: &Path) -> StorageConfig {
    assert!(
        std::env::var_os(POSTGRES).is_some(),
        "this test needs a PostgreSQL server: start one with `deploy/local/stack up` and set {POSTGRES}, \
         or let `deploy/local/stack test` do both"
    );
    storage(folder)
}
