//! Starting a rollout: by a person, or by a rule.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::{EndpointName, RevisionName, RolloutName};
use slipway_platform::{Error, Result, requests, telemetry};

use super::decision::{Cause, hear, refused};
use super::scene::Scene;
use super::{Retry, Service, gate, outcomes, records};
use crate::domain::admission::{Admission, admit};
use crate::domain::resources::{RevisionFacts, RevisionState, RunTemplate, digest_of};
use crate::domain::rollout::{RolloutEvent, begin};
use crate::domain::strategy::Strategy;
use crate::peers::Candidate;
use crate::store::rollouts::{About, RolloutRow};
use crate::store::{blocks, endpoints, revisions, rollouts, work};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Start {
    /// Where.
    pub endpoint: EndpointName,
    /// The version, or an alias of it.
    pub version: String,
    /// In place of the endpoint's strategy.
    pub strategy: Option<Strategy>,
    /// Who and why.
    pub cause: Cause,
    /// Check everything and change nothing.
    pub validate_only: bool,
    /// To answer a retry as before.
    pub retry: Retry,
}

impl Service {
    /// Starts a rollout, or puts it into the queue. What the other services know is asked before the
    /// transaction; what this one knows is checked in it.
    pub async fn start_rollout(&self, start: Start) -> Result<RolloutRow> {
        if let Some(row) = self.replayed(&start.retry).await? {
            return Ok(row);
        }
        let (endpoint, environment) = self.guarded(&start.endpoint).await?;
        let candidate = self.peers.version(&start.version).await?;
        if candidate.version.model() != &endpoint.settings.model {
            let reason = format!(
                "{} is not a version of {}",
                candidate.version, endpoint.settings.model
            );
            return Err(Error::invalid("version", reason));
        }
        let admitted = self.admit(&endpoint, &environment, &candidate).await?;
        let evidence = admitted.map_err(|refusal| gate::refused(refusal, &candidate.version))?;
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let row = self
            .start_in(&mut tx, &start, &candidate, evidence, now)
            .await?;
        if start.validate_only {
            tx.rollback().await?;
            return Ok(row);
        }
        let Retry {
            method,
            request_id,
            fingerprint,
        } = &start.retry;
        requests::record(
            &mut tx,
            method,
            request_id,
            fingerprint,
            &row.name.to_string(),
            now,
        )
        .await?;
        tx.commit().await?;
        Ok(row)
    }

    async fn replayed(&self, retry: &Retry) -> Result<Option<RolloutRow>> {
        if retry.request_id.is_empty() {
            return Ok(None);
        }
        let mut tx = self.db.begin().await?;
        let name: Option<String> =
            requests::replay(&mut tx, retry.method, &retry.request_id, &retry.fingerprint).await?;
        match name {
            Some(name) => Ok(Some(rollouts::get(&mut tx, &name.parse()?).await?)),
            None => Ok(None),
        }
    }

    async fn start_in(
        &self,
        tx: &mut Tx,
        start: &Start,
        candidate: &Candidate,
        evidence: Vec<String>,
        now: Timestamp,
    ) -> Result<RolloutRow> {
        let mut scene = Scene::load(&mut *tx, &start.endpoint).await?;
        check(tx, &scene, candidate).await?;
        make_way(tx, &mut scene, &start.cause, now).await?;
        let revision = self.make_revision(tx, &scene, candidate, now).await?;
        let plan = scene.endpoint.settings.plan(start.strategy.clone());
        let number = crate::domain::traffic::Revision(revision.number());
        let row = RolloutRow {
            name: RolloutName::generate(&start.endpoint),
            version: candidate.version.clone(),
            rollout: begin(&scene.endpoint.serving, number, plan, now),
            about: About {
                requested_by: start.cause.actor.clone(),
                reason: start.cause.reason.clone(),
                evidence,
                verdict: None,
            },
            generation: 1,
            created_at: now,
            ended_at: None,
            traceparent: telemetry::current_traceparent().unwrap_or_default(),
        };
        rollouts::insert(&mut *tx, &row, now).await?;
        outcomes::made(tx, &row, now).await?;
        let text = format!(
            "{} by {} as {}: {}",
            row.version,
            row.rollout.plan.strategy.name,
            revision.id(),
            start.cause.reason
        );
        records::audit(tx, &start.cause, now, "rollout.start", &row.name, &text).await?;
        scene.rollouts.push(row);
        let index = scene.rollouts.len() - 1;
        if scene.running().is_none() && scene.next_in_queue() == Some(index) {
            let name = scene.rollouts[index].name.clone();
            for event in [super::decision::turn(&scene), RolloutEvent::GatePassed] {
                hear(tx, &mut scene, index, &event, &start.cause, now)
                    .await?
                    .map_err(|no| refused(no, &name))?;
            }
            // It was asked before the transaction, and has answered.
            work::forget_gate(&mut *tx, &name).await?;
        }
        Ok(scene.rollouts.swap_remove(index))
    }

