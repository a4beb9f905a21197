//! Performing queued work: what a decision asked of the world outside, and what came of it. The result and
//! the end of the item are one transaction.

use std::net::SocketAddr;

use slipway_platform::db::Tx;
use slipway_platform::names::{AliasName, RevisionName, RolloutName};
use slipway_platform::{Error, Result};

use super::decision::{Cause, hear};
use super::scene::Scene;
use super::{Service, records};
use crate::domain::resources::{Actor, RevisionState, RunTemplate};
use crate::domain::rollout::{Gate, Pending, Phase, Retreat, RolloutEvent};
use crate::domain::traffic::Revision;
use crate::driver::{
    DriverError, ExternalSpec, ProcessSpec, RevisionRun, RunArtifact, RunSpec, RunningRevision,
};
use crate::store::revisions::RevisionRow;
use crate::store::rollouts::RolloutRow;
use crate::store::work::{Item, Work};
use crate::store::{endpoints, revisions, rollouts, work};
use crate::tasks::worker::Done;
use crate::xds::Applied;

impl Service {
    /// Performs one item. An error means that it may work later.
    pub async fn perform(&self, item: &Item) -> Result<Done> {
        match &item.work {
            Work::AskGate { rollout } => self.perform_gate(item, rollout).await,
            Work::Provision { rollout, revision } => {
                self.perform_provision(item, rollout, revision).await
            }
            Work::CheckHealth { rollout, revision } => {
                self.perform_check(item, rollout, revision).await
            }
            Work::EnsureRunning { revision } => self.perform_ensure_running(item, revision).await,
            Work::Stop { revision } => self.perform_stop(item, revision).await,
            Work::MoveChampion { revision } => self.perform_move_champion(item, revision).await,
            Work::Deploy {
                endpoint,
                version,
                rule,
                event_id,
            } => {
                self.deploy_by_rule(endpoint, version, rule, event_id)
                    .await?;
                self.finish(item).await
            }
        }
    }

