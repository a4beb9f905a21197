//! The life of a revision: started, checked, found again, stopped. What a rollout waits for is told to it in
//! the transaction that records it.

use std::net::SocketAddr;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::{RevisionName, RolloutName};

use super::decision::{Cause, hear};
use super::needs::{is_needed, waits_for_check, waits_for_start};
use super::run_spec::run_of;
use super::scene::Scene;
use super::{Service, records};
use crate::domain::resources::{RevisionState, RunTemplate};
use crate::domain::rollout::RolloutEvent;
use crate::domain::traffic::Revision;
use crate::driver::{DriverError, RunningRevision};
use crate::store::revisions::RevisionRow;
use crate::store::rollouts::RolloutRow;
use crate::store::work::{Item, Work};
use crate::store::{endpoints, revisions, rollouts, work};
use crate::tasks::worker::Done;
use crate::xds::Applied;

/// How soon it is looked again whether proxies have left what is to be stopped.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How soon it is looked again whether what is to be stopped is needed still.
const STILL_NEEDED: Duration = Duration::from_secs(60);
/// How soon a revision that is needed and could not be started is tried again.
const START_AGAIN: Duration = Duration::from_secs(30);
/// How often it is tried to stop what another node has started anew.
const STOPS_MAX: u32 = 12;
/// The first pause in between; it doubles.
const STOP_AGAIN_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const STOP_AGAIN_MAX: Duration = Duration::from_secs(10);

