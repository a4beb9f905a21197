//! Which replica does what only one may do at a time.
//!
//! A [`Lease`] is held by one replica until it lets go or until its time runs out by the database's clock,
//! which the holder keeps pushing back. A replica that is killed holds nothing for longer than
//! `takeover_ms`; one that stops as planned lets go at once.
//!
//! Invariants: two replicas are never told at the same moment that they hold the same lease, as long as
//! their monotonic clocks and the database's run at the same speed; each change of hands raises
//! [`Lease::epoch`]. A SQLite database has one process: there every lease is held at once and always, and
//! nothing is written.

mod claim;
mod keeper;
mod metrics;
mod table;

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

use crate::{Result, Violations, config::Validate, db::Db, tasks::Tasks};

use keeper::Keeper;

pub use claim::Lease;

/// One run of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// A UUID of this run.
    pub id: String,
    /// `http://host:port`, where the other replicas reach it.
    pub address: String,
}

impl Instance {
    /// A new run that is reached at `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            address: address.into(),
        }
    }
}

/// How replicas of a service share its work; section `[<service>.replicas]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaConfig {
    /// `http://host:port`, where the other replicas reach this one; empty: the listener's address.
    pub advertise: String,
    /// Within this time the work of a lost replica is taken over.
    pub takeover_ms: u64,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self {
            advertise: String::new(),
            takeover_ms: 5_000,
        }
    }
}

impl Validate for ReplicaConfig {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            self.advertise.is_empty() || self.advertise.starts_with("http://"),
            "advertise",
            "must be empty or an address such as http://10.0.0.7:7403",
        );
        problems.require(
            (1_000..=600_000).contains(&self.takeover_ms),
            "takeover_ms",
            "must be 1 s to 10 minutes",
        );
    }
}

impl ReplicaConfig {
    /// [`ReplicaConfig::takeover_ms`].
    pub(crate) fn takeover(&self) -> Duration {
        Duration::from_millis(self.takeover_ms)
    }
}

/// How long a lease lasts by the database's clock, when another replica takes over within `takeover`.
pub(crate) fn term(takeover: Duration) -> Duration {
    takeover * 7 / 10
}

/// The leases of one replica; clones speak of the same ones.
#[derive(Debug, Clone)]
pub struct Leases {
    db: Db,
    instance: Arc<Instance>,
    /// `None` where there are no other replicas.
    keeper: Option<Arc<Keeper>>,
}

impl Leases {
    /// The leases that `instance` holds or wants in `db`; nothing is renewed before [`Leases::spawn`].
    pub fn new(db: Db, instance: Instance, config: &ReplicaConfig) -> Leases {
        let keeper = || Arc::new(Keeper::new(db.clone(), instance.clone(), config));
        Leases {
            keeper: db.is_shared().then(keeper),
            instance: Arc::new(instance),
            db,
        }
    }

    /// Who this replica is.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Keeps what is held and tries for what is wanted, as a supervised background task. At the shutdown it
    /// lets go of everything once the tasks under leases have ended, so that the work moves at once.
    pub fn spawn(&self, tasks: &Tasks) {
        if let Some(keeper) = self.keeper.clone() {
            let stop = tasks.token();
            tasks.spawn("leases", async move { keeper.run(stop).await });
        }
    }

    /// Wants to hold `name` for as long as this replica runs.
    pub fn campaign(&self, name: &str) -> Lease {
        match &self.keeper {
            Some(keeper) => keeper.campaign(name),
            None => Lease::always(name),
        }
    }

    /// Takes `name` now, and keeps it until it is released or its last clone dropped; `None` when another
    /// live replica holds it. A lease that was lost stays so: who takes its name again gets one of its own.
    pub async fn take(&self, name: &str) -> Result<Option<Lease>> {
        match &self.keeper {
            Some(keeper) => keeper.take(name).await,
            None => Ok(Some(Lease::always(name))),
        }
    }

    /// Who holds `name`, by the database's clock.
    pub async fn holder(&self, name: &str) -> Result<Option<Instance>> {
        if self.keeper.is_none() {
            return Ok(Some(self.instance().clone()));
        }
        let held = table::held(&mut *self.db.read().await?, name).await?;
        let row = held.into_iter().find(|row| row.name == name);
        Ok(row.map(|row| row.holder))
    }

    /// Who holds what, of all leases whose name begins with `prefix`, by the database's clock. On a database
    /// that is not shared nothing is written down, so nothing is listed.
    pub async fn holders(&self, prefix: &str) -> Result<Vec<(String, Instance)>> {
        if self.keeper.is_none() {
            return Ok(Vec::new());
        }
        let held = table::held(&mut *self.db.read().await?, prefix).await?;
        Ok(held.into_iter().map(|row| (row.name, row.holder)).collect())
    }

    /// The replicas that are alive, this one among them. After a time in which this replica could not reach the
    /// database, those that were alive before are so for another while, in which they can say it themselves.
    pub async fn replicas(&self) -> Result<Vec<Instance>> {
        let mut alive = match &self.keeper {
            Some(keeper) => table::alive(&mut *self.db.read().await?, keeper.indulgence()).await?,
            None => Vec::new(),
        };
        if !alive.iter().any(|one| one.id == self.instance.id) {
            alive.push(self.instance().clone());
        }
        Ok(alive)
    }
}

#[cfg(test)]
mod tests;
