//! What is particular to PostgreSQL: pools, advisory locks, and word of other replicas' commits.
//!
//! One writer at a time, as on SQLite: [`Postgres::begin`] takes an advisory lock of the schema in a READ
//! COMMITTED transaction, so every statement in it sees all that was committed before. With a key the
//! schema's lock is shared and the key's is taken. `docs/adr/0003-postgresql.md` says why.

mod bell;
mod connect;
mod driver;
mod transaction;
mod turns;

use std::{sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::{Any, AnyPool, any::AnyPoolOptions, pool::PoolConnection};
use tokio::task::AbortHandle;

use self::{connect::Target, turns::Turns};
use super::{Durability, storage::StorageConfig};
use crate::{Result, clock::Timestamp, migrate::Migrations};

pub(super) use self::{
    bell::{Heard, News},
    driver::DRIVER,
    transaction::Transaction,
};

/// A connection that rested longer is asked whether it still lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// A server that is there answers that sooner than this. When it does not, all connections are suspect.
const PING_WITHIN: Duration = Duration::from_secs(1);
/// A connection that rested longer than this is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The connections of one process to one schema.
pub(super) struct Postgres {
    writers: AnyPool,
    readers: AnyPool,
    /// For leases: never behind the work of the service.
    leases: AnyPool,
    /// For the question whether writes are taken: not behind the work either, and in nobody's way while there is no answer.
    checks: AnyPool,
    turns: Turns,
    /// Of the database and schema; keys of locks are made from it.
    place: String,
    wait: Duration,
    bell: Arc<bell::Bell>,
    listening: AbortHandle,
}

impl Postgres {
    /// Connects, makes the schema, brings the tables up to date, and starts to listen.
    #[expect(
        clippy::disallowed_methods,
        reason = "belongs to the handle, which outlives every task of the service and ends it"
    )]
    pub async fn open(
        storage: &StorageConfig,
        service: &'static Migrations,
        heard: Heard,
    ) -> Result<Self> {
        let target = Target::new(storage, service.name)?;
        let place = connect::prepare(&target, service).await?;
        let channel = format!("slipway_{:016x}", number(&place, "commits"));
        let bell = Arc::new(bell::Bell::new(channel, heard));
        let pool = |connections: u32, more: &'static str| pool(&target, &bell, connections, more);
        let readers = storage.connections_max / 2;
        let writers = pool(storage.connections_max - readers, "");
        let readers = pool(readers, "SET default_transaction_read_only = on;");
        let (leases, checks) = (pool(1, ""), pool(1, ""));
        let wait = target.acquire_timeout;
        let listening = bell::run(bell.clone(), move || target.listener());
        Ok(Self {
            writers,
            readers,
            leases,
            checks,
            turns: Turns::default(),
            place,
            wait,
            bell,
            listening: tokio::spawn(listening).abort_handle(),
        })
    }

    /// Begins a write transaction that excludes all others, or those of the same `key`.
    pub async fn begin(&self, key: Option<&str>, durability: Durability) -> Result<Transaction> {
        let all = number(&self.place, "writer");
        let key = key.map(|key| number(&self.place, &format!("key {key}")));
        let turn = self.turns.next(key, self.wait).await?;
        let conn = self.writers.acquire().await?;
        let lock = match key {
            None => format!("SELECT pg_advisory_xact_lock({all})"),
            Some(key) => format!(
                "SELECT pg_advisory_xact_lock_shared({all}); SELECT pg_advisory_xact_lock({key})"
            ),
        };
        let relaxed = match durability {
            Durability::Full => "",
            Durability::Relaxed => "; SET LOCAL synchronous_commit = off",
        };
        Transaction::begin(conn, turn, format!("BEGIN; {lock}{relaxed}")).await
    }

    pub async fn read(&self) -> Result<PoolConnection<Any>> {
        Ok(self.readers.acquire().await?)
    }

    /// The connection that leases are kept over, by statements that need no lock of the schema.
    pub async fn lease_connection(&self) -> Result<PoolConnection<Any>> {
        Ok(self.leases.acquire().await?)
    }

    pub async fn now(&self) -> Result<Timestamp> {
        let sql = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";
        let now: (i64,) = sqlx::query_as(sql)
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(Timestamp(now.0))
    }

    /// Writes a row of its own, over a connection of its own: whether the database takes writes at all, however
    /// many writers wait for their turn.
    pub async fn check(&self) -> Result<()> {
        let sql = "INSERT INTO slipway_counters (name, value) VALUES ('storage check', 1) \
                   ON CONFLICT (name) DO UPDATE SET value = slipway_counters.value + 1";
        let mut conn = self.checks.acquire().await?;
        sqlx::query(sql).execute(&mut *conn).await?;
        Ok(())
    }

    /// Tells the other replicas of a commit.
    pub fn ring(&self, news: News) {
        self.bell.ring(news);
    }

    pub async fn close(&self) {
        self.listening.abort();
        self.readers.close().await;
        self.writers.close().await;
        self.leases.close().await;
        self.checks.close().await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn pool(target: &Target, bell: &Arc<bell::Bell>, connections: u32, more: &str) -> AnyPool {
    let session: Arc<str> = format!("{}{more}", target.session()).into();
    let bell = bell.clone();
    AnyPoolOptions::new()
        .max_connections(connections)
        .min_connections(0)
        .acquire_timeout(target.acquire_timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .after_connect(move |conn, _| {
            let session = session.clone();
            Box::pin(async move { connect::run(conn, &session).await })
        })
        .before_acquire(move |conn, meta| {
            let bell = bell.clone();
            Box::pin(async move {
                if bell.is_suspect(meta.age) {
                    return Ok(false);
                }
                if meta.idle_for <= TRUSTED_FOR {
                    return Ok(true);
                }
                match tokio::time::timeout(PING_WITHIN, sqlx::Connection::ping(conn)).await {
                    Ok(answer) => answer.map(|()| true),
                    Err(_) => {
                        bell.note_break();
                        Ok(false)
                    }
                }
            })
        })
        .connect_lazy_with(target.options.clone())
}

/// A number for a lock or a channel: the same in every replica, and hardly the same as any other.
fn number(place: &str, what: &str) -> i64 {
    let hash = Sha256::digest(format!("slipway {place} {what}").as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}
