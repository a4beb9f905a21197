//! What sqlx asks of a kind of database before `Any` takes a driver for it.
//!
//! `Any` only ever connects, and then speaks to the connection alone. Rows, values and statements of this kind
//! are never made, so their type has no values.

use std::{borrow::Cow, future::Future, str::FromStr, time::Duration};

use log::LevelFilter;
use sqlx::{
    Arguments, Column, ColumnIndex, ConnectOptions, Database, Either, Encode, FromRow, Row, SqlStr,
    Statement, Transaction, Type, Value, ValueRef,
    any::AnyConnectOptions,
    error::BoxDynError,
    postgres::{PgConnectOptions, PgQueryResult, PgTypeInfo, Postgres},
    query::{Query, QueryAs, QueryScalar},
};
use sqlx_core::{
    Url, any::AnyConnectionBackend, arguments::IntoArguments, transaction::TransactionManager,
};
use tokio::time::timeout;

use super::{ANSWER, ANSWER_MS, Connection, no_answer};

/// PostgreSQL whose answers are waited for in bounded time.
#[derive(Debug)]
pub(super) struct Bounded;

impl Database for Bounded {
    type Connection = Connection;
    type TransactionManager = Transactions;
    type Row = Never;
    type QueryResult = PgQueryResult;
    type Column = Never;
    type TypeInfo = PgTypeInfo;
    type Value = Never;
    type ValueRef<'r> = Never;
    type Arguments = NoArguments;
    type ArgumentBuffer = ();
    type Statement = Never;

    const NAME: &'static str = Postgres::NAME;
    const URL_SCHEMES: &'static [&'static str] = Postgres::URL_SCHEMES;
}

/// Where the server is, and how long its answers are waited for.
#[derive(Debug, Clone)]
pub(super) struct Options {
    server: PgConnectOptions,
    within: Duration,
}

impl<'a> TryFrom<&'a AnyConnectOptions> for Options {
    type Error = sqlx::Error;

    fn try_from(options: &'a AnyConnectOptions) -> sqlx::Result<Self> {
        let mut options = options.clone();
        let pairs = options.database_url.query_pairs().into_owned();
        let (ours, others): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == ANSWER_MS);
        options.database_url.set_query(None);
        if !others.is_empty() {
            let mut query = options.database_url.query_pairs_mut();
            query.extend_pairs(others);
        }
        let said = ours.last().and_then(|(_, value)| value.parse().ok());
        Ok(Self {
            server: PgConnectOptions::try_from(&options)?,
            within: said.map_or(ANSWER, Duration::from_millis),
        })
    }
}

impl FromStr for Options {
    type Err = sqlx::Error;

    fn from_str(url: &str) -> sqlx::Result<Self> {
        Self::try_from(&url.parse()?)
    }
}

impl ConnectOptions for Options {
    type Connection = Connection;

    fn from_url(url: &Url) -> sqlx::Result<Self> {
        Self::try_from(&AnyConnectOptions::from_url(url)?)
    }

    async fn connect(&self) -> sqlx::Result<Connection> {
        let connected = timeout(self.within, self.server.connect()).await;
        Ok(Connection {
            server: connected.map_err(|_| no_answer(self.within))??,
            within: self.within,
            is_lost: false,
        })
    }

    fn log_statements(mut self, level: LevelFilter) -> Self {
        self.server = self.server.log_statements(level);
        self
    }

    fn log_slow_statements(mut self, level: LevelFilter, duration: Duration) -> Self {
        self.server = self.server.log_slow_statements(level, duration);
        self
    }
}

impl sqlx::Connection for Connection {
    type Database = Bounded;
    type Options = Options;

    fn close(self) -> impl Future<Output = sqlx::Result<()>> + Send + 'static {
        AnyConnectionBackend::close(Box::new(self))
    }

    fn close_hard(self) -> impl Future<Output = sqlx::Result<()>> + Send + 'static {
        AnyConnectionBackend::close_hard(Box::new(self))
    }

    fn ping(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send + '_ {
        AnyConnectionBackend::ping(self)
    }

    fn begin(
        &mut self,
    ) -> impl Future<Output = sqlx::Result<Transaction<'_, Bounded>>> + Send + '_ {
        Transaction::begin(self, None)
    }

    fn shrink_buffers(&mut self) {
        AnyConnectionBackend::shrink_buffers(self);
    }

    fn flush(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send + '_ {
        AnyConnectionBackend::flush(self)
    }

    fn should_flush(&self) -> bool {
        AnyConnectionBackend::should_flush(self)
    }
}

/// Transactions, as the connection has them.
#[derive(Debug)]
pub(super) struct Transactions;

