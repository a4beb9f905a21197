//! Rolling an endpoint back: by a person, by a rule, or by an abort after success. It needs the deployer's
//! database and the proxies, and nothing else.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::{EndpointName, RevisionName, RolloutName};
use slipway_platform::{Error, Result, requests, telemetry};

use super::decision::{Cause, hear, hear_alone, refused};
use super::scene::Scene;
use super::{Retry, Service, outcomes, rollback_beside};
use crate::domain::decide::settle;
use crate::domain::resources::{Block, RevisionState, TrafficRecord};
use crate::domain::rollout::{
    BeginRollback, Phase, Rejected, RollbackWhy, RolloutEvent, begin_rollback,
};
use crate::domain::traffic::Revision;
use crate::store::rollouts::{About, RolloutRow};
use crate::store::{blocks, endpoints, revisions, rollouts, traffic};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// Where.
    pub endpoint: EndpointName,
    /// What to put back; `None`: the last known good.
    pub to: Option<RevisionName>,
    /// The revision at fault; `None`: the candidate of a running rollout, or what serves.
    pub from: Option<RevisionName>,
    /// Why; `None`: because somebody asked, with the reason of the cause.
    pub why: Option<RollbackWhy>,
    /// Who and why.
    pub cause: Cause,
    /// Whether a person's pin is removed for it.
    pub unpin: bool,
    /// Check everything and change nothing.
    pub validate_only: bool,
    /// To answer a retry as before.
    pub retry: Retry,
}

/// What a rollback did.
#[derive(Debug, Clone)]
pub struct RolledBack {
    /// The traffic as it is now.
    pub traffic: Option<TrafficRecord>,
    /// The revision that lost its traffic.
    pub from: Option<RevisionName>,
    /// The revision that has all traffic now, or will have it when it is warm.
    pub to: Option<RevisionName>,
    /// The block that is in force on what lost its traffic.
    pub blocks: Vec<Block>,
    /// Whether the revision must be started first.
    pub cold: bool,
    /// False: the named revision carried no traffic, and nothing was done.
    pub done: bool,
    /// The record of it.
    pub rollout: Option<RolloutName>,
}

/// The same within a transaction.
pub(super) struct Done {
    pub from: Revision,
    pub to: Option<Revision>,
    pub cold: bool,
    /// Its record, among the scene's rollouts; `None`: nothing was done.
    pub record: Option<usize>,
}

impl Rollback {
    /// A rollback to the last known good.
    pub fn of(endpoint: &EndpointName, cause: Cause) -> Self {
        Self {
            endpoint: endpoint.clone(),
            to: None,
            from: None,
            why: None,
            cause,
            unpin: false,
            validate_only: false,
            retry: Retry::default(),
        }
    }
}

