//! A service's database, on either of two: SQLite in a file, or PostgreSQL that replicas share.
//!
//! One portable SQL text per query runs on both: types are BIGINT, TEXT and bytes, placeholders are `$1`,
//! times are microseconds UTC, and documents are protobuf bytes beside the columns that are searched. SQLite
//! is the embedded default: WAL, `synchronous=FULL`, `BEGIN IMMEDIATE` on a single writer. On PostgreSQL an
//! advisory lock makes a single writer of all replicas, so what is right on one is right on the other; in
//! both a write transaction sees everything that was committed before it began. [`Db::begin_for`] narrows
//! the lock to one aggregate.
//!
//! Two differences stay. On PostgreSQL a statement that failed has ended its transaction: only a rollback
//! is left. And a handle hears of the commits of other replicas only soon, not at once.
//!
//! Invariants: a [`Tx`] that is dropped without [`Tx::commit`] leaves nothing behind; readers cannot
//! write; a commit that published events nudges the outbox relay after, and only after, it succeeded.

mod errors;
mod executor;
mod postgres;
mod sqlite;
mod storage;
pub mod transfer;
mod tx;

use std::sync::{
    Arc, Once,
    atomic::{AtomicU64, Ordering},
};

use sqlx::{Any, pool::PoolConnection};
use tokio::sync::watch;

use crate::{
    Result,
    clock::{Clock, SystemClock, Timestamp},
    migrate::Migrations,
    tasks::Nudge,
};

pub use errors::{expect_saved, is_unique_violation};
pub(crate) use errors::{is_of_storage, may_pass};
pub(crate) use sqlite::lock;
pub use storage::StorageConfig;
pub use tx::{Reader, Tx};

/// The word that migrations write for a column of bytes; the migrator replaces it with the dialect's type.
pub const BYTES: &str = "BYTES";

/// A handle to one service's database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    source: String,
    outbox_nudge: Nudge,
    lease_nudge: Nudge,
    commits: watch::Sender<u64>,
    /// Twice the number of this process's commits, and odd while one is under way.
    stamp: AtomicU64,
}

enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
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
    /// Opens the database that `storage` names (a file or a schema is made when it is missing) and brings
    /// its tables up to date: first the platform's own (outbox, inbox, request ids), then `service`'s.
    ///
    /// `Precondition` says what a person has to change, `Unavailable` that trying again may help.
    /// `service.name` names the event source: events published through this database say
    /// `//slipway/{name}`.
    pub async fn open(storage: &StorageConfig, service: &'static Migrations) -> Result<Db> {
        Db::open_as(storage, service, false).await
    }

    /// Like [`Db::open`], for a file that no other process may have open in this way: `Precondition`
    /// `STORAGE_IN_USE` when one has. Let go by [`Db::close`] or with the last handle. On PostgreSQL the
    /// same as [`Db::open`], see [`Db::is_shared`].
    pub async fn open_exclusive(
        storage: &StorageConfig,
        service: &'static Migrations,
    ) -> Result<Db> {
        Db::open_as(storage, service, true).await
    }

    async fn open_as(
        storage: &StorageConfig,
        service: &'static Migrations,
        exclusive: bool,
    ) -> Result<Db> {
        storage.check()?;
        let (commits, outbox_nudge, lease_nudge) =
            (watch::Sender::new(0), Nudge::new(), Nudge::new());
        let backend = if storage.is_postgres() {
            let heard = postgres::Heard {
                commits: commits.clone(),
                events: outbox_nudge.clone(),
                leases: lease_nudge.clone(),
            };
            Backend::Postgres(postgres::Postgres::open(storage, service, heard).await?)
        } else {
            Backend::Sqlite(sqlite::Sqlite::open(storage, service, exclusive).await?)
        };
        Ok(Db {
            inner: Arc::new(Inner {
                backend,
                source: format!("//slipway/{}", service.name),
                outbox_nudge,
                lease_nudge,
                commits,
                stamp: AtomicU64::new(0),
            }),
        })
    }

    /// A pooled read connection. Each statement sees the newest commit; writing through it fails.
    pub async fn read(&self) -> Result<Reader> {
        Ok(Reader::new(match &self.inner.backend {
            Backend::Sqlite(sqlite) => sqlite.read().await?,
            Backend::Postgres(postgres) => postgres.read().await?,
        }))
    }

    /// Begins a write transaction. There is one at a time, in all replicas; waits while another one is open.
    pub async fn begin(&self) -> Result<Tx> {
        self.begin_as(None, Durability::Full).await
    }

    /// Begins a write transaction that leaves every row alone but those of the aggregate `key`: it excludes
    /// [`Db::begin`] and other transactions of the same key, and runs beside those of other keys. On SQLite
    /// the same as [`Db::begin`].
    pub async fn begin_for(&self, key: &str) -> Result<Tx> {
        self.begin_as(Some(key), Durability::Full).await
    }

    /// Like [`Db::begin`], for writes whose loss is repaired by doing them again: the commit survives the
    /// crash of this process, but perhaps not a loss of power.
    pub(crate) async fn begin_relaxed(&self) -> Result<Tx> {
        self.begin_as(None, Durability::Relaxed).await
    }

    async fn begin_as(&self, key: Option<&str>, durability: Durability) -> Result<Tx> {
        let open = match &self.inner.backend {
            Backend::Sqlite(sqlite) => tx::Open::Sqlite(sqlite.begin(durability).await?),
            Backend::Postgres(postgres) => {
                tx::Open::Postgres(postgres.begin(key, durability).await?)
            }
        };
        Ok(Tx::new(open, self.clone()))
    }

    /// Whether replicas of this process may read and write the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.backend, Backend::Postgres(_))
    }

    /// The time by the database's clock, which all replicas have in common.
    pub async fn now(&self) -> Result<Timestamp> {
        match &self.inner.backend {
            Backend::Sqlite(_) => Ok(SystemClock.now()),
            Backend::Postgres(postgres) => postgres.now().await,
        }
    }

    /// Whether the database takes writes; where replicas share it, by writing a row.
    pub(crate) async fn check(&self) -> Result<()> {
        match &self.inner.backend {
            Backend::Sqlite(_) => Ok(()),
            Backend::Postgres(postgres) => postgres.check().await,
        }
    }

    /// The connection that leases are kept over; `None` where there are no replicas.
    pub(crate) async fn lease_connection(&self) -> Result<Option<PoolConnection<Any>>> {
        match &self.inner.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(postgres) => Ok(Some(postgres.lease_connection().await?)),
        }
    }

    /// Notified when another replica has let go of leases.
    pub(crate) fn lease_nudge(&self) -> Nudge {
        self.inner.lease_nudge.clone()
    }

    /// Tells the other replicas that there are leases to be had.
    pub(crate) fn leases_were_released(&self) {
        if let Backend::Postgres(postgres) = &self.inner.backend {
            postgres.ring(postgres::News::Leases);
        }
    }

    /// The CloudEvents `source` of what this database publishes, `//slipway/registry`.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// Notified after each commit that put an event into the outbox, on whichever replica.
    pub fn outbox_nudge(&self) -> Nudge {
        self.inner.outbox_nudge.clone()
    }

    /// Rises with every committed write transaction, so that a `Watch…` stream can wait for the next change
    /// instead of polling. On a shared database it rises for those of other replicas too, and once a second
    /// in case word of one was lost.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// A stamp that stays the same until the next commit of this process; `None` while one is under way,
    /// and always on a shared database.
    ///
    /// What was read between two equal stamps is still what the database holds, if it was opened
    /// [exclusively](Db::open_exclusive).
    pub fn stamp(&self) -> Option<u64> {
        let stamp = self.inner.stamp.load(Ordering::SeqCst);
        (!self.is_shared() && stamp.is_multiple_of(2)).then_some(stamp)
    }

    /// Closes all connections after their current statement; later calls fail.
    pub async fn close(&self) {
        match &self.inner.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }

    fn commit_begins(&self) {
        self.inner.stamp.fetch_add(1, Ordering::SeqCst);
    }

    fn commit_ends(&self) {
        self.inner.stamp.fetch_add(1, Ordering::SeqCst);
    }

    /// Tells everybody who waits for a change, here and in other replicas.
    fn committed(&self, published: bool) {
        self.inner.commits.send_modify(|count| *count += 1);
        if published {
            self.inner.outbox_nudge.notify();
        }
        if let Backend::Postgres(postgres) = &self.inner.backend {
            postgres.ring(match published {
                true => postgres::News::Events,
                false => postgres::News::Rows,
            });
        }
    }
}

/// Whatever connects to a database calls it first.
pub(crate) fn install_drivers() {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(|| {
        sqlx::any::install_drivers(&[postgres::DRIVER, sqlx::sqlite::any::DRIVER])
            .expect("nobody else installs drivers");
    });
}

#[cfg(test)]
mod tests;
