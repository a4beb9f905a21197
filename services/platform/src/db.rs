//! A service's database: one writer connection, several readers, and the dialect's few differences.
//!
//! SQLite is the embedded default: WAL, `synchronous=FULL`, `BEGIN IMMEDIATE` on a single writer, so a
//! write transaction never fails half-way because another one upgraded its lock. The same SQL text is
//! meant for PostgreSQL: types are BIGINT, TEXT and bytes, placeholders are `$1`, times are microseconds
//! UTC, and documents are protobuf bytes beside the columns that are searched.
//!
//! Invariants: a [`Tx`] that is dropped without [`Tx::commit`] leaves nothing behind; readers cannot
//! write; a commit that published events nudges the outbox relay after, and only after, it succeeded.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Either, Executor,
    any::{AnyPoolOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    pool::{PoolConnection, PoolOptions},
};
use tokio::sync::{Mutex, watch};

use crate::{
    Error, Result,
    clock::SystemClock,
    migrate::{self, Migrations},
    tasks::Nudge,
};

/// The word that migrations write for a column of bytes; the migrator replaces it with the dialect's type.
pub const BYTES: &str = "BYTES";

/// Read connections of one database: two cores' worth of readers twice over; more only queue on the disk.
const READERS_MAX: u32 = 4;
/// How long a caller waits for a connection before it is told that the storage is unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection waits for another process's lock.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// A handle to one service's database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    writer: sqlx::AnyPool,
    readers: sqlx::AnyPool,
    source: String,
    /// What the writer connection is set to; held while a transaction begins.
    durability: Mutex<Durability>,
    outbox_nudge: Nudge,
    commits: watch::Sender<u64>,
    committed: AtomicU64,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// Loss of power.
    Full,
    /// The crash of this process.
    Relaxed,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database at `url` (`sqlite:/path/to/file.db`, created when it is missing) and brings its
    /// tables up to date: first the platform's own (outbox, inbox, request ids), then `service`'s.
    ///
    /// `service.name` names the event source: events published through this database say
    /// `//slipway/{name}`.
    pub async fn open(url: &str, service: &'static Migrations) -> Result<Db> {
        install_drivers();
        let url = sqlite_url(url)?;
        let writer = pool(&url, 1, &pragmas("")).await?;
        let readers_pragmas = pragmas("PRAGMA query_only = ON;");
        {
            let mut conn = writer.acquire().await?;
            // Persistent in the file, so the writer alone sets it, before any reader opens.
            run(&mut conn, "PRAGMA journal_mode = WAL;").await?;
            migrate::apply(
                &mut conn,
                migrate::Dialect::Sqlite,
                &[&migrate::PLATFORM, service],
                &SystemClock,
            )
            .await?;
        }
        let readers = pool(&url, READERS_MAX, &readers_pragmas).await?;
        Ok(Db {
            inner: Arc::new(Inner {
                writer,
                readers,
                source: format!("//slipway/{}", service.name),
                durability: Mutex::new(Durability::Full),
                outbox_nudge: Nudge::new(),
                commits: watch::channel(0).0,
                committed: AtomicU64::new(0),
            }),
        })
    }

    /// A pooled read connection. Each statement sees the newest commit; writing through it fails.
    pub async fn read(&self) -> Result<Reader> {
        Ok(Reader {
            conn: self.inner.readers.acquire().await?,
        })
    }

    /// Begins a write transaction on the single writer; waits while another one is open.
    pub async fn begin(&self) -> Result<Tx> {
        self.begin_as(Durability::Full).await
    }

    /// Like [`Db::begin`], for writes whose loss is repaired by doing them again: the commit survives the
    /// crash of this process, but perhaps not a loss of power.
    pub(crate) async fn begin_relaxed(&self) -> Result<Tx> {
        self.begin_as(Durability::Relaxed).await
    }

    async fn begin_as(&self, wanted: Durability) -> Result<Tx> {
        let writer = &self.inner.writer;
        let mut durability = self.inner.durability.lock().await;
        if *durability != wanted {
            let pragma = match wanted {
                Durability::Full => "PRAGMA synchronous = FULL",
                Durability::Relaxed => "PRAGMA synchronous = NORMAL",
            };
            sqlx::raw_sql(pragma).execute(writer).await?;
            *durability = wanted;
        }
        let inner = writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx {
            inner,
            db: self.clone(),
            published: false,
        })
    }

    /// The CloudEvents `source` of what this database publishes, `//slipway/registry`.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// Notified after each commit that put an event into the outbox.
    pub fn outbox_nudge(&self) -> Nudge {
        self.inner.outbox_nudge.clone()
    }

    /// Counts this process's committed write transactions, so that a `Watch…` stream can wait for the
    /// next change instead of polling.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Closes all connections after their current statement; later calls fail.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }
}

