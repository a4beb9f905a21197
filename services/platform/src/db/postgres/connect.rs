//! The first connection: what is wrong with the settings is found here, and the tables are brought up to date.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AnyConnection, AssertSqlSafe, Connection, Executor, PgPool,
    any::AnyConnectOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    driver::{self, no_answer},
    number,
};
use crate::{
    Error, Result,
    clock::SystemClock,
    db::storage::StorageConfig,
    migrate::{self, Dialect, Migrations},
};

/// How long one replica waits for another that brings the tables up to date.
const MIGRATION_WAIT_MS: u64 = 60_000;
/// How long one statement that brings the tables up to date may take.
const MIGRATION_WITHIN: Duration = Duration::from_secs(3_600);

/// Where the database is, and how its connections are set up.
pub(super) struct Target {
    pub options: AnyConnectOptions,
    pub acquire_timeout: Duration,
    typed: PgConnectOptions,
    schema: String,
    service: &'static str,
    statement_timeout_ms: u64,
    lock_timeout_ms: u64,
    idle_transaction_ms: u64,
}

impl Target {
    pub fn new(storage: &StorageConfig, service: &'static str) -> Result<Self> {
        crate::db::install_drivers();
        let url = storage.url.expose();
        // The errors of both may quote what they could not read.
        let malformed = || Error::invalid("storage.url", "is not a URL of a PostgreSQL database");
        let mut options = AnyConnectOptions::from_str(url).map_err(|_| malformed())?;
        driver::answer_within(&mut options, storage.answer_within());
        Ok(Self {
            options,
            typed: PgConnectOptions::from_str(url).map_err(|_| malformed())?,
            acquire_timeout: Duration::from_millis(storage.acquire_timeout_ms),
            schema: storage.schema.clone(),
            service,
            statement_timeout_ms: storage.statement_timeout_ms,
            lock_timeout_ms: storage.lock_timeout_ms,
            idle_transaction_ms: storage.idle_transaction_ms(),
        })
    }

    /// The settings of every connection. A transaction that does nothing for as long as others may wait for
    /// it, or for as long as a lost replica holds its leases, is ended, so that a replica that hangs stops nobody.
    pub fn session(&self) -> String {
        self.session_with(self.statement_timeout_ms, self.lock_timeout_ms)
    }

    fn session_with(&self, statement_timeout_ms: u64, lock_timeout_ms: u64) -> String {
        let path = match self.schema.as_str() {
            "" => String::new(),
            schema => format!("SET search_path TO {schema};"),
        };
        let idle_transaction_ms = self.idle_transaction_ms;
        format!(
            "SET application_name = 'slipway {}'; SET client_min_messages = warning; \
             SET default_transaction_isolation = 'read committed'; \
             SET statement_timeout = {statement_timeout_ms}; SET lock_timeout = {lock_timeout_ms}; \
             SET idle_in_transaction_session_timeout = {idle_transaction_ms}; {path}",
            self.service,
        )
    }