impl Service {
    pub(super) async fn perform_provision(
        &self,
        item: &Item,
        rollout: &RolloutName,
        revision: &RevisionName,
    ) -> Result<Done> {
        let Some((row, target)) = self.begin_start(item, rollout, revision).await? else {
            return self.let_be(item).await;
        };
        let within = row.rollout.plan.deadlines.provisioning;
        let provisioned = self.driver.provision(&run_of(&target, within)?).await;
        let number = Revision(revision.number());
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        if self.is_elsewhere(&present) {
            // Another node has taken the start over, so that what runs here is nobody's.
            drop(tx);
            self.stop_here(&present).await?;
            return self.finish(item).await;
        }
        if !waits_for_start(&rollouts::get(&mut tx, rollout).await?, revision) {
            // It was given up meanwhile, and is stopped by another piece of work.
            drop(tx);
            return self.finish(item).await;
        }
        let now = self.now();
        let event = match provisioned {
            Ok(addresses) => {
                let to = (RevisionState::Provisioning, "");
                mark(&mut tx, &present, to, Some(&addresses), now).await?;
                RolloutEvent::Provisioned { revision: number }
            }
            Err(DriverError::Failed { reason }) => {
                let to = (RevisionState::Failed, reason.as_str());
                mark(&mut tx, &present, to, None, now).await?;
                RolloutEvent::ProvisionFailed {
                    revision: number,
                    reason,
                }
            }
            Err(error) => return Err(error.into()),
        };
        self.finish_with(&mut tx, item, rollout, &event).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    pub(super) async fn perform_check(
        &self,
        item: &Item,
        rollout: &RolloutName,
        revision: &RevisionName,
    ) -> Result<Done> {
        let (row, target) = self.target(rollout, revision).await?;
        if !waits_for_check(&row, revision) {
            return self.finish(item).await;
        }
        let within = row.rollout.plan.deadlines.checking;
        let run = run_of(&target, within)?;
        let checked = self.driver.check(&run, &target.addresses).await;
        let number = Revision(revision.number());
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        if !waits_for_check(&rollouts::get(&mut tx, rollout).await?, revision) {
            drop(tx);
            return self.finish(item).await;
        }
        let now = self.now();
        let event = match checked {
            Ok(()) => {
                mark(&mut tx, &present, (RevisionState::Ready, ""), None, now).await?;
                RolloutEvent::HealthPassed { revision: number }
            }
            Err(DriverError::Failed { reason }) => {
                let to = (RevisionState::Failed, reason.as_str());
                mark(&mut tx, &present, to, None, now).await?;
                RolloutEvent::HealthFailed {
                    revision: number,
                    reason,
                }
            }
            // Not yet: the deadline of the phase says when that is never.
            Err(error) => return Err(error.into()),
        };
        self.finish_with(&mut tx, item, rollout, &event).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    pub(super) async fn perform_ensure_running(
        &self,
        item: &Item,
        revision: &RevisionName,
    ) -> Result<Done> {
        let (row, needed) = {
            let mut reader = self.db.read().await?;
            let scene = Scene::load(&mut reader, revision.endpoint()).await?;
            let warm = work::stop_is_due_later(&mut reader, revision, self.now()).await?;
            let row = revisions::get(&mut reader, revision).await?;
            (row, warm || is_needed(&scene, revision))
        };
        if !needed {
            let mut tx = self.db.begin().await?;
            stop_now(&mut tx, revision, self.now()).await?;
            work::done(&mut tx, item).await?;
            tx.commit().await?;
            return Ok(Done::Yes);
        }
        let endpoint = self.endpoint(revision.endpoint()).await?;
        let within = endpoint.settings.deadlines.provisioning;
        if !self.take_to_node(revision).await? {
            // What belongs to another node is that one's work.
            return Ok(Done::NotBefore(self.now()));
        }
        let provisioned = self.driver.provision(&run_of(&row, within)?).await;
        let mut tx = self.db.begin().await?;
        let (present, now) = (revisions::get(&mut tx, revision).await?, self.now());
        if self.is_elsewhere(&present) {
            // Another node has started it meanwhile, so that what runs here is nobody's.
            drop(tx);
            self.stop_here(&present).await?;
            return Ok(Done::NotBefore(self.now()));
        }
        match provisioned {
            Ok(addresses) => {
                let to = (RevisionState::Ready, "");
                mark(&mut tx, &present, to, Some(&addresses), now).await?;
                let scene = Scene::load(&mut tx, revision.endpoint()).await?;
                let warm = work::stop_is_due_later(&mut tx, revision, now).await?;
                if !warm && !is_needed(&scene, revision) {
                    // What needed it has ended while it started, and may have found nothing to stop.
                    stop_now(&mut tx, revision, now).await?;
                }
            }
            Err(DriverError::Failed { reason }) => {
                let to = (RevisionState::Failed, reason.as_str());
                if present.state != RevisionState::Failed {
                    mark(&mut tx, &present, to, None, now).await?;
                    let scene = Scene::load(&mut tx, revision.endpoint()).await?;
                    let text = format!("{} cannot be started again: {reason}", revision.id());
                    records::page(&mut tx, &scene, None, "revision_lost", &text, now).await?;
                    tx.commit().await?;
                }
                // It is needed, so it is tried for as long as it is.
                return Ok(Done::NotBefore(now + START_AGAIN));
            }
            Err(error) => return Err(error.into()),
        }
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    /// Stops a revision that nothing needs. From the transaction that says DRAINING on, nobody counts on it:
    /// who wants it back has it started anew.
    pub(super) async fn perform_stop(&self, item: &Item, revision: &RevisionName) -> Result<Done> {
        let mut tx = self.db.begin().await?;
        let row = revisions::get(&mut tx, revision).await?;
        let scene = Scene::load(&mut tx, revision.endpoint()).await?;
        let over = matches!(row.state, RevisionState::Stopped | RevisionState::Created);
        if over {
            work::done(&mut tx, item).await?;
            tx.commit().await?;
            return Ok(Done::Yes);
        }
        // Nobody asks for it again when it is not needed any more.
        if is_needed(&scene, revision) {
            return Ok(Done::NotBefore(self.now() + STILL_NEEDED));
        }
        if !self.proxies_have_left(&scene.endpoint) {
            return Ok(Done::NotBefore(self.now() + LOOK_AGAIN));
        }
        let failed = row.state == RevisionState::Failed;
        if !failed {
            let to = (RevisionState::Draining, row.state_reason.as_str());
            mark(&mut tx, &row, to, None, self.now()).await?;
        }
        tx.commit().await?;
        let grace = row.facts.run.stop_grace();
        self.driver.stop(revision, grace).await?;
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        let to = match present.state {
            // What failed stays known as that; it only has no addresses any more.
            RevisionState::Failed => RevisionState::Failed,
            // It is wanted again meanwhile, and being started.
            RevisionState::Provisioning | RevisionState::Ready => {
                work::done(&mut tx, item).await?;
                tx.commit().await?;
                return Ok(Done::Yes);
            }
            RevisionState::Created | RevisionState::Draining | RevisionState::Stopped => {
                RevisionState::Stopped
            }
        };
        mark(
            &mut tx,
            &present,
            (to, &present.state_reason),
            Some(&[]),
            self.now(),
        )
        .await?;
        revisions::set_node(&mut tx, revision, "").await?;
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    /// A revision died: rollouts hear of it, and it is found out when it is back.
    pub async fn revision_lost(&self, revision: &RevisionName) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let Some(row) = revisions::find(&mut tx, revision).await? else {
            return Ok(());
        };
        let now = self.now();
        if row.state == RevisionState::Ready {
            let reason = "an instance died and is being started again";
            records::revision_state(
                &mut tx,
                &row,
                RevisionState::Provisioning,
                reason,
                None,
                now,
            )
            .await?;
        }
        let mut scene = Scene::load(&mut tx, revision.endpoint()).await?;
        let number = Revision(revision.number());
        let event = RolloutEvent::RevisionLost { revision: number };
        let mut heard = false;
        for index in 0..scene.rollouts.len() {
            heard |= hear(&mut tx, &mut scene, index, &event, &Cause::deployer(), now)
                .await?
                .is_ok();
        }
        if !heard && scene.endpoint.serving.traffic.carries(number) {
            let text = format!("{} died while it served", revision.id());
            records::page(&mut tx, &scene, None, "revision_lost", &text, now).await?;
        }
        work::add(
            &mut tx,
            &Work::EnsureRunning {
                revision: revision.clone(),
            },
            now,
        )
        .await?;
        tx.commit().await
    }

    /// A revision that an earlier run on this node has started runs still. What another node has started anew
    /// since is stopped here.
    pub async fn revision_adopted(&self, running: &RunningRevision) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let Some(row) = revisions::find(&mut tx, &running.revision).await? else {
            tracing::warn!(revision = %running.revision, "a process runs of which nothing is known");
            return Ok(());
        };
        if self.is_elsewhere(&row) {
            drop(tx);
            tracing::warn!(revision = %row.name, node = row.node, "started anew on another node: stopped here");
            let grace = row.facts.run.stop_grace();
            return Ok(self.driver.stop(&row.name, grace).await?);
        }
        records::revision_state(
            &mut tx,
            &row,
            row.state,
            &row.state_reason,
            Some(&running.addresses),
            self.now(),
        )
        .await?;
        if row.node.is_empty() && is_on_a_node(&row) {
            revisions::set_node(&mut tx, &row.name, self.duties.node()).await?;
        }
        tx.commit().await?;
        tracing::info!(revision = %running.revision, ready = running.ready, "process adopted");
        Ok(())
    }

    /// Has it found out where a revision runs that should, or that it need not.
    pub async fn ensure_running(&self, revision: &RevisionName) -> Result<()> {
        let mut tx = self.db.begin().await?;
        work::add(
            &mut tx,
            &Work::EnsureRunning {
                revision: revision.clone(),
            },
            self.now(),
        )
        .await?;
        tx.commit().await
    }

    /// Whether every proxy that counts has the traffic in force, so that none sends requests to what is left.
    fn proxies_have_left(&self, endpoint: &endpoints::EndpointRow) -> bool {
        match self
            .hub
            .applied(&endpoint.name, endpoint.serving.generation)
        {
            Applied::Applied { .. } => true,
            Applied::Waiting(_) | Applied::AppliedExcept(_) => false,
            Applied::Unapplied => {
                self.hub.proxies().is_empty() && self.now() >= self.proxies_known_at
            }
        }
    }

    async fn target(
        &self,
        rollout: &RolloutName,
        revision: &RevisionName,
    ) -> Result<(RolloutRow, RevisionRow)> {
        let mut reader = self.db.read().await?;
        let row = rollouts::get(&mut reader, rollout).await?;
        Ok((row, revisions::get(&mut reader, revision).await?))
    }

    /// A start begins here: what it starts belongs to this node, whoever has tried before. `None`: the rollout does
    /// not wait for it any more, or another replica has taken the work over.
    async fn begin_start(
        &self,
        item: &Item,
        rollout: &RolloutName,
        revision: &RevisionName,
    ) -> Result<Option<(RolloutRow, RevisionRow)>> {
        let mut tx = self.db.begin().await?;
        let row = rollouts::get(&mut tx, rollout).await?;
        if !waits_for_start(&row, revision) || !work::is_held(&mut tx, item).await? {
            return Ok(None);
        }
        let target = revisions::get(&mut tx, revision).await?;
        let to = (RevisionState::Provisioning, "");
        mark(&mut tx, &target, to, None, self.now()).await?;
        if is_on_a_node(&target) {
            revisions::set_node(&mut tx, revision, self.duties.node()).await?;
        }
        tx.commit().await?;
        Ok(Some((row, target)))
    }

    /// Nothing is to be done, by whoever holds the item: ends it, unless that is another replica.
    async fn let_be(&self, item: &Item) -> Result<Done> {
        let mut tx = self.db.begin().await?;
        if work::is_held(&mut tx, item).await? {
            work::done(&mut tx, item).await?;
            tx.commit().await?;
        }
        Ok(Done::Yes)
    }

    /// A revision that belongs to no node belongs to this one from now on. False: it belongs to another one.
    async fn take_to_node(&self, revision: &RevisionName) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        if self.is_elsewhere(&present) {
            return Ok(false);
        }
        if present.node.is_empty() && is_on_a_node(&present) {
            revisions::set_node(&mut tx, revision, self.duties.node()).await?;
            tx.commit().await?;
        }
        Ok(true)
    }

    /// Stops what runs here of a revision that belongs to another node. What is left to do for the revision is that
    /// node's, so that nobody comes back to this: it is tried again here, a bounded number of times.
    async fn stop_here(&self, row: &RevisionRow) -> Result<()> {
        let (grace, mut pause) = (row.facts.run.stop_grace(), STOP_AGAIN_MIN);
        for _ in 1..STOPS_MAX {
            let Err(error) = self.driver.stop(&row.name, grace).await else {
                return Ok(());
            };
            tracing::warn!(revision = %row.name, %error, "not stopped here, though another node has it; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STOP_AGAIN_MAX);
            if matches!(self.node_of(&row.name).await, Ok(node) if node == self.duties.node()) {
                // It is wanted here again.
                return Ok(());
            }
        }
        let stopped = self.driver.stop(&row.name, grace).await;
        stopped.inspect_err(|error| {
            tracing::error!(revision = %row.name, %error, "it runs here and on another node, until this deployer is restarted");
        })?;
        Ok(())
    }

    async fn node_of(&self, revision: &RevisionName) -> Result<String> {
        let row = revisions::get(&mut *self.db.read().await?, revision).await?;
        Ok(row.node)
    }

    /// Whether it belongs to another node.
    fn is_elsewhere(&self, row: &RevisionRow) -> bool {
        !row.node.is_empty() && row.node != self.duties.node()
    }
}

/// Whether what it runs belongs to the node that starts it.
fn is_on_a_node(row: &RevisionRow) -> bool {
    matches!(row.facts.run, RunTemplate::Process(_))
}

/// Moves a revision to a state, for a reason.
async fn mark(
    tx: &mut Tx,
    row: &RevisionRow,
    (state, reason): (RevisionState, &str),
    addresses: Option<&[SocketAddr]>,
    now: Timestamp,
) -> Result<()> {
    records::revision_state(tx, row, state, reason, addresses, now).await
}

async fn stop_now(tx: &mut Tx, revision: &RevisionName, now: Timestamp) -> Result<()> {
    let stop = Work::Stop {
        revision: revision.clone(),
    };
    work::add(tx, &stop, now).await
}
