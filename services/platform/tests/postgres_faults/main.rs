//! What a service does when PostgreSQL, or the way to it, is gone without a word.
//!
//! Not part of a plain `cargo test`, since it needs a server:
//! `deploy/local/stack test`, or `SLIPWAY_TEST_POSTGRES=postgres://… cargo test --workspace --test postgres_faults`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod health;
mod leases;
mod proxy;
mod statements;

use std::{future::Future, path::Path, time::Duration};

use slipway_platform::{
    config::Secret,
    db::{Db, StorageConfig},
    migrate::Migrations,
    testing::postgres,
};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use proxy::Proxy;

static MIGRATIONS: Migrations = Migrations {
    name: "faults",
    steps: &[(
        "0001_init",
        "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY)",
    )],
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A statement has half a second, and its answer five more.
const STATEMENT_MS: u64 = 500;

/// Storage of a test's own, with short times.
fn direct(folder: &Path) -> StorageConfig {
    StorageConfig {
        statement_timeout_ms: STATEMENT_MS,
        lock_timeout_ms: STATEMENT_MS,
        acquire_timeout_ms: 2_000,
        ..postgres(folder)
    }
}

/// The same storage behind a network that can fail.
async fn behind(direct: &StorageConfig) -> (StorageConfig, Proxy) {
    let options: PgConnectOptions = direct.url.expose().parse().unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let proxy = Proxy::to(server).await;
    let options = options.host("127.0.0.1").port(proxy.address.port());
    let storage = StorageConfig {
        url: Secret::new(options.to_url_lossy().to_string()),
        ..direct.clone()
    };
    (storage, proxy)
}

async fn open(storage: &StorageConfig) -> Db {
    within("the storage", Db::open(storage, &MIGRATIONS))
        .await
        .unwrap()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until `holds`.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
