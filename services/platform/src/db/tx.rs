//! The two things that stores read and write through.

use sqlx::{Any, AnyConnection, pool::PoolConnection};

use super::{Db, errors::commit_error, postgres};
use crate::{Error, Result};

/// A read connection; `&mut *reader` (or `&mut reader`) is an sqlx executor.
#[derive(Debug)]
pub struct Reader {
    conn: PoolConnection<Any>,
}

impl Reader {
    pub(super) fn new(conn: PoolConnection<Any>) -> Self {
        Self { conn }
    }

    pub(super) fn connection(&self) -> &AnyConnection {
        &self.conn
    }

    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }
}

/// A write transaction; `&mut *tx` (or `&mut tx`) is an sqlx executor. Dropped without a commit, it is
/// rolled back.
pub struct Tx {
    open: Open,
    db: Db,
    published: bool,
    after_commit: Vec<Box<dyn FnOnce() + Send>>,
}

pub(super) enum Open {
    Sqlite(sqlx::Transaction<'static, Any>),
    Postgres(postgres::Transaction),
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("db", &self.db)
            .finish_non_exhaustive()
    }
}

impl Tx {
    pub(super) fn new(open: Open, db: Db) -> Self {
        Self {
            open,
            db,
            published: false,
            after_commit: Vec::new(),
        }
    }

    /// Commits. [`Error::OutcomeUnknown`] means that the answer was lost, every other error that nothing
    /// happened. Once begun it goes to its end, also when the caller goes away.
    #[expect(
        clippy::disallowed_methods,
        reason = "ends by itself, and must not end with the caller"
    )]
    pub async fn commit(self) -> Result<()> {
        let commit = tokio::spawn(async move {
            let Tx {
                open,
                db,
                published,
                after_commit,
            } = self;
            db.commit_begins();
            let outcome = match open {
                Open::Sqlite(tx) => tx.commit().await.map_err(commit_error),
                Open::Postgres(tx) => tx.commit().await,
            };
            db.commit_ends();
            outcome?;
            db.committed(published);
            for run in after_commit {
                run();
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
        match self.open {
            Open::Sqlite(tx) => Ok(tx.rollback().await?),
            Open::Postgres(tx) => tx.rollback().await,
        }
    }

    /// Runs `then` after, and only after, this transaction has committed; it must be short and must not
    /// block.
    pub fn after_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.after_commit.push(Box::new(then));
    }

    /// The database that this transaction writes to.
    pub fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn mark_published(&mut self) {
        self.published = true;
    }

    pub(super) fn connection(&self) -> &AnyConnection {
        match &self.open {
            Open::Sqlite(tx) => tx,
            Open::Postgres(tx) => tx.connection(),
        }
    }

    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        match &mut self.open {
            Open::Sqlite(tx) => tx,
            Open::Postgres(tx) => tx.connection_mut(),
        }
    }
}