impl Service {
    /// Rolls an endpoint back.
    pub async fn roll_back(&self, rollback: &Rollback) -> Result<RolledBack> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let Retry {
            method,
            request_id,
            fingerprint,
        } = &rollback.retry;
        let replayed: Option<String> =
            requests::replay(&mut tx, method, request_id, fingerprint).await?;
        if let Some(record) = replayed {
            return self.answer_again(&mut tx, &record).await;
        }
        let mut scene = Scene::load(&mut tx, &rollback.endpoint).await?;
        let done = self.roll_back_in(&mut tx, &mut scene, rollback).await?;
        let answer = describe(&mut tx, &scene, &done).await?;
        if rollback.validate_only {
            tx.rollback().await?;
            return Ok(answer);
        }
        if let Some(record) = &answer.rollout {
            let to = done.to.map_or_else(String::new, |to| to.0.to_string());
            let recorded = format!("{record} {} {to}", done.from.0);
            requests::record(&mut tx, method, request_id, fingerprint, &recorded, now).await?;
        }
        tx.commit().await?;
        Ok(answer)
    }

    /// What the record of an earlier request says now.
    async fn answer_again(&self, tx: &mut Tx, record: &str) -> Result<RolledBack> {
        let mut recorded = record.split(' ');
        let name = recorded.next().unwrap_or_default();
        let mut number = || recorded.next()?.parse().ok().map(Revision);
        let (from, to) = (number(), number());
        let (scene, index) = Scene::of_rollout(&mut *tx, &name.parse()?).await?;
        let rollout = &scene.rollouts[index].rollout;
        let done = Done {
            from: from.unwrap_or(rollout.candidate),
            to: to.or(rollout.stable),
            cold: rollout
                .rollback
                .as_ref()
                .is_some_and(|rollback| rollback.cold),
            record: Some(index),
        };
        describe(tx, &scene, &done).await
    }

    pub(super) async fn roll_back_in(
        &self,
        tx: &mut Tx,
        scene: &mut Scene,
        rollback: &Rollback,
    ) -> Result<Done> {
        let now = self.now();
        let at_fault = at_fault(scene, rollback)?;
        let nothing = Done {
            from: at_fault,
            to: None,
            cold: false,
            record: None,
        };
        if rollback.from.is_some() && !scene.endpoint.serving.traffic.carries(at_fault) {
            return Ok(nothing);
        }
        let to = self.wanted(tx, scene, rollback, at_fault).await?;
        if let Some(running) = scene.running() {
            if rollback.from.is_some() && rollback_beside::is_beside(scene, running, at_fault) {
                let whom = (at_fault, to);
                return rollback_beside::roll_back(tx, scene, running, rollback, whom, now).await;
            }
            let row = &scene.rollouts[running];
            let going_back = matches!(row.rollout.phase, Phase::RollingBack(_));
            if going_back || (row.rollout.candidate == at_fault && row.rollout.carried) {
                return abort_running(tx, scene, running, rollback, to, now).await;
            }
            if !row.rollout.before_shifting() {
                let text = format!(
                    "a rollout of revision {} is {}; abort or promote it first",
                    row.rollout.candidate.0,
                    row.rollout.phase.name()
                );
                return Err(Error::precondition("ROLLOUT_RUNNING", &row.name, text));
            }
            let name = row.name.clone();
            let superseded = RolloutEvent::Superseded;
            // The rollback comes before whatever is in the queue.
            hear_alone(tx, scene, running, &superseded, &rollback.cause, now)
                .await?
                .map_err(|no| refused(no, &name))?;
        }
        let known_good = scene.endpoint.serving.last_known_good(Some(at_fault));
        let Some(restore) = to.map(|row| Revision(row.number())).or(known_good) else {
            let text = "no other revision served through its soak; name one to put back";
            return Err(Error::precondition(
                "NO_LAST_KNOWN_GOOD",
                &scene.endpoint.name,
                text,
            ));
        };
        if restore == at_fault {
            return Err(Error::invalid("to", "is the revision at fault"));
        }
        self.begin_record(tx, scene, rollback, at_fault, restore, now)
            .await
    }

    /// The revision that a person named, if it may serve.
    async fn wanted(
        &self,
        tx: &mut Tx,
        scene: &Scene,
        rollback: &Rollback,
        at_fault: Revision,
    ) -> Result<Option<RevisionName>> {
        let Some(name) = &rollback.to else {
            return Ok(None);
        };
        if name.endpoint() != &scene.endpoint.name {
            return Err(Error::invalid("to", "is a revision of another endpoint"));
        }
        if name.number() == at_fault.0 {
            return Err(Error::invalid("to", "is the revision at fault"));
        }
        revisions::get(&mut *tx, name).await?;
        if scene
            .endpoint
            .serving
            .blocked
            .contains(&Revision(name.number()))
        {
            let text = format!(
                "{} is blocked on this endpoint; lift the block first",
                name.id()
            );
            return Err(Error::precondition("BLOCKED", name, text));
        }
        Ok(Some(name.clone()))
    }

    /// A rollback with a record of its own: no running rollout carries the blame.
    async fn begin_record(
        &self,
        tx: &mut Tx,
        scene: &mut Scene,
        rollback: &Rollback,
        at_fault: Revision,
        restore: Revision,
        now: Timestamp,
    ) -> Result<Done> {
        let restored = revisions::get(&mut *tx, &scene.revision(restore)?).await?;
        let cold = restored.state != RevisionState::Ready;
        let asked = RollbackWhy::Aborted {
            reason: rollback.cause.reason.clone(),
        };
        let begin = BeginRollback {
            at_fault,
            restore,
            cold,
            why: rollback.why.clone().unwrap_or(asked),
            plan: scene.endpoint.settings.plan(None),
            unpin: rollback.unpin,
        };
        let step =
            begin_rollback(&scene.endpoint.serving, begin, now).map_err(|no| pinned(no, scene))?;
        let before = step.next.clone();
        let decision = settle(step, &scene.endpoint.serving, now);
        let faulty = revisions::get(&mut *tx, &scene.revision(at_fault)?).await?;
        let row = RolloutRow {
            name: RolloutName::generate(&scene.endpoint.name),
            version: faulty.facts.version,
            rollout: decision.rollout,
            about: About {
                requested_by: rollback.cause.actor.clone(),
                reason: rollback.cause.reason.clone(),
                evidence: Vec::new(),
                verdict: None,
            },
            generation: 1,
            created_at: now,
            ended_at: None,
            traceparent: telemetry::current_traceparent().unwrap_or_default(),
        };
        rollouts::insert(&mut *tx, &row, now).await?;
        outcomes::made(tx, &row, now).await?;
        let (name, serving_before) = (row.name.clone(), scene.endpoint.serving.clone());
        scene.rollouts.push(row);
        let index = scene.rollouts.len() - 1;
        scene.endpoint.serving = decision.serving;
        super::decision::save_serving(tx, scene, &serving_before).await?;
        let text = format!(
            "revision {} → revision {}: {}",
            at_fault.0, restore.0, rollback.cause.reason
        );
        super::records::audit(tx, &rollback.cause, now, "rollback", &name, &text).await?;
        let change = outcomes::Change {
            before: &before,
            serving_before: &serving_before,
            commands: &decision.commands,
            index,
            cause: &rollback.cause,
            now,
        };
        outcomes::record(tx, scene, change).await?;
        Ok(Done {
            from: at_fault,
            to: Some(restore),
            cold,
            record: Some(index),
        })
    }
}