    async fn make_revision(
        &self,
        tx: &mut Tx,
        scene: &Scene,
        candidate: &Candidate,
        now: Timestamp,
    ) -> Result<RevisionName> {
        let settings = &scene.endpoint.settings;
        let run = settings.run.for_version(candidate.version.number());
        check_addresses(&run, candidate)?;
        let facts = RevisionFacts {
            version: candidate.version.clone(),
            version_digest: candidate.digest.clone(),
            artifacts: artifacts_for(&run, candidate)?,
            digest: digest_of(&candidate.digest, &run),
            digest_verified: matches!(run, RunTemplate::Process(_)),
            run,
            training_metrics: candidate.training_metrics.clone(),
        };
        let number = endpoints::next_revision(&mut *tx, &scene.endpoint.name).await?;
        let name =
            RevisionName::new(&scene.endpoint.name, number).map_err(|_| Error::Exhausted {
                what: format!("revision numbers of {}", scene.endpoint.name),
            })?;
        revisions::insert(&mut *tx, &name, &facts, now).await?;
        records::publish_revision(tx, &name, &facts, RevisionState::Created, "", now).await?;
        Ok(name)
    }
}

/// With the version's number put in, an address may not be one any more.
fn check_addresses(run: &RunTemplate, candidate: &Candidate) -> Result<()> {
    let RunTemplate::External(external) = run else {
        return Ok(());
    };
    let wrong = external
        .addresses
        .iter()
        .find(|address| address.parse::<std::net::SocketAddr>().is_err());
    match wrong {
        Some(address) => {
            let text =
                format!("{address} is not an address; change the endpoint's run specification");
            Err(Error::precondition(
                "INVALID_ADDRESS",
                &candidate.version,
                text,
            ))
        }
        None => Ok(()),
    }
}

/// The artifacts that a process gets, by role. A role that the version lacks is refused here, and not found
/// out when it starts.
fn artifacts_for(
    run: &RunTemplate,
    candidate: &Candidate,
) -> Result<Vec<crate::domain::resources::Artifact>> {
    let RunTemplate::Process(process) = run else {
        return Ok(candidate.artifacts.clone());
    };
    process
        .roles
        .iter()
        .map(|role| {
            let found = candidate
                .artifacts
                .iter()
                .find(|artifact| artifact.role == *role);
            found.cloned().ok_or_else(|| {
                let text = format!("{} has no artifact with the role {role}", candidate.version);
                Error::precondition("MISSING_ARTIFACT", &candidate.version, text)
            })
        })
        .collect()
}

/// What only the deployer's own state can say against it.
async fn check(tx: &mut Tx, scene: &Scene, candidate: &Candidate) -> Result<()> {
    let endpoint = &scene.endpoint;
    if let Some(pin) = &endpoint.serving.pin {
        let text = format!(
            "{} has pinned the traffic until {}: {}",
            pin.by, pin.expires_at, pin.reason
        );
        return Err(Error::precondition("PINNED", &endpoint.name, text));
    }
    if let Some(block) = blocks::in_force(&mut *tx, &endpoint.name, &candidate.digest).await? {
        let text = format!(
            "{} is blocked on this endpoint: {}; lift the block first",
            block.version, block.reason
        );
        return Err(Error::precondition("BLOCKED", &block.name, text));
    }
    if let Some(stable) = endpoint.serving.serving_stable() {
        let serving = revisions::get(&mut *tx, &scene.revision(stable)?).await?;
        let run = endpoint
            .settings
            .run
            .for_version(candidate.version.number());
        if serving.facts.digest == digest_of(&candidate.digest, &run) {
            let text = format!("{} already serves exactly this", serving.name.id());
            return Err(Error::precondition("ALREADY_SERVING", &serving.name, text));
        }
    }
    Ok(())
}

/// Applies the endpoint's policy for a second rollout.
async fn make_way(tx: &mut Tx, scene: &mut Scene, cause: &Cause, now: Timestamp) -> Result<()> {
    let running = scene.running();
    let admission = admit(
        scene.endpoint.settings.second_rollout,
        running.map(|index| &scene.rollouts[index].rollout),
    );
    match (admission, running) {
        (Admission::Begin | Admission::Wait, _) | (Admission::Supersede, None) => Ok(()),
        (Admission::Supersede, Some(index)) => {
            let name = scene.rollouts[index].name.clone();
            hear(tx, scene, index, &RolloutEvent::Superseded, cause, now)
                .await?
                .map_err(|no| refused(no, &name))
        }
        (Admission::Refuse, _) => {
            let name = running.map_or_else(
                || scene.endpoint.name.to_string(),
                |i| scene.rollouts[i].name.to_string(),
            );
            let phase = running.map_or("", |index| scene.rollouts[index].rollout.phase.name());
            let text = format!("a rollout of this endpoint is {phase}; wait for it, or abort it");
            Err(Error::precondition("ROLLOUT_RUNNING", name, text))
        }
    }
}