    async fn finish(&self, item: &Item) -> Result<Done> {
        let mut tx = self.db.begin().await?;
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    /// Lets the rollout hear the result, and ends the item, in one transaction.
    async fn finish_with(
        &self,
        tx: &mut Tx,
        item: &Item,
        rollout: &RolloutName,
        event: &RolloutEvent,
    ) -> Result<()> {
        self.tell_in(tx, rollout, event, &Cause::deployer()).await?;
        work::done(&mut *tx, item).await
    }

    async fn perform_gate(&self, item: &Item, rollout: &RolloutName) -> Result<Done> {
        let row = rollouts::get(&mut *self.db.read().await?, rollout).await?;
        if row.rollout.phase != Phase::Pending(Pending { gate: Gate::Asked }) {
            return self.finish(item).await;
        }
        let answered = match self.ask_gate(rollout.endpoint(), &row.version).await {
            Ok(answered) => answered,
            Err(error) if error.is_permanent() => Err(crate::domain::resources::Refusal {
                code: "NOT_KNOWN",
                text: error.to_string(),
            }),
            Err(error) => return Err(error),
        };
        let mut tx = self.db.begin().await?;
        let event = match answered {
            Ok(evidence) => {
                let mut row = rollouts::get(&mut tx, rollout).await?;
                row.about.evidence = evidence;
                rollouts::save(&mut tx, &row, self.now()).await?;
                RolloutEvent::GatePassed
            }
            Err(refusal) => RolloutEvent::GateRefused {
                code: refusal.code.to_owned(),
                reason: refusal.text,
            },
        };
        self.finish_with(&mut tx, item, rollout, &event).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    async fn perform_provision(
        &self,
        item: &Item,
        rollout: &RolloutName,
        revision: &RevisionName,
    ) -> Result<Done> {
        let (row, target) = self.target(rollout, revision).await?;
        if !waits_for_start(&row, revision) {
            return self.finish(item).await;
        }
        self.set_state(&target, RevisionState::Provisioning, "", None)
            .await?;
        let within = row.rollout.plan.deadlines.provisioning;
        let provisioned = self.driver.provision(&run_of(&target, within)?).await;
        let number = Revision(revision.number());
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        let event = match provisioned {
            Ok(addresses) => {
                let state = RevisionState::Provisioning;
                records::revision_state(&mut tx, &present, state, "", Some(&addresses), self.now())
                    .await?;
                RolloutEvent::Provisioned { revision: number }
            }
            Err(DriverError::Failed { reason }) => {
                records::revision_state(
                    &mut tx,
                    &present,
                    RevisionState::Failed,
                    &reason,
                    None,
                    self.now(),
                )
                .await?;
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

    async fn perform_check(
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
        let checked = self
            .driver
            .check(&run_of(&target, within)?, &target.addresses)
            .await;
        let number = Revision(revision.number());
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        let event = match checked {
            Ok(()) => {
                records::revision_state(
                    &mut tx,
                    &present,
                    RevisionState::Ready,
                    "",
                    None,
                    self.now(),
                )
                .await?;
                RolloutEvent::HealthPassed { revision: number }
            }
            Err(DriverError::Failed { reason }) => {
                records::revision_state(
                    &mut tx,
                    &present,
                    RevisionState::Failed,
                    &reason,
                    None,
                    self.now(),
                )
                .await?;
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

    async fn perform_ensure_running(&self, item: &Item, revision: &RevisionName) -> Result<Done> {
        let row = revisions::get(&mut *self.db.read().await?, revision).await?;
        if !self.is_needed(revision).await? {
            if matches!(
                row.state,
                RevisionState::Ready | RevisionState::Provisioning | RevisionState::Draining
            ) {
                self.set_state(
                    &row,
                    RevisionState::Stopped,
                    "not running, and not needed",
                    Some(&[]),
                )
                .await?;
            }
            return self.finish(item).await;
        }
        let within = self
            .endpoint(revision.endpoint())
            .await?
            .settings
            .deadlines
            .provisioning;
        let provisioned = self.driver.provision(&run_of(&row, within)?).await;
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        match provisioned {
            Ok(addresses) => {
                records::revision_state(
                    &mut tx,
                    &present,
                    RevisionState::Ready,
                    "",
                    Some(&addresses),
                    self.now(),
                )
                .await?;
            }
            Err(DriverError::Failed { reason }) => {
                records::revision_state(
                    &mut tx,
                    &present,
                    RevisionState::Failed,
                    &reason,
                    None,
                    self.now(),
                )
                .await?;
                let scene = Scene::load(&mut tx, revision.endpoint()).await?;
                let text = format!("{} cannot be started again: {reason}", revision.id());
                records::page(&mut tx, &scene, None, "revision_lost", &text, self.now()).await?;
            }
            Err(error) => return Err(error.into()),
        }
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    async fn perform_stop(&self, item: &Item, revision: &RevisionName) -> Result<Done> {
        let row = revisions::get(&mut *self.db.read().await?, revision).await?;
        if matches!(row.state, RevisionState::Stopped | RevisionState::Created)
            || self.is_needed(revision).await?
        {
            return self.finish(item).await;
        }
        let endpoint = self.endpoint(revision.endpoint()).await?;
        if !self.proxies_have_left(&endpoint) {
            return Ok(Done::NotBefore(
                self.now() + std::time::Duration::from_secs(1),
            ));
        }
        self.set_state(&row, RevisionState::Draining, &row.state_reason, None)
            .await?;
        self.driver
            .stop(revision, row.facts.run.stop_grace())
            .await?;
        let mut tx = self.db.begin().await?;
        let present = revisions::get(&mut tx, revision).await?;
        // What failed stays known as that; it only has no addresses any more.
        let state = if row.state == RevisionState::Failed {
            RevisionState::Failed
        } else {
            RevisionState::Stopped
        };
        records::revision_state(
            &mut tx,
            &present,
            state,
            &row.state_reason,
            Some(&[]),
            self.now(),
        )
        .await?;
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    /// Points the champion alias at what the revision runs. If the revision is not stable any more, a newer
    /// decision moves it, or has moved it.
    async fn perform_move_champion(&self, item: &Item, revision: &RevisionName) -> Result<Done> {
        let endpoint = self.endpoint(revision.endpoint()).await?;
        let serves = endpoint.serving.stable == Some(Revision(revision.number()));
        let Some(alias) = endpoint.settings.champion_alias.as_ref().filter(|_| serves) else {
            return self.finish(item).await;
        };
        let version = revisions::get(&mut *self.db.read().await?, revision)
            .await?
            .facts
            .version;
        let alias = AliasName::new(version.model(), alias)?;
        let present = self.peers.alias(&alias).await?;
        if present.as_deref() == Some(&version.to_string()) {
            return self.finish(item).await;
        }
        let reason = format!("{revision} is stable");
        match self
            .peers
            .move_alias(&alias, &version, present, &reason)
            .await
        {
            Ok(()) => {}
            Err(error) if error.is_permanent() => {
                tracing::error!(%alias, %version, %error, "the champion alias was not moved");
            }
            Err(error) => return Err(error),
        }
        let mut tx = self.db.begin().await?;
        let cause = Cause {
            actor: Actor::service("deployer"),
            reason: reason.clone(),
            id: String::new(),
        };
        records::audit(
            &mut tx,
            &cause,
            self.now(),
            "champion.move",
            &alias,
            &format!("{version}: {reason}"),
        )
        .await?;
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

    /// A revision that an earlier run has started runs still.
    pub async fn revision_adopted(&self, running: &RunningRevision) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let now = self.now();
        match revisions::find(&mut tx, &running.revision).await? {
            Some(row) => {
                records::revision_state(
                    &mut tx,
                    &row,
                    row.state,
                    &row.state_reason,
                    Some(&running.addresses),
                    now,
                )
                .await?;
                tracing::info!(revision = %running.revision, ready = running.ready, "process adopted");
            }
            None => {
                tracing::warn!(revision = %running.revision, "a process runs of which nothing is known")
            }
        }
        tx.commit().await
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

    /// Whether anything needs a revision to run: traffic, the endpoint, an open rollout, or the chance to go
    /// back to it while it is warm.
    async fn is_needed(&self, revision: &RevisionName) -> Result<bool> {
        let mut reader = self.db.read().await?;
        let scene = Scene::load(&mut reader, revision.endpoint()).await?;
        let mut needed: Vec<Revision> = Vec::new();
        for row in &scene.rollouts {
            needed.push(row.rollout.candidate);
            needed.extend(row.rollout.stable);
            if let Phase::RollingBack(back) = &row.rollout.phase {
                needed.extend(back.restore);
            }
        }
        let number = Revision(revision.number());
        let may_stop = scene.endpoint.serving.may_stop(number, &needed);
        Ok(!may_stop || work::stop_is_due_later(&mut reader, revision, self.now()).await?)
    }

    /// Whether every proxy that counts has the traffic in force, so that none sends requests to what is left.
    fn proxies_have_left(&self, endpoint: &endpoints::EndpointRow) -> bool {
        match self
            .hub
            .applied(&endpoint.name, endpoint.serving.generation)
        {
            Applied::Applied { .. } => true,
            Applied::Waiting(_) | Applied::AppliedExcept(_) => false,
            Applied::Unapplied => self.hub.proxies().is_empty(),
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

    async fn set_state(
        &self,
        row: &RevisionRow,
        state: RevisionState,
        reason: &str,
        addresses: Option<&[SocketAddr]>,
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        records::revision_state(&mut tx, row, state, reason, addresses, self.now()).await?;
        tx.commit().await
    }
}

fn waits_for_start(row: &RolloutRow, revision: &RevisionName) -> bool {
    match &row.rollout.phase {
        Phase::Provisioning => row.rollout.candidate.0 == revision.number(),
        Phase::RollingBack(back) => {
            back.retreat == Retreat::Starting && back.restore == Some(Revision(revision.number()))
        }
        Phase::Pending(_)
        | Phase::Checking
        | Phase::Shifting(_)
        | Phase::Soaking(_)
        | Phase::Paused(_)
        | Phase::Succeeded
        | Phase::RolledBack { .. }
        | Phase::Failed { .. } => false,
    }
}

fn waits_for_check(row: &RolloutRow, revision: &RevisionName) -> bool {
    match &row.rollout.phase {
        Phase::Checking => row.rollout.candidate.0 == revision.number(),
        Phase::RollingBack(back) => {
            back.retreat == Retreat::Checking && back.restore == Some(Revision(revision.number()))
        }
        Phase::Pending(_)
        | Phase::Provisioning
        | Phase::Shifting(_)
        | Phase::Soaking(_)
        | Phase::Paused(_)
        | Phase::Succeeded
        | Phase::RolledBack { .. }
        | Phase::Failed { .. } => false,
    }
}

/// What the driver is asked to run.
fn run_of(row: &RevisionRow, ready_within: std::time::Duration) -> Result<RevisionRun> {
    let spec = match &row.facts.run {
        RunTemplate::External(external) => RunSpec::External(ExternalSpec {
            addresses: external
                .addresses
                .iter()
                .map(|address| address.parse())
                .collect::<Result<_, _>>()
                .map_err(|error: std::net::AddrParseError| {
                    Error::internal("read a revision's address", error)
                })?,
            health_path: external.health_path.clone(),
            ready_within,
        }),
        RunTemplate::Process(process) => RunSpec::Process(ProcessSpec {
            command: process.command.clone(),
            env: process.env.clone(),
            health_path: process.health_path.clone(),
            ready_within,
            instances: process.instances,
        }),
    };
    let artifacts = row.facts.artifacts.iter().map(|artifact| RunArtifact {
        role: artifact.role.clone(),
        name: artifact.name.clone(),
        digest: artifact.digest.clone(),
        size: u64::try_from(artifact.size_bytes).unwrap_or(0),
        file_name: artifact.file_name.clone(),
    });
    Ok(RevisionRun {
        revision: row.name.clone(),
        spec,
        artifacts: artifacts.collect(),
    })
}