pub(super) fn pinned(rejected: Rejected, scene: &Scene) -> Error {
    let text = scene.endpoint.serving.pin.as_ref().map_or_else(
        || rejected.to_string(),
        |pin| {
            format!(
                "{} has pinned the traffic until {}: {}; say unpin to override it",
                pin.by, pin.expires_at, pin.reason
            )
        },
    );
    Error::precondition(rejected.code(), &scene.endpoint.name, text)
}

/// The revision at fault: the one that is named, or the running rollout's candidate, or what serves.
fn at_fault(scene: &Scene, rollback: &Rollback) -> Result<Revision> {
    if let Some(from) = &rollback.from {
        if from.endpoint() != &scene.endpoint.name {
            return Err(Error::invalid("from", "is a revision of another endpoint"));
        }
        return Ok(Revision(from.number()));
    }
    let running = scene.running().map(|index| &scene.rollouts[index].rollout);
    let candidate = running
        .filter(|running| running.carried)
        .map(|running| running.candidate);
    candidate
        .or_else(|| scene.endpoint.serving.serving_stable())
        .ok_or_else(|| {
            Error::precondition(
                "NOTHING_SERVES",
                &scene.endpoint.name,
                "no revision serves, so there is nothing to roll back",
            )
        })
}

/// The running rollout carries the blame: it is aborted, which puts its stable back, or what was named.
async fn abort_running(
    tx: &mut Tx,
    scene: &mut Scene,
    running: usize,
    rollback: &Rollback,
    to: Option<RevisionName>,
    now: Timestamp,
) -> Result<Done> {
    if let Some(to) = &to
        && !scene
            .endpoint
            .serving
            .ready
            .contains(&Revision(to.number()))
    {
        let text = format!(
            "{} does not run; abort the rollout first, then roll back to it",
            to.id()
        );
        return Err(Error::precondition("NOT_READY", to, text));
    }
    let from = scene.rollouts[running].rollout.candidate;
    let event = RolloutEvent::Abort {
        reason: rollback.cause.reason.clone(),
        to: to.map(|to| Revision(to.number())),
        unpin: rollback.unpin,
    };
    let heard = hear(tx, scene, running, &event, &rollback.cause, now).await?;
    heard.map_err(|no| match no {
        Rejected::Pinned => pinned(no, scene),
        other => refused(other, &scene.rollouts[running].name),
    })?;
    let rollout = &scene.rollouts[running].rollout;
    let to = match &rollout.phase {
        Phase::RollingBack(back) => back.restore,
        _ => scene.endpoint.serving.serving_stable(),
    };
    Ok(Done {
        from,
        to,
        cold: false,
        record: Some(running),
    })
}

async fn describe(tx: &mut Tx, scene: &Scene, done: &Done) -> Result<RolledBack> {
    let name = |revision: Option<Revision>| {
        revision
            .map(|revision| scene.revision(revision))
            .transpose()
    };
    let from = scene.revision(done.from)?;
    let row = revisions::get(&mut *tx, &from).await?;
    let block = blocks::in_force(&mut *tx, &scene.endpoint.name, &row.facts.version_digest).await?;
    let serving = endpoints::get(&mut *tx, &scene.endpoint.name)
        .await?
        .serving;
    Ok(RolledBack {
        traffic: traffic::find(&mut *tx, &scene.endpoint.name, serving.generation).await?,
        from: done.record.is_some().then_some(from),
        to: name(done.to)?,
        blocks: block
            .filter(|_| done.record.is_some())
            .into_iter()
            .collect(),
        cold: done.cold,
        done: done.record.is_some(),
        rollout: done.record.map(|index| scene.rollouts[index].name.clone()),
    })
}
