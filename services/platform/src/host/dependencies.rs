//! The storage and the event bus of a service: waited for, checked, and said.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::waiting::Teller;
use crate::config;
use crate::db::{self, Db, StorageConfig};
use crate::error::{Error, Result};
use crate::events::bus::BusHealth;
use crate::lease::ReplicaConfig;
use crate::migrate::Migrations;
use crate::tasks::{EVENT_BUS, Readiness, STORAGE, Tasks};

/// Pauses between attempts to reach the storage at the start.
const OPEN_PAUSE_MIN: Duration = Duration::from_millis(50);
const OPEN_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a storage on another machine is asked whether it is there, and how long it may take.
const CHECK_PERIOD: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a bus that is still away is said again, if it is time to.
const BUS_PERIOD: Duration = Duration::from_secs(5);

/// Opens the storage; waits while it cannot be reached.
pub(super) async fn open(
    storage: &StorageConfig,
    migrations: &'static Migrations,
    ready: &Readiness,
) -> Result<Db> {
    let attempt = || Db::open_exclusive(storage, migrations);
    wait_for(storage, ready, Error::is_transient, attempt).await
}

/// Does what needs the storage, and other things too, again and again while the storage is why it cannot be done.
/// What anything else says, ends it: it would be said of the storage, and hide a wrong setting.
pub(super) async fn retry<T, F>(
    storage: &StorageConfig,
    ready: &Readiness,
    attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    wait_for(storage, ready, db::may_pass, attempt).await
}

/// Tries again and again while the reason why it failed `may_pass`, and says what is waited for.
async fn wait_for<T, F>(
    storage: &StorageConfig,
    ready: &Readiness,
    may_pass: fn(&Error) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut teller = Teller::new(STORAGE, ready.clone());
    let mut pause = OPEN_PAUSE_MIN;
    loop {
        match attempt().await {
            Ok(done) => {
                teller.ok();
                return Ok(done);
            }
            Err(error) if may_pass(&error) => teller.waiting(waiting_for(storage, &error)),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(OPEN_PAUSE_MAX);
    }
}

/// Goes on asking a storage on another machine whether it is there and takes writes.
pub(super) fn check_storage(tasks: &Tasks, db: &Db, storage: &StorageConfig) {
    if !db.is_shared() {
        return;
    }
    let (db, token, storage) = (db.clone(), tasks.token(), storage.clone());
    let mut teller = Teller::new(STORAGE, tasks.readiness());
    tasks.spawn("storage check", async move {
        let checks = async {
            loop {
                tokio::time::sleep(CHECK_PERIOD).await;
                match tokio::time::timeout(CHECK_TIMEOUT, db.check()).await {
                    Ok(Ok(())) => teller.ok(),
                    Ok(Err(error)) => teller.waiting(waiting_for(&storage, &error)),
                    Err(_) => teller.waiting(waiting_for(
                        &storage,
                        &Error::unavailable("no answer in time"),
                    )),
                }
            }
        };
        token.run_until_cancelled(checks).await;
    });
}

/// `waiting for PostgreSQL at db:5432: connection refused`.
fn waiting_for(storage: &StorageConfig, error: &Error) -> String {
    let reason = match error {
        // What is before the colon names the storage, as the text here does.
        Error::Unavailable { what } => match what.split_once(": ") {
            Some((_, why)) if db::is_of_storage(what) => why.to_owned(),
            _ => what.clone(),
        },
        other => other.to_string(),
    };
    format!("waiting for {}: {reason}", place(storage.url.expose()))
}

/// What a storage URL speaks of, without user and password.
fn place(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once(':') else {
        return "the storage".to_owned();
    };
    let rest = rest.trim_start_matches('/');
    if scheme == "sqlite" {
        return "the SQLite database".to_owned();
    }
    let server = rest.split(['/', '?']).next().unwrap_or_default();
    let server = server.rsplit('@').next().unwrap_or_default();
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    if host == server {
        format!("PostgreSQL at {server}:5432")
    } else {
        format!("PostgreSQL at {server}")
    }
}

/// Says how the bus is doing.
pub(super) fn follow_bus(tasks: &Tasks, mut health: watch::Receiver<BusHealth>) {
    let mut teller = Teller::new(EVENT_BUS, tasks.readiness());
    let token = tasks.token();
    let mut tell = move |health: &BusHealth| match health {
        BusHealth::Ok => teller.ok(),
        BusHealth::Waiting(text) => teller.waiting(text.clone()),
    };
    tell(&health.borrow_and_update());
    tasks.spawn("event bus health", async move {
        let following = async {
            loop {
                // Said again now and then, also when nothing changes.
                let _ = tokio::time::timeout(BUS_PERIOD, changed(&mut health)).await;
                tell(&health.borrow_and_update());
            }
        };
        token.run_until_cancelled(following).await;
    });
}

/// Waits for a change; a bus that is gone changes no more.
async fn changed(health: &mut watch::Receiver<BusHealth>) {
    if health.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Where other replicas reach this one.
pub(super) fn address(
    listener: &TcpListener,
    replicas: &ReplicaConfig,
    storage: &StorageConfig,
) -> Result<String> {
    if !replicas.advertise.is_empty() {
        return Ok(replicas.advertise.clone());
    }
    let everywhere = listener
        .local_addr()
        .is_ok_and(|address| address.ip().is_unspecified());
    let address = config::url_of(listener)?;
    if everywhere && !storage.url.expose().starts_with("sqlite:") {
        tracing::warn!(
            address,
            "replicas on other machines cannot reach this one at its address; set replicas.advertise"
        );
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_neither_user_nor_password() {
        for (url, expected) in [
            (
                "postgres://u:p%40ss@db:5433/slipway",
                "PostgreSQL at db:5433",
            ),
            ("postgres://db/slipway?sslmode=x", "PostgreSQL at db:5432"),
            (
                "postgresql://u@10.0.0.7:5432/x",
                "PostgreSQL at 10.0.0.7:5432",
            ),
            ("sqlite:/var/lib/x.db", "the SQLite database"),
        ] {
            assert_eq!(place(url), expected, "{url}");
        }
    }
}