    /// One connection that listens. What it notifies need not survive a crash of the server.
    pub fn listener(&self) -> PgPool {
        let session = format!("{} SET synchronous_commit = off;", self.session());
        PgPoolOptions::new()
            .max_connections(1)
            .min_connections(0)
            .acquire_timeout(self.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |conn, _| {
                let session = session.clone();
                Box::pin(async move {
                    conn.execute(sqlx::raw_sql(AssertSqlSafe(session))).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(self.typed.clone())
    }

    /// For people: without the password.
    fn shown(&self) -> String {
        let database = self.database();
        let place = format!(
            "postgres://{}@{}:{}/{database}",
            self.typed.get_username(),
            self.typed.get_host(),
            self.typed.get_port(),
        );
        match self.schema.as_str() {
            "" => place,
            schema => format!("{place} schema {schema}"),
        }
    }

    fn database(&self) -> &str {
        self.typed
            .get_database()
            .unwrap_or_else(|| self.typed.get_username())
    }

    /// What a connection that could not be made means.
    fn refused(&self, error: sqlx::Error) -> Error {
        let shown = self.shown();
        let code = match &error {
            sqlx::Error::Database(db) => db.code().map(|code| code.into_owned()),
            _ => None,
        };
        match (&error, code.as_deref()) {
            (_, Some("28P01" | "28000")) => Error::precondition(
                "STORAGE_LOGIN_REFUSED",
                &shown,
                format!("{shown} refuses the user or the password of storage.url: {error}"),
            ),
            (_, Some("3D000")) => Error::precondition(
                "STORAGE_MISSING",
                &shown,
                format!(
                    "there is no database {} at {shown}; create it or change storage.url",
                    self.database()
                ),
            ),
            (_, Some("42501")) => Error::precondition(
                "STORAGE_FORBIDDEN",
                &shown,
                format!("the user of {shown} may not do what it needs: {error}"),
            ),
            (sqlx::Error::Configuration(_) | sqlx::Error::Tls(_), _) => Error::precondition(
                "STORAGE_CONNECTION_REFUSED",
                &shown,
                format!("{shown} cannot be connected to as storage.url says: {error}"),
            ),
            (sqlx::Error::Io(error), _) => Error::unavailable(format!("storage {shown}: {error}")),
            _ => match Error::from(error) {
                Error::Unavailable { what } => Error::unavailable(format!("{what} ({shown})")),
                other => other,
            },
        }
    }
}

/// Makes the schema, brings the tables up to date while every other replica waits, and says which database
/// and schema it is.
pub(super) async fn prepare(target: &Target, service: &'static Migrations) -> Result<String> {
    let mut options = target.options.clone();
    driver::answer_within(&mut options, MIGRATION_WITHIN);
    let connecting = AnyConnection::connect_with(&options);
    let mut conn = match tokio::time::timeout(target.acquire_timeout, connecting).await {
        Ok(connected) => connected.map_err(|error| target.refused(error))?,
        Err(_) => {
            let what = format!("storage {} does not answer", target.shown());
            return Err(Error::unavailable(what));
        }
    };
    let prepared = prepare_on(&mut conn, target, service).await;
    // Also gives back the lock.
    let closed = conn.close().await;
    let place = prepared?;
    closed?;
    Ok(place)
}

async fn prepare_on(
    conn: &mut AnyConnection,
    target: &Target,
    service: &'static Migrations,
) -> Result<String> {
    let lock = number(&target.schema, "migrations");
    let begin = format!(
        "{} SELECT pg_advisory_lock({lock})",
        target.session_with(0, MIGRATION_WAIT_MS)
    );
    let within = Duration::from_millis(MIGRATION_WAIT_MS) + target.acquire_timeout;
    tokio::time::timeout(within, run(conn, &begin))
        .await
        .unwrap_or_else(|_| Err(no_answer(within)))?;
    if !target.schema.is_empty() {
        make_schema(conn, &target.schema)
            .await
            .map_err(|error| target.refused(error))?;
    }
    let place: (String, Option<String>) =
        sqlx::query_as("SELECT current_database()::TEXT, current_schema()::TEXT")
            .fetch_one(&mut *conn)
            .await?;
    let (database, Some(schema)) = place else {
        let shown = target.shown();
        let why = format!("{shown} has no current schema; name one in storage.schema");
        return Err(Error::precondition("STORAGE_SCHEMA_MISSING", shown, why));
    };
    let sets = [&migrate::PLATFORM, service];
    let shown = target.shown();
    migrate::apply(conn, Dialect::Postgres, &sets, &SystemClock, &shown).await?;
    Ok(format!("{database} {schema}"))
}

async fn make_schema(conn: &mut AnyConnection, schema: &str) -> sqlx::Result<()> {
    let there: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM pg_namespace WHERE nspname = $1")
        .bind(schema)
        .fetch_one(&mut *conn)
        .await?;
    if there.0 == 0 {
        run(conn, &format!("CREATE SCHEMA {schema}")).await?;
    }
    Ok(())
}

/// Runs statements without parameters, in one round trip.
pub(super) async fn run(conn: &mut AnyConnection, sql: &str) -> sqlx::Result<()> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .map(drop)
}