/// A read connection; `&mut *reader` (or `&mut reader`) is an sqlx executor.
#[derive(Debug)]
pub struct Reader {
    conn: PoolConnection<Any>,
}

/// A write transaction; `&mut *tx` (or `&mut tx`) is an sqlx executor. Dropped without a commit, it is
/// rolled back.
pub struct Tx {
    inner: sqlx::Transaction<'static, Any>,
    db: Db,
    published: bool,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl Tx {
    /// Commits. `Unavailable` means that nothing happened; `OutcomeUnknown` that the answer was lost.
    pub async fn commit(self) -> Result<()> {
        let Tx {
            inner,
            db,
            published,
        } = self;
        inner.commit().await.map_err(commit_error)?;
        let count = db.inner.committed.fetch_add(1, Ordering::Relaxed) + 1;
        db.inner.commits.send_replace(count);
        if published {
            db.inner.outbox_nudge.notify();
        }
        Ok(())
    }

    /// Rolls back now instead of on drop.
    pub async fn rollback(self) -> Result<()> {
        Ok(self.inner.rollback().await?)
    }

    /// The database that this transaction writes to.
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn mark_published(&mut self) {
        self.published = true;
    }
}

/// Fails with `Conflict` when a save by generation met no row: `current` is what the row says now.
pub fn expect_saved(result: &AnyQueryResult, name: &str, current: &str) -> Result<()> {
    if result.rows_affected() == 0 {
        return Err(Error::Conflict {
            name: name.to_owned(),
            current: current.to_owned(),
            reason: "the resource changed in between; read it again and decide anew".to_owned(),
        });
    }
    Ok(())
}

/// Whether a statement failed because a row with the same key is there already.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(db) if db.is_unique_violation())
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                unavailable(&error)
            }
            sqlx::Error::Io(_) => unavailable(&error),
            sqlx::Error::Database(db) if is_passing(db.code().as_deref()) => unavailable(&error),
            _ => Error::internal("storage", error),
        }
    }
}

fn unavailable(error: &sqlx::Error) -> Error {
    Error::Unavailable {
        what: format!("storage: {error}"),
    }
}

/// SQLite's primary result codes BUSY, LOCKED, IOERR and FULL, and PostgreSQL's serialization failure and
/// deadlock: the statement did not happen and may succeed later.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    if matches!(code, "40001" | "40P01") {
        return true;
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13) && code < 10_000)
}

/// A commit whose connection broke may have happened; one that the database refused did not.
fn commit_error(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            Error::OutcomeUnknown {
                what: format!("commit: {error}"),
            }
        }
        other => other.into(),
    }
}

fn install_drivers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(sqlx::any::install_default_drivers);
}

async fn pool(url: &str, connections: u32, pragmas: &str) -> Result<sqlx::AnyPool> {
    let pragmas: Arc<str> = pragmas.into();
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
    Ok(options.connect(url).await?)
}

fn pragmas(more: &str) -> String {
    format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA temp_store = MEMORY; {more}"
    )
}

pub(crate) async fn run(conn: &mut AnyConnection, sql: &'static str) -> Result<()> {
    sqlx::raw_sql(sql).execute(conn).await?;
    Ok(())
}

/// Turns `sqlite:path` into a URL that survives spaces, percent signs and question marks in the path.
fn sqlite_url(url: &str) -> Result<String> {
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .filter(|path| !path.is_empty() && *path != ":memory:")
        .ok_or_else(|| Error::invalid("storage_url", "must be sqlite:/path/to/file.db"))?;
    let path = std::path::absolute(path).map_err(|e| Error::internal("storage path", e))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::Unavailable {
            what: format!("storage folder {}: {e}", folder.display()),
        })?;
    }
    let mut out = String::from("sqlite:");
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                out.push(byte as char)
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out.push_str("?mode=rwc");
    Ok(out)
}

impl Deref for Reader {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.conn
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }
}

impl Deref for Tx {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

macro_rules! executor_through_deref {
    ($name:ty) => {
        impl<'c> Executor<'c> for &'c mut $name {
            type Database = Any;

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
            where
                'c: 'e,
                E: 'q + sqlx::Execute<'q, Any>,
            {
                (&mut **self).fetch_many(query)
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
            where
                'c: 'e,
                E: 'q + sqlx::Execute<'q, Any>,
            {
                (&mut **self).fetch_optional(query)
            }

            fn prepare_with<'e>(
                self,
                sql: sqlx::SqlStr,
                parameters: &'e [AnyTypeInfo],
            ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
            where
                'c: 'e,
            {
                (&mut **self).prepare_with(sql, parameters)
            }
        }
    };
}

executor_through_deref!(Tx);
executor_through_deref!(Reader);

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
