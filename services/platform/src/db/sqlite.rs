//! What is particular to SQLite: the URL, the settings of each connection, and the lock of the file.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use sqlx::{AssertSqlSafe, any::AnyPoolOptions, pool::PoolOptions};

use crate::{Error, Result};

/// How long a caller waits for a connection before it is told that the storage is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection waits for another process's lock.
pub(super) const BUSY_TIMEOUT_MS: u32 = 5_000;

/// Opens a pool whose connections each run `more` after the settings that all have.
pub(super) async fn pool(path: &Path, connections: u32, more: &str) -> Result<sqlx::AnyPool> {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
    let pragmas: Arc<str> = pragmas(more).into();
    let options: AnyPoolOptions = PoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let pragmas = pragmas.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(pragmas)).execute(conn).await?;
                Ok(())
            })
        });
    Ok(options.connect(&url(path)).await?)
}

fn pragmas(more: &str) -> String {
    format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA temp_store = MEMORY; {more}"
    )
}

/// The file that `sqlite:/path/to/file.db` names; its folder is created.
pub(super) fn path(url: &str) -> Result<PathBuf> {
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .filter(|path| !path.is_empty() && *path != ":memory:")
        .ok_or_else(|| Error::invalid("storage_url", "must be sqlite:/path/to/file.db"))?;
    let path = std::path::absolute(path).map_err(|e| Error::internal("storage path", e))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| unavailable(folder, &e))?;
    }
    Ok(path)
}

/// A URL that survives spaces, percent signs and question marks in the path.
fn url(path: &Path) -> String {
    let mut out = String::from("sqlite:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out.push_str("?mode=rwc");
    out
}

/// Takes the file beside `path` that says to whom it belongs; `None` when another holder has it. The
/// operating system lets go of it with the process, so a crash never leaves it taken.
pub(crate) fn lock(path: &Path) -> Result<Option<File>> {
    let lock = path.with_extension("lock");
    if let Some(folder) = lock.parent() {
        std::fs::create_dir_all(folder).map_err(|e| unavailable(folder, &e))?;
    }
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(&lock);
    let file = file.map_err(|e| unavailable(&lock, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(unavailable(&lock, &e)),
    }
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    Error::unavailable(format!("storage {}: {error}", path.display()))
}
