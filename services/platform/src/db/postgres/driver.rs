//! PostgreSQL for sqlx's `Any`, where nothing waits for the server without end.
//!
//! sqlx waits for an answer for as long as the socket is open, and a host that vanished without a word, or a
//! firewall that forgot the connection, never closes it. Here every answer has its time. When it is over the
//! connection is given up: each later use fails at once, so its pool throws it away.
//!
//! The limits of the server (`statement_timeout`, `lock_timeout`) are shorter, so a server that is there always
//! answers first.

mod kind;

use std::{
    future::{Future, ready},
    io,
    time::Duration,
};

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Either, PgConnection, SqlStr,
    any::{AnyArguments, AnyConnectOptions, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};
use sqlx_core::any::{AnyConnectionBackend, driver::AnyDriver};
use tokio::time::timeout;

/// What [`crate::db::install_drivers`] installs.
pub(in crate::db) const DRIVER: AnyDriver = AnyDriver::without_migrate::<kind::Bounded>();

/// The parameter of a connection's URL that says how long an answer is waited for; never sent to the server.
const ANSWER_MS: &str = "slipway_answer_ms";
/// How long one is waited for when the URL does not say it.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a connection gets to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// From now on waits for each answer for this long.
pub(super) fn answer_within(options: &mut AnyConnectOptions, within: Duration) {
    options
        .database_url
        .query_pairs_mut()
        .append_pair(ANSWER_MS, &within.as_millis().to_string());
}

/// What a question without an answer ends with.
pub(super) fn no_answer(within: Duration) -> sqlx::Error {
    let why = format!("the server has not answered for {within:?}; the connection is given up");
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why))
}

/// One connection.
#[derive(Debug)]
struct Connection {
    server: PgConnection,
    within: Duration,
    /// An answer did not come in time. What comes now would be taken for another's.
    is_lost: bool,
}

impl Connection {
    /// What `ask` answers in time.
    fn bounded<'c, T, F>(
        &'c mut self,
        ask: impl FnOnce(&'c mut PgConnection) -> F,
    ) -> BoxFuture<'c, sqlx::Result<T>>
    where
        T: Send + 'c,
        F: Future<Output = sqlx::Result<T>> + Send + 'c,
    {
        let (within, is_lost) = (self.within, &mut self.is_lost);
        if *is_lost {
            return Box::pin(ready(Err(no_answer(within))));
        }
        let asked = ask(&mut self.server);
        Box::pin(async move {
            timeout(within, asked).await.unwrap_or_else(|_| {
                *is_lost = true;
                Err(no_answer(within))
            })
        })
    }
}

impl AnyConnectionBackend for Connection {
    fn name(&self) -> &str {
        AnyConnectionBackend::name(&self.server)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, sqlx::Result<()>> {
        if self.is_lost {
            return Box::pin(ready(Ok(())));
        }
        let closing = AnyConnectionBackend::close(Box::new(self.server));
        Box::pin(async move {
            let closed = timeout(GOODBYE, closing).await;
            closed.unwrap_or_else(|_| Err(no_answer(GOODBYE)))
        })
    }

    fn close_hard(self: Box<Self>) -> BoxFuture<'static, sqlx::Result<()>> {
        drop(self);
        Box::pin(ready(Ok(())))
    }

    fn ping(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(AnyConnectionBackend::ping)
    }

    fn begin(&mut self, statement: Option<SqlStr>) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(|server| AnyConnectionBackend::begin(server, statement))
    }

    fn commit(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(AnyConnectionBackend::commit)
    }

    fn rollback(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(AnyConnectionBackend::rollback)
    }

    fn start_rollback(&mut self) {
        AnyConnectionBackend::start_rollback(&mut self.server);
    }

    fn get_transaction_depth(&self) -> usize {
        AnyConnectionBackend::get_transaction_depth(&self.server)
    }

    fn cached_statements_size(&self) -> usize {
        AnyConnectionBackend::cached_statements_size(&self.server)
    }

    fn clear_cached_statements(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(AnyConnectionBackend::clear_cached_statements)
    }

    fn shrink_buffers(&mut self) {
        AnyConnectionBackend::shrink_buffers(&mut self.server);
    }

    fn flush(&mut self) -> BoxFuture<'_, sqlx::Result<()>> {
        self.bounded(AnyConnectionBackend::flush)
    }

    fn should_flush(&self) -> bool {
        AnyConnectionBackend::should_flush(&self.server)
    }

    /// Each row has the whole time, since who reads them may be slow.
    fn fetch_many(
        &mut self,
        query: SqlStr,
        persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> BoxStream<'_, sqlx::Result<Either<AnyQueryResult, AnyRow>>> {
        let (within, is_lost) = (self.within, &mut self.is_lost);
        if *is_lost {
            return Box::pin(stream::once(ready(Err(no_answer(within)))));
        }
        let mut rows =
            AnyConnectionBackend::fetch_many(&mut self.server, query, persistent, arguments);
        Box::pin(async_stream::stream! {
            loop {
                match timeout(within, rows.next()).await {
                    Ok(Some(row)) => yield row,
                    Ok(None) => return,
                    Err(_) => {
                        *is_lost = true;
                        yield Err(no_answer(within));
                        return;
                    }
                }
            }
        })
    }

    fn fetch_optional(
        &mut self,
        query: SqlStr,
        persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> BoxFuture<'_, sqlx::Result<Option<AnyRow>>> {
        self.bounded(|server| {
            AnyConnectionBackend::fetch_optional(server, query, persistent, arguments)
        })
    }

    fn prepare_with<'c, 'q: 'c>(
        &'c mut self,
        sql: SqlStr,
        parameters: &[AnyTypeInfo],
    ) -> BoxFuture<'c, sqlx::Result<AnyStatement>> {
        self.bounded(|server| AnyConnectionBackend::prepare_with(server, sql, parameters))
    }
}
