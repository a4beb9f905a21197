//! A write transaction on PostgreSQL.
//!
//! It begins with its advisory locks in one round trip, and commits in one that also finds out whether a
//! statement failed before: PostgreSQL answers the COMMIT of a failed transaction with success and rolls
//! back. sqlx's own transaction does neither, and when it is cancelled while it begins, its connection goes
//! back to the pool inside of a transaction.

use std::time::Duration;

use sqlx::{Any, AnyConnection, AssertSqlSafe, Executor, pool::PoolConnection};

use super::turns::Turn;
use crate::{Error, Result, db::errors::commit_error};

/// A rollback that takes longer waits for a statement that nobody waits for any more, or for a server that is
/// gone. The connection is closed then, so that the turn of this process goes on.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(5);

/// An open transaction; rolled back when it is dropped.
pub(in crate::db) struct Transaction {
    /// `None` once it is over.
    open: Option<Open>,
}

struct Open {
    conn: PoolConnection<Any>,
    /// Given back after the connection.
    _turn: Turn,
}

impl Transaction {
    /// Begins with `sql`, which opens the transaction and takes its locks. Goes to its end also when the
    /// caller goes away; then it is rolled back.
    pub(super) async fn begin(conn: PoolConnection<Any>, turn: Turn, sql: String) -> Result<Self> {
        to_the_end("begin", async move {
            let mut open = Open { conn, _turn: turn };
            match open.run(sql).await {
                Ok(()) => Ok(Self { open: Some(open) }),
                Err(error) => {
                    open.roll_back().await;
                    Err(error.into())
                }
            }
        })
        .await
    }

    pub(in crate::db) fn connection(&self) -> &AnyConnection {
        &self
            .open
            .as_ref()
            .expect("a transaction is open until it is consumed")
            .conn
    }

    pub(in crate::db) fn connection_mut(&mut self) -> &mut AnyConnection {
        &mut self
            .open
            .as_mut()
            .expect("a transaction is open until it is consumed")
            .conn
    }

    /// Commits; must not be cancelled. An answer that does not come in time leaves the outcome unknown.
    pub(in crate::db) async fn commit(mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        match open.run("SELECT 1; COMMIT".to_owned()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                if is_failed_before(&error) {
                    open.roll_back().await;
                } else {
                    open.conn.close_on_drop();
                }
                Err(commit_error(error))
            }
        }
    }

    pub(in crate::db) async fn rollback(mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        to_the_end("rollback", async move {
            open.roll_back().await;
            Ok(())
        })
        .await
    }
}

impl Open {
    async fn run(&mut self, sql: String) -> sqlx::Result<()> {
        self.conn
            .execute(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await
            .map(drop)
    }

    /// A connection that cannot roll back is closed, which rolls back too.
    async fn roll_back(&mut self) {
        let rolled_back =
            tokio::time::timeout(ROLLBACK_WITHIN, self.run("ROLLBACK".to_owned())).await;
        if !matches!(rolled_back, Ok(Ok(()))) {
            self.conn.close_on_drop();
        }
    }
}

impl Drop for Transaction {
    #[expect(
        clippy::disallowed_methods,
        reason = "ends by itself, and must not end with the caller"
    )]
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(_) => drop(tokio::spawn(async move { open.roll_back().await })),
            // Without a runtime nothing can be sent; the closed socket tells the server.
            Err(_) => std::mem::drop(open.conn.detach()),
        }
    }
}

/// "Current transaction is aborted": a statement failed and the caller went on.
fn is_failed_before(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(db) if db.code().as_deref() == Some("25P02"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "ends by itself, and must not end with the caller"
)]
async fn to_the_end<T: Send + 'static>(
    context: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal(context, error)))
}
