//! Counters that rise in the transaction of a change. Whoever publishes routes, works, or watches rollouts
//! sees from them, after any commit, whether there is something to do.

use slipway_platform::Result;
use sqlx::AnyConnection;

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// What proxies are told; its value is the version of the snapshot.
    Routes,
    /// Rollouts, pins, or what serves.
    Rollouts,
    /// There is work for a worker.
    Work,
    /// Proxies, or what they have accepted, on a database that replicas share.
    Proxies,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Routes => "routes",
            Signal::Rollouts => "rollouts",
            Signal::Work => "work",
            Signal::Proxies => "proxies",
        }
    }
}

/// The values at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// See [`Signal::Routes`].
    pub routes: i64,
    /// See [`Signal::Rollouts`].
    pub rollouts: i64,
    /// See [`Signal::Work`].
    pub work: i64,
    /// See [`Signal::Proxies`].
    pub proxies: i64,
}

/// Raises a signal, and gives its new value.
pub async fn raise(conn: &mut AnyConnection, signal: Signal) -> Result<i64> {
    let (value,): (i64,) =
        sqlx::query_as("UPDATE signals SET value = value + 1 WHERE name = $1 RETURNING value")
            .bind(signal.name())
            .fetch_one(conn)
            .await?;
    Ok(value)
}

/// Every signal.
pub async fn read(conn: &mut AnyConnection) -> Result<Signals> {
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, value FROM signals")
        .fetch_all(conn)
        .await?;
    let value = |name: &str| {
        rows.iter()
            .find(|(own, _)| own == name)
            .map_or(0, |(_, value)| *value)
    };
    Ok(Signals {
        routes: value("routes"),
        rollouts: value("rollouts"),
        work: value("work"),
        proxies: value("proxies"),
    })
}
