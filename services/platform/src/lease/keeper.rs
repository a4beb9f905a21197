//! Keeps the leases of one replica: one statement per period renews all that it holds and tries for all
//! that it wants.
//!
//! A lease lasts seven tenths of `takeover_ms` from the database's point of view, and a little less here,
//! counted from before the request was sent. Ten periods fit into `takeover_ms`, so a lease whose holder was
//! killed is taken by another after eight tenths at most.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use sqlx::{Any, pool::PoolConnection};
use tokio_util::sync::CancellationToken;

use super::{
    Instance, ReplicaConfig,
    claim::{Claim, Lease, Tenure},
    table,
};
use crate::{Error, Result, db::Db, error::chain, tasks::Nudge};

#[derive(Debug)]
pub(super) struct Keeper {
    db: Db,
    instance: Instance,
    /// How long a lease lasts by the database's clock.
    term: Duration,
    period: Duration,
    claims: Mutex<BTreeMap<String, Entry>>,
    /// Held while the database is asked, so that a renewal cannot undo a release.
    turn: tokio::sync::Mutex<()>,
    pulse: Mutex<Pulse>,
    nudge: Nudge,
}

#[derive(Debug)]
enum Entry {
    /// Wanted for as long as the replica runs.
    Campaign(Lease),
    /// Wanted for as long as somebody has it.
    Taken(Weak<Claim>),
}

/// When this replica reached the database.
#[derive(Debug, Default)]
struct Pulse {
    /// Last.
    beat: Option<Instant>,
    /// The last time before it could not for a while, and until when others are excused for that.
    gap: Option<(Instant, Instant)>,
}

impl Pulse {
    /// The database was reached at `now`.
    fn beat(&mut self, now: Instant, term: Duration) {
        // Others may have been a little later than this replica with their last one.
        if let Some(last) = self.beat.filter(|last| now - *last > term / 2) {
            // Of two gaps that follow each other, others were last heard of before the first.
            let since = match self.gap {
                Some((since, until)) if last < until => since,
                _ => last,
            };
            self.gap = Some((since, now + term));
        }
        self.beat = Some(now);
    }

    /// For how long others may have said nothing and be alive all the same.
    fn indulgence(&self, now: Instant, term: Duration) -> Duration {
        let after = self.gap.filter(|(_, until)| now < *until);
        let during = self.beat.filter(|last| now - *last > term / 2);
        let since = after.map(|(since, _)| since).or(during);
        since.map_or(Duration::ZERO, |since| now - since)
    }
}

impl Entry {
    fn lease(&self) -> Option<Lease> {
        match self {
            Entry::Campaign(lease) => Some(lease.clone()),
            Entry::Taken(claim) => Lease::upgrade(claim),
        }
    }
}

impl Keeper {
    pub fn new(db: Db, instance: Instance, config: &ReplicaConfig) -> Self {
        let takeover = config.takeover();
        Self {
            nudge: db.lease_nudge(),
            db,
            instance,
            term: super::term(takeover),
            period: takeover / 10,
            claims: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            pulse: Mutex::default(),
        }
    }

    /// For how long other replicas may have said nothing and be alive all the same.
    pub fn indulgence(&self) -> Duration {
        self.pulse().indulgence(Instant::now(), self.term)
    }

    pub fn wake(&self) {
        self.nudge.notify();
    }

    pub fn campaign(self: &Arc<Self>, name: &str) -> Lease {
        let mut claims = self.lock();
        let known = claims.get(name).and_then(Entry::lease);
        let known = known.filter(|lease| !lease.is_released());
        let lease = known.unwrap_or_else(|| Lease::new(name, Tenure::None, Arc::downgrade(self)));
        claims.insert(name.to_owned(), Entry::Campaign(lease.clone()));
        self.wake();
        lease
    }

    pub async fn take(self: &Arc<Self>, name: &str) -> Result<Option<Lease>> {
        let _turn = self.turn.lock().await;
        let (known, is_wanted) = match self.lock().get(name) {
            Some(entry) => (entry.lease(), matches!(entry, Entry::Campaign(_))),
            None => (None, false),
        };
        if let Some(lease) = known.as_ref().filter(|lease| lease.is_held()) {
            return Ok(Some(lease.clone()));
        }
        let asked = Instant::now();
        let names = [name.to_owned()];
        let held = self.ask(async |conn: &mut PoolConnection<Any>| {
            table::take(conn, &self.instance, &names, self.term).await
        });
        let Some((_, epoch)) = held.await?.pop() else {
            return Ok(None);
        };
        let tenure = self.tenure(epoch, asked);
        // Who has one that was lost has begun to end what he did under it: it stays lost.
        if let Some(lease) = known.filter(|lease| is_wanted && !lease.is_released()) {
            lease.set(tenure);
            return Ok(Some(lease));
        }
        let lease = Lease::new(name, tenure, Arc::downgrade(self));
        self.lock()
            .insert(name.to_owned(), Entry::Taken(lease.downgrade()));
        Ok(Some(lease))
    }

    pub async fn release(&self, lease: &Lease) -> Result<()> {
        let _turn = self.turn.lock().await;
        {
            let mut claims = self.lock();
            let known = claims.get(lease.name()).and_then(Entry::lease);
            // Somebody else here has it under the same name by now.
            if known.is_some_and(|known| !known.is_same(lease)) {
                return Ok(());
            }
            claims.remove(lease.name());
        }
        self.let_go(&[lease.name().to_owned()]).await
    }

