//! What is particular to SQLite: the URL, the settings of each connection, and the lock of the file.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction, any::AnyPoolOptions, pool::PoolConnection};
use tokio::sync::Mutex;

use super::{Durability, storage::StorageConfig};
use crate::{
    Error, Result,
    clock::SystemClock,
    migrate::{self, Dialect, Migrations},
};

/// Read connections of one database: two cores' worth of readers twice over; more only queue on the disk.
pub(super) const READERS_MAX: u32 = 4;
/// How long a connection waits for another process's lock.
pub(super) const BUSY_TIMEOUT_MS: u32 = 5_000;

/// One file: a single writer connection and several readers.
pub(super) struct Sqlite {
    writer: AnyPool,
    readers: AnyPool,
    /// What the writer connection is set to; held while a transaction begins.
    /// `None` while it is being changed.
    durability: Mutex<Option<Durability>>,
    /// Held while the database belongs to this process alone.
    lock: std::sync::Mutex<Option<File>>,
}

impl Sqlite {
    /// Opens the file and brings its tables up to date. When it is to be exclusive: `Precondition`
    /// `STORAGE_IN_USE` when another process has it so.
    pub async fn open(
        storage: &StorageConfig,
        service: &'static Migrations,
        exclusive: bool,
    ) -> Result<Self> {
        super::install_drivers();
        let path = path(storage.url.expose())?;
        let lock = match exclusive {
            false => None,
            true => Some(lock(&path)?.ok_or_else(|| {
                let why =
                    "another process has this database open; stop it or use another data folder";
                Error::precondition("STORAGE_IN_USE", path.display(), why)
            })?),
        };
        let wait = Duration::from_millis(storage.acquire_timeout_ms);
        let writer = pool(&path, 1, wait, "").await?;
        {
            let mut conn = writer.acquire().await?;
            // Persistent in the file, so the writer alone sets it, before any reader opens.
            sqlx::raw_sql("PRAGMA journal_mode = WAL")
                .execute(&mut *conn)
                .await?;
            let (sets, shown) = ([&migrate::PLATFORM, service], path.display().to_string());
            migrate::apply(&mut conn, Dialect::Sqlite, &sets, &SystemClock, &shown).await?;
        }
        let readers = pool(&path, READERS_MAX, wait, "PRAGMA query_only = ON;").await?;
        Ok(Self {
            writer,
            readers,
            durability: Mutex::new(Some(Durability::Full)),
            lock: std::sync::Mutex::new(lock),
        })
    }

    /// Begins a write transaction; waits while another one is open.
    pub async fn begin(&self, wanted: Durability) -> Result<Transaction<'static, Any>> {
        let mut durability = self.durability.lock().await;
        if *durability != Some(wanted) {
            let pragma = match wanted {
                Durability::Full => "PRAGMA synchronous = FULL",
                Durability::Relaxed => "PRAGMA synchronous = NORMAL",
            };
            // A call that is dropped half-way must not leave a wrong belief behind.
            *durability = None;
            sqlx::raw_sql(pragma).execute(&self.writer).await?;
            *durability = Some(wanted);
        }
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        Ok(self.readers.acquire().await?)
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Opens a pool whose connections each run `more` after the settings that all have.
async fn pool(path: &Path, connections: u32, wait: Duration, more: &str) -> Result<AnyPool> {
    let pragmas: Arc<str> = pragmas(more).into();
    let options = AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(wait)
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
fn path(url: &str) -> Result<PathBuf> {
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .filter(|path| !path.is_empty() && *path != ":memory:")
        .ok_or_else(|| Error::invalid("storage.url", "must be sqlite:/path/to/file.db"))?;
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
