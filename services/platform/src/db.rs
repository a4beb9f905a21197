//! A service's database: one writer connection, several readers, and the dialect's few differences.
//!
//! SQLite is the embedded default: WAL, `synchronous=FULL`, `BEGIN IMMEDIATE` on a single writer, so a
//! write transaction never fails half-way because another one upgraded its lock. The same SQL text is
//! meant for PostgreSQL: types are BIGINT, TEXT and bytes, placeholders are `$1`, times are microseconds
//! UTC, and documents are protobuf bytes beside the columns that are searched.
//!
//! Invariants: a [`Tx`] that is dropped without [`Tx::commit`] leaves nothing behind; readers cannot
//! write; a commit that published events nudges the outbox relay after, and only after, it succeeded.

mod executor;
mod sqlite;

use std::{
    fs::File,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{Any, any::AnyQueryResult, pool::PoolConnection};
use tokio::sync::{Mutex, watch};

use crate::{
    Error, Result,
    clock::SystemClock,
    migrate::{self, Migrations},
    tasks::Nudge,
};

pub(crate) use sqlite::lock;

/// The word that migrations write for a column of bytes; the migrator replaces it with the dialect's type.
pub const BYTES: &str = "BYTES";

/// Read connections of one database: two cores' worth of readers twice over; more only queue on the disk.
const READERS_MAX: u32 = 4;

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
    /// `None` while it is being changed.
    durability: Mutex<Option<Durability>>,
    outbox_nudge: Nudge,
    commits: watch::Sender<u64>,
    /// Twice the number of commits, and odd while one is under way.
    stamp: AtomicU64,
    /// Held while the database belongs to this process alone.
    lock: std::sync::Mutex<Option<File>>,
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
        Db::open_locked(&sqlite::path(url)?, service, None).await
    }

    /// Like [`Db::open`], for a database that no other process may have open in this way: `Precondition`
    /// `STORAGE_IN_USE` when one has. Let go by [`Db::close`] or with the last handle.
    pub async fn open_exclusive(url: &str, service: &'static Migrations) -> Result<Db> {
        let path = sqlite::path(url)?;
        let lock = sqlite::lock(&path)?.ok_or_else(|| {
            let why = "another process has this database open; stop it or use another data folder";
            Error::precondition("STORAGE_IN_USE", path.display(), why)
        })?;
        Db::open_locked(&path, service, Some(lock)).await
    }

    async fn open_locked(
        path: &std::path::Path,
        service: &'static Migrations,
        lock: Option<File>,
    ) -> Result<Db> {
        let writer = sqlite::pool(path, 1, "").await?;
        {
            let mut conn = writer.acquire().await?;
            // Persistent in the file, so the writer alone sets it, before any reader opens.
            sqlx::raw_sql("PRAGMA journal_mode = WAL")
                .execute(&mut *conn)
                .await?;
            let sets = [&migrate::PLATFORM, service];
            migrate::apply(&mut conn, migrate::Dialect::Sqlite, &sets, &SystemClock).await?;
        }
        let readers = sqlite::pool(path, READERS_MAX, "PRAGMA query_only = ON;").await?;
        Ok(Db {
            inner: Arc::new(Inner {
                writer,
                readers,
                source: format!("//slipway/{}", service.name),
                durability: Mutex::new(Some(Durability::Full)),
                outbox_nudge: Nudge::new(),
                commits: watch::channel(0).0,
                stamp: AtomicU64::new(0),
                lock: std::sync::Mutex::new(lock),
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
        if *durability != Some(wanted) {
            let pragma = match wanted {
                Durability::Full => "PRAGMA synchronous = FULL",
                Durability::Relaxed => "PRAGMA synchronous = NORMAL",
            };
            // A call that is dropped half-way must not leave a wrong belief behind.
            *durability = None;
            sqlx::raw_sql(pragma).execute(writer).await?;
            *durability = Some(wanted);
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

    /// A stamp that stays the same until the next commit of this process; `None` while one is under way.
    ///
    /// What was read between two equal stamps is still what the database holds, if it was opened
    /// [exclusively](Db::open_exclusive).
    pub fn stamp(&self) -> Option<u64> {
        let stamp = self.inner.stamp.load(Ordering::SeqCst);
        stamp.is_multiple_of(2).then_some(stamp)
    }

    /// Closes all connections after their current statement; later calls fail.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
        let mut lock = self
            .inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *lock = None;
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
    /// Commits. `Unavailable` means that nothing happened; `OutcomeUnknown` that the answer was lost. Once
    /// begun it goes to its end, also when the caller goes away.
    #[expect(
        clippy::disallowed_methods,
        reason = "ends by itself, and must not end with the caller"
    )]
    pub async fn commit(self) -> Result<()> {
        let commit = tokio::spawn(async move {
            let Tx {
                inner,
                db,
                published,
            } = self;
            db.inner.stamp.fetch_add(1, Ordering::SeqCst);
            let outcome = inner.commit().await.map_err(commit_error);
            let stamp = db.inner.stamp.fetch_add(1, Ordering::SeqCst) + 1;
            outcome?;
            db.inner.commits.send_replace(stamp / 2);
            if published {
                db.inner.outbox_nudge.notify();
            }
            Ok(())
        });
        commit.await.unwrap_or_else(|e| {
            Err(Error::OutcomeUnknown {
                what: format!("commit: {e}"),
            })
        })
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

#[cfg(test)]
mod tests;