impl TransactionManager for Transactions {
    type Database = Bounded;

    fn begin(
        conn: &mut Connection,
        statement: Option<SqlStr>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send + '_ {
        AnyConnectionBackend::begin(conn, statement)
    }

    fn commit(conn: &mut Connection) -> impl Future<Output = sqlx::Result<()>> + Send + '_ {
        AnyConnectionBackend::commit(conn)
    }

    fn rollback(conn: &mut Connection) -> impl Future<Output = sqlx::Result<()>> + Send + '_ {
        AnyConnectionBackend::rollback(conn)
    }

    fn start_rollback(conn: &mut Connection) {
        AnyConnectionBackend::start_rollback(conn);
    }

    fn get_transaction_depth(conn: &Connection) -> usize {
        AnyConnectionBackend::get_transaction_depth(conn)
    }
}

/// Arguments of statements, of which there are none.
#[derive(Debug, Default)]
pub(super) struct NoArguments;

impl Arguments for NoArguments {
    type Database = Bounded;

    fn reserve(&mut self, _: usize, _: usize) {}

    fn add<'t, T>(&mut self, _: T) -> Result<(), BoxDynError>
    where
        T: Encode<'t, Bounded> + Type<Bounded>,
    {
        Err("statements of this kind have no arguments".into())
    }

    fn len(&self) -> usize {
        0
    }
}

/// What is never made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Never {}

impl Row for Never {
    type Database = Bounded;

    fn columns(&self) -> &[Never] {
        match *self {}
    }

    fn try_get_raw<I>(&self, _: I) -> sqlx::Result<Never>
    where
        I: ColumnIndex<Self>,
    {
        match *self {}
    }
}

impl Column for Never {
    type Database = Bounded;

    fn ordinal(&self) -> usize {
        match *self {}
    }

    fn name(&self) -> &str {
        match *self {}
    }

    fn type_info(&self) -> &PgTypeInfo {
        match *self {}
    }
}

impl Value for Never {
    type Database = Bounded;

    fn as_ref(&self) -> Never {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl ValueRef<'_> for Never {
    type Database = Bounded;

    fn to_owned(&self) -> Never {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, PgTypeInfo> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl Statement for Never {
    type Database = Bounded;

    fn into_sql(self) -> SqlStr {
        match self {}
    }

    fn sql(&self) -> &SqlStr {
        match *self {}
    }

    fn parameters(&self) -> Option<Either<&[PgTypeInfo], usize>> {
        match *self {}
    }

    fn columns(&self) -> &[Never] {
        match *self {}
    }

    fn query(&self) -> Query<'_, Bounded, NoArguments> {
        match *self {}
    }

    fn query_with<A>(&self, _: A) -> Query<'_, Bounded, A>
    where
        A: IntoArguments<Bounded>,
    {
        match *self {}
    }

    fn query_as<O>(&self) -> QueryAs<'_, Bounded, O, NoArguments>
    where
        O: for<'r> FromRow<'r, Never>,
    {
        match *self {}
    }

    fn query_as_with<'s, O, A>(&'s self, _: A) -> QueryAs<'s, Bounded, O, A>
    where
        O: for<'r> FromRow<'r, Never>,
        A: IntoArguments<Bounded>,
    {
        match *self {}
    }

    fn query_scalar<O>(&self) -> QueryScalar<'_, Bounded, O, NoArguments>
    where
        (O,): for<'r> FromRow<'r, Never>,
    {
        match *self {}
    }

    fn query_scalar_with<'s, O, A>(&'s self, _: A) -> QueryScalar<'s, Bounded, O, A>
    where
        (O,): for<'r> FromRow<'r, Never>,
        A: IntoArguments<Bounded>,
    {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(url: &str) -> Duration {
        url.parse::<Options>().unwrap().within
    }

    #[test]
    fn the_time_for_an_answer_comes_from_the_url_and_goes_no_further() {
        assert_eq!(within("postgres://u@h/d"), ANSWER);
        let url = "postgres://u@h/d?sslmode=disable&slipway_answer_ms=700";
        assert_eq!(within(url), Duration::from_millis(700));
        let options: Options = url.parse().unwrap();
        let sent = options.server.to_url_lossy();
        assert!(!sent.as_str().contains(ANSWER_MS), "{sent}");
        assert!(sent.as_str().contains("sslmode=disable"), "{sent}");
        let mut any: AnyConnectOptions = url.parse().unwrap();
        super::super::answer_within(&mut any, Duration::from_secs(2));
        let options = Options::try_from(&any).unwrap();
        assert_eq!(options.within, Duration::from_secs(2), "the last one holds");
    }
}
