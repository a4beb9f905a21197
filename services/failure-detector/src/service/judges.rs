//! Which replica judges an endpoint: the one that holds the lease `endpoint/{name}`.
//!
//! The first one that is asked to watch becomes the judge, goes on with what is stored, and stays it until its watches
//! rest. Every write of a judge carries the epoch of its lease; once another has begun, it is refused, and what was
//! judged here is dropped from memory. A judge that was lost takes with it what its own proxies reported since its
//! last checkpoint: its successor says so. What other replicas' proxies reported is in their books, and is counted.

use std::sync::Arc;

use futures::{StreamExt, stream};
use slipway_platform::{Error, Result, lease::Instance, lease::Lease, names::EndpointName};

use super::FailureDetector;
use super::cell::{Cell, Tenure};
use super::replicas::LinkNews;
use crate::store::{self, judges::End};

/// Who judges an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// This replica.
    Here,
    /// Another one.
    There(Instance),
}

/// Watches of one endpoint that are taken up at once.
const WATCHES_MAX: i64 = 64;
/// Endpoints whose judge was lost that are looked for in one step.
const JUDGED_MAX: i64 = 1_000;
/// Endpoints that are taken up side by side.
const AT_ONCE: usize = 8;
/// The prefix of the leases.
const PREFIX: &str = "endpoint/";

/// The watches of an endpoint have gone to another replica.
pub(super) fn moved(endpoint: &EndpointName) -> Error {
    Error::unavailable(format!(
        "the replica that judges {endpoint} is changing; try again"
    ))
}

impl FailureDetector {
    /// Who judges an endpoint; this replica, when no other live one does. Goes on with its stored watches then.
    pub async fn take_up(&self, endpoint: &EndpointName) -> Result<Judge> {
        if !self.db().is_shared() || self.judges(endpoint) {
            return Ok(Judge::Here);
        }
        let _one_at_a_time = self.replicas().taking_up(endpoint).await;
        if self.judges(endpoint) {
            return Ok(Judge::Here);
        }
        if let Some(cell) = self.engine().existing(endpoint) {
            self.leave(&cell, "its lease was lost");
        }
        let leases = self.replicas().leases();
        let name = format!("{PREFIX}{endpoint}");
        if let Some(lease) = leases.take(&name).await? {
            self.begin(endpoint, lease).await?;
            return Ok(Judge::Here);
        }
        match leases.holder(&name).await? {
            Some(other) if other.id != leases.instance().id => Ok(Judge::There(other)),
            _ => Err(moved(endpoint)),
        }
    }

    /// Who judges an endpoint now; `None` when nobody does.
    pub async fn judge_of(&self, endpoint: &EndpointName) -> Result<Option<Judge>> {
        if !self.db().is_shared() || self.judges(endpoint) {
            return Ok(Some(Judge::Here));
        }
        let leases = self.replicas().leases();
        let holder = leases.holder(&format!("{PREFIX}{endpoint}")).await?;
        let other = holder.filter(|holder| holder.id != leases.instance().id);
        Ok(other.map(Judge::There))
    }

    /// Takes up what lost replicas have judged, and stopped ones have handed over, some endpoints side by side. One that
    /// cannot be taken up now holds up no other, and is tried again the next time. Returns how many endpoints.
    pub async fn take_over(&self) -> Result<usize> {
        let leases = self.replicas().leases();
        let holders = leases.holders(PREFIX).await?;
        let held: std::collections::HashSet<&str> = holders
            .iter()
            .filter_map(|(name, _)| name.strip_prefix(PREFIX))
            .collect();
        let mut taken = 0;
        let mut failed: Option<(EndpointName, Error)> = None;
        let mut failures = 0;
        let mut after = String::new();
        loop {
            let mut reader = self.db().read().await?;
            let mut judged = store::judges::judged(&mut reader, &after, JUDGED_MAX).await?;
            drop(reader);
            let Some(last) = judged.last() else {
                break;
            };
            after = last.to_string();
            judged.retain(|endpoint| !held.contains(endpoint.to_string().as_str()));
            let taking_up = judged.into_iter().map(|endpoint| async move {
                let judge = self.take_up(&endpoint).await;
                (endpoint, judge)
            });
            let mut outcomes = stream::iter(taking_up).buffer_unordered(AT_ONCE);
            while let Some((endpoint, judge)) = outcomes.next().await {
                match judge {
                    Ok(Judge::Here) => taken += 1,
                    Ok(Judge::There(_)) => {}
                    Err(error) => {
                        failures += 1;
                        failed.get_or_insert((endpoint, error));
                    }
                }
            }
        }
        if let Some((endpoint, error)) = failed {
            tracing::warn!(%endpoint, %error, failures, "endpoints are not taken up yet; trying again");
        }
        Ok(taken)
    }

    /// The cell of an endpoint that this replica judges.
    pub(super) fn judged_cell(&self, endpoint: &EndpointName) -> Result<Arc<Cell>> {
        if !self.db().is_shared() {
            return self.engine().cell(endpoint);
        }
        let cell = self.engine().existing(endpoint);
        cell.filter(|cell| cell.is_held())
            .ok_or_else(|| moved(endpoint))
    }