    /// Renews and campaigns until `stop`; then lets go of each lease once its work has ended.
    pub async fn run(&self, stop: CancellationToken) {
        let mut well = true;
        let stopped = async {
            stop.cancelled().await;
            let leases = self.leases();
            for lease in &leases {
                lease.idle().await;
            }
        };
        let mut stopped = std::pin::pin!(stopped);
        loop {
            let outcome = self.round(!stop.is_cancelled()).await;
            match (&outcome, std::mem::replace(&mut well, outcome.is_ok())) {
                (Err(error), true) => {
                    let error = chain(error);
                    tracing::warn!(error, "leases cannot be renewed");
                }
                (Ok(()), false) => tracing::info!("leases are renewed again"),
                _ => {}
            }
            tokio::select! {
                () = &mut stopped => break,
                () = tokio::time::sleep(self.period) => {}
                () = self.nudge.nudged() => {}
            }
        }
        if let Err(error) = self.leave().await {
            let error = chain(&error);
            tracing::warn!(error, "leases were not let go of and run out by themselves");
        }
    }

    /// One period: what is held is renewed, what is wanted is tried for unless this replica stops, what
    /// nobody has any more is let go of.
    async fn round(&self, campaigning: bool) -> Result<()> {
        let _turn = self.turn.lock().await;
        let (wanted, dropped) = self.sort(campaigning);
        let asked = Instant::now();
        let names: Vec<String> = wanted.iter().map(|l| l.name().to_owned()).collect();
        let held = self.ask(async |conn: &mut PoolConnection<Any>| {
            let held = table::take(conn, &self.instance, &names, self.term).await?;
            table::beat(conn, &self.instance, self.term).await?;
            Ok(held)
        });
        let held: BTreeMap<String, i64> = held.await?.into_iter().collect();
        self.pulse().beat(Instant::now(), self.term);
        for lease in &wanted {
            self.note(lease, held.get(lease.name()).copied(), asked);
        }
        if !dropped.is_empty() {
            self.let_go(&dropped).await?;
        }
        Ok(())
    }

    fn note(&self, lease: &Lease, epoch: Option<i64>, asked: Instant) {
        let before = lease.is_held();
        match epoch {
            Some(epoch) => lease.set(self.tenure(epoch, asked)),
            None => lease.set(Tenure::None),
        }
        let (name, instance) = (lease.name(), self.instance.id.as_str());
        match (before, lease.is_held()) {
            (false, true) => tracing::info!(lease = name, instance, epoch, "lease taken"),
            (true, false) => tracing::warn!(lease = name, instance, "lease lost"),
            _ => {}
        }
    }

    /// What to ask for and what to let go of.
    fn sort(&self, campaigning: bool) -> (Vec<Lease>, Vec<String>) {
        let (mut wanted, mut dropped) = (Vec::new(), Vec::new());
        self.lock().retain(|name, entry| match entry.lease() {
            // What was taken once and lost is not tried for again.
            Some(lease) => {
                let kept = lease.is_held() || matches!(entry, Entry::Campaign(_));
                if lease.is_held() || (kept && campaigning) {
                    wanted.push(lease);
                }
                kept
            }
            None => {
                dropped.push(name.clone());
                false
            }
        });
        (wanted, dropped)
    }

    async fn leave(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let names: Vec<String> = self.lock().keys().cloned().collect();
        for lease in self.leases() {
            lease.set(Tenure::None);
        }
        self.lock().clear();
        self.let_go(&names).await?;
        self.ask(async |conn: &mut PoolConnection<Any>| table::leave(conn, &self.instance.id).await)
            .await
    }

    async fn let_go(&self, names: &[String]) -> Result<()> {
        self.ask(async |conn: &mut PoolConnection<Any>| {
            table::release(conn, &self.instance.id, names).await
        })
        .await?;
        self.db.leases_were_released();
        Ok(())
    }

    /// Asks the database, for no longer than a renewal is worth waiting for. A connection that does not
    /// answer is closed.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut PoolConnection<Any>) -> Result<T>,
    ) -> Result<T> {
        let late = || Error::unavailable("storage: leases were not answered in time");
        let patience = self.term / 2;
        let conn = tokio::time::timeout(patience, self.db.lease_connection()).await;
        let Some(mut conn) = conn.map_err(|_| late())?? else {
            return Err(Error::unavailable("storage: this database keeps no leases"));
        };
        match tokio::time::timeout(patience, question(&mut conn)).await {
            Ok(answer) => answer,
            Err(_) => {
                conn.close_on_drop();
                Err(late())
            }
        }
    }

    /// What was granted to a request sent at `asked`; a tenth is left for clocks that run apart.
    fn tenure(&self, epoch: i64, asked: Instant) -> Tenure {
        Tenure::Until {
            epoch,
            end: asked + self.term * 9 / 10,
        }
    }

    fn pulse(&self) -> std::sync::MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leases(&self) -> Vec<Lease> {
        self.lock().values().filter_map(Entry::lease).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(4);

    #[test]
    fn others_are_not_taken_for_lost_until_a_term_after_ones_own_gap() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::default();
        for second in 0..=10 {
            pulse.beat(at(second), TERM);
            assert_eq!(pulse.indulgence(at(second), TERM), Duration::ZERO);
        }
        // The database is away from 10 to 60; whoever was heard of at 10 may be alive.
        assert_eq!(pulse.indulgence(at(40), TERM), Duration::from_secs(30));
        pulse.beat(at(60), TERM);
        assert_eq!(pulse.indulgence(at(60), TERM), Duration::from_secs(50));
        pulse.beat(at(61), TERM);
        // And once more before a term is over.
        pulse.beat(at(65), TERM);
        assert_eq!(pulse.indulgence(at(66), TERM), Duration::from_secs(56));
        for second in 66..=70 {
            pulse.beat(at(second), TERM);
        }
        assert_eq!(pulse.indulgence(at(70), TERM), Duration::ZERO);
    }
}
