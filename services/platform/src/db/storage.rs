//! Where a service's database is and how much it may use; section `[<service>.storage]` of the settings.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    Result, Violations,
    config::{Secret, Validate},
};

/// Connections that one process may hold at most; a server rarely allows more than some hundreds in all.
const CONNECTIONS_MAX: u32 = 1_000;
/// The longest wait that a setting may ask for.
const WAIT_MS_MAX: u64 = 10 * 60 * 1_000;
/// An answer that is later than the server's own limit by this long does not come any more.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// A call that met this much contention is better shed.
const RETRIES_MAX: u32 = 20;
/// PostgreSQL cuts longer names off.
const SCHEMA_LENGTH_MAX: usize = 63;

/// The settings of one service's storage. `deploy/config/registry.toml` explains each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// `sqlite:/path/to/file.db` or `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// The PostgreSQL schema of the service's tables, made when it is missing; empty: the connection's
    /// own. SQLite has none.
    pub schema: String,
    /// PostgreSQL connections that this process holds at most; three more keep leases, listen and check.
    pub connections_max: u32,
    /// How long a call waits for a connection, and for its turn to write.
    pub acquire_timeout_ms: u64,
    /// The longest statement, on PostgreSQL.
    pub statement_timeout_ms: u64,
    /// How long a statement waits for another transaction, on PostgreSQL.
    pub lock_timeout_ms: u64,
    /// How often a call that met a deadlock, a serialization failure or a lock time-out is done again.
    pub contention_retries_max: u32,
    /// No setting of its own: how long a transaction of a replica that hangs may hold others up, see
    /// [`StorageConfig::handed_over_within`].
    #[serde(skip)]
    pub hand_over_ms: Option<u64>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            schema: String::new(),
            connections_max: 16,
            acquire_timeout_ms: 10_000,
            statement_timeout_ms: 30_000,
            lock_timeout_ms: 10_000,
            contention_retries_max: 3,
            hand_over_ms: None,
        }
    }
}

impl StorageConfig {
    /// The database at `url`, with the default limits.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            ..Self::default()
        }
    }

    /// The SQLite database in the file at `path`, with the default limits.
    pub fn sqlite(path: &std::path::Path) -> Self {
        Self::new(format!("sqlite:{}", path.display()))
    }

    /// The same, for replicas of which another one takes over within `takeover`: the transaction of one that
    /// hangs ends with its leases, at seven tenths of that time, so that it does not hold up who takes over.
    pub(crate) fn handed_over_within(mut self, takeover: Duration) -> Self {
        let within = crate::lease::term(takeover).as_millis();
        self.hand_over_ms = Some(u64::try_from(within).unwrap_or(u64::MAX));
        self
    }

    /// How long a transaction may stand still on the server.
    pub(crate) fn idle_transaction_ms(&self) -> u64 {
        let hand_over_ms = self.hand_over_ms.unwrap_or(u64::MAX);
        self.lock_timeout_ms.min(hand_over_ms).max(1)
    }

    /// How long an answer of the server is waited for: the server itself gives up before.
    pub(crate) fn answer_within(&self) -> Duration {
        Duration::from_millis(self.statement_timeout_ms) + ANSWER_GRACE
    }

    /// Whether the URL is that of a PostgreSQL database, which other processes may share.
    pub fn is_postgres(&self) -> bool {
        let url = self.url.expose();
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// Fails with every problem, the fields under `storage`.
    pub(crate) fn check(&self) -> Result<()> {
        let mut problems = Violations::new();
        self.validate_in("storage", &mut problems);
        problems.into_result()
    }
}

impl Validate for StorageConfig {
    fn validate(&self, problems: &mut Violations) {
        let url = self.url.expose();
        let file = url
            .strip_prefix("sqlite:")
            .is_some_and(|path| !matches!(path, "" | "//" | ":memory:"));
        problems.require(
            file || self.is_postgres(),
            "url",
            "must be sqlite:/path/to/file.db or postgres://user:password@host:port/database",
        );
        problems.require(
            self.schema.is_empty() || is_plain_name(&self.schema),
            "schema",
            "must be empty, or a small letter followed by up to 62 small letters, digits and _",
        );
        problems.require(
            (2..=CONNECTIONS_MAX).contains(&self.connections_max),
            "connections_max",
            "must be 2 to 1,000",
        );
        for (field, value) in [
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
            ("lock_timeout_ms", self.lock_timeout_ms),
        ] {
            problems.require(
                (1..=WAIT_MS_MAX).contains(&value),
                field,
                "must be 1 ms to 10 minutes",
            );
        }
        problems.require(
            self.contention_retries_max <= RETRIES_MAX,
            "contention_retries_max",
            "must be 0 to 20",
        );
    }
}

/// A name that needs no quotes in SQL.
fn is_plain_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.len() <= SCHEMA_LENGTH_MAX
        && !name.starts_with("pg_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(config: &StorageConfig) -> Vec<String> {
        let mut problems = Violations::new();
        config.validate(&mut problems);
        problems.iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn names_every_setting_that_is_wrong() {
        assert!(fields(&StorageConfig::new("sqlite:a.db")).is_empty());
        assert!(fields(&StorageConfig::new("postgres://u:p@h/d")).is_empty());
        let wrong = StorageConfig {
            url: Secret::new("mysql://x"),
            schema: "Robert'; DROP".into(),
            connections_max: 1,
            acquire_timeout_ms: 0,
            statement_timeout_ms: u64::MAX,
            lock_timeout_ms: 0,
            contention_retries_max: 21,
            hand_over_ms: None,
        };
        assert_eq!(fields(&wrong).len(), 7);
    }

    #[test]
    fn a_transaction_that_hangs_is_over_before_another_replica_takes_over() {
        let takeover = Duration::from_millis(crate::lease::ReplicaConfig::default().takeover_ms);
        let config = StorageConfig::default();
        assert_eq!(config.idle_transaction_ms(), config.lock_timeout_ms);
        for takeover in [takeover, Duration::from_secs(1), Duration::from_secs(600)] {
            let config = config.clone().handed_over_within(takeover);
            let idle = Duration::from_millis(config.idle_transaction_ms());
            assert!(idle < takeover && idle > Duration::ZERO, "{idle:?}");
            assert!(config.idle_transaction_ms() <= config.lock_timeout_ms);
        }
    }

    #[test]
    fn an_answer_is_waited_for_longer_than_the_server_needs_to_give_up() {
        let config = StorageConfig::default();
        let statement = Duration::from_millis(config.statement_timeout_ms);
        assert!(config.answer_within() > statement);
    }

    #[test]
    fn the_password_is_not_shown() {
        let config = StorageConfig::new("postgres://u:hunter2@h/d");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