    /// Drops what may no longer be judged here.
    pub(super) fn leave_lost(&self) {
        for cell in self.engine().all() {
            if !cell.is_held() {
                self.leave(&cell, "its lease was lost");
            }
        }
    }

    pub(super) fn leave(&self, cell: &Arc<Cell>, why: &str) {
        if self.engine().leave(cell) {
            tracing::warn!(endpoint = %cell.endpoint, why, "endpoint is no longer judged here");
            self.replicas().say(LinkNews::Left(cell.endpoint.clone()));
        }
    }

    /// Lets go of the endpoints that have no watch any more.
    pub(super) async fn rest(&self) -> Result<()> {
        let shared = self.db().is_shared();
        for endpoint in self.engine().empty() {
            let _one_at_a_time = self.replicas().taking_up(&endpoint).await;
            let forgotten = self.engine().forget_empty(&endpoint);
            if let Some(cell) = forgotten.filter(|_| shared) {
                self.end(&[cell]).await?;
            }
        }
        Ok(())
    }

    /// Stops judging as planned: writes everything, so that another replica goes on without a loss.
    pub async fn stop(&self) -> Result<()> {
        self.checkpoint().await?;
        if !self.db().is_shared() {
            return Ok(());
        }
        let _none_is_taken_up = self.replicas().taking_up_all().await;
        let all = self.engine().all();
        for cell in &all {
            self.engine().leave(cell);
        }
        let now = self.now();
        let mut tx = self.db().begin().await?;
        for cell in &all {
            if let Some(tenure) = &cell.tenure {
                store::judges::end(&mut tx, &cell.endpoint, tenure.epoch, End::HandedOver, now)
                    .await?;
            }
        }
        tx.commit().await
    }

    fn judges(&self, endpoint: &EndpointName) -> bool {
        let cell = self.engine().existing(endpoint);
        cell.is_some_and(|cell| cell.is_held() && !cell.lock().gone)
    }

    async fn begin(&self, endpoint: &EndpointName, lease: Lease) -> Result<()> {
        let (now, lease_epoch) = (self.now(), lease.epoch());
        let mut tx = self.db().begin().await?;
        let begun = store::judges::begin(&mut tx, endpoint, lease_epoch, now).await?;
        let Some((epoch, former)) = begun else {
            tx.rollback().await?;
            lease.release().await?;
            return Err(moved(endpoint));
        };
        let since = self.idle_since();
        let states = store::watches::of_endpoint(&mut tx, endpoint, since, WATCHES_MAX).await?;
        tx.commit().await?;
        if !lease.is_held() {
            return Err(moved(endpoint));
        }
        let tenure = Tenure { lease, epoch };
        let cell = Arc::new(Cell::new(endpoint.clone(), Some(tenure)));
        let watches = states.len();
        let own = self.replicas().leases().instance().id.clone();
        let mut positions = former.state.positions;
        let own_position = positions.remove(&own);
        {
            let mut state = cell.lock();
            state.positions = positions.into_iter().collect();
            state.moved = true;
            if former.lost && watches > 0 {
                state.last_loss = Some(now);
            }
        }
        for state in states {
            let key = state.subject.key();
            if let Err(error) = self.engine().insert(&cell, state, now) {
                tracing::error!(watch = %key, %error, "stored watch cannot go on");
            }
        }
        if let Err(error) = self.engine().adopt(&cell) {
            self.end(&[cell]).await?;
            return Err(error);
        }
        if former.lost {
            self.engine().logs().expect(&former.state.nodes, now);
        }
        if let Some(ledger) = self.engine().ledger() {
            let rest = ledger.books().take(endpoint, own_position);
            if let (Some(rest), Some(from)) = (rest, own_position) {
                cell.lock().positions.insert(own.clone(), from);
                self.engine().take_in(&own, endpoint, rest, None, now);
                let mut state = cell.lock();
                state.positions.remove(&own);
                state.heard.remove(&own);
            }
        }
        self.replicas().say(LinkNews::Wanted(endpoint.clone()));
        tracing::info!(%endpoint, watches, epoch, after_a_loss = former.lost, "endpoint is judged here");
        Ok(())
    }

    /// Lets go of endpoints that are out of memory, with everything of them stored.
    async fn end(&self, cells: &[Arc<Cell>]) -> Result<()> {
        if cells.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let mut tx = self.db().begin().await?;
        for cell in cells {
            if let Some(tenure) = &cell.tenure {
                store::judges::end(&mut tx, &cell.endpoint, tenure.epoch, End::Rest, now).await?;
            }
        }
        tx.commit().await?;
        for cell in cells {
            self.replicas().say(LinkNews::Done(cell.endpoint.clone()));
            if let Some(tenure) = &cell.tenure {
                tenure.lease.clone().release().await?;
            }
            tracing::info!(endpoint = %cell.endpoint, "endpoint is no longer watched");
        }
        Ok(())
    }
}
