//! A decision in one transaction: the rollout, the endpoint, the audit, the events and the work that follow
//! from one event are saved together or not at all.

use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::RolloutName;
use slipway_platform::{Error, Result, etag};
use tracing::Instrument;

use super::scene::Scene;
use super::{Service, outcomes, trace};
use crate::domain::decide::{Decision, decide};
use crate::domain::resources::Actor;
use crate::domain::rollout::{Rejected, RolloutEvent};
use crate::store::{endpoints, rollouts};

/// A deadline that could not be acted on is tried again after this.
const REARM_MIN: Duration = Duration::from_millis(100);

/// Who or what a decision comes from.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// The event or decision that led to it; may be empty.
    pub id: String,
}

impl Cause {
    /// A person.
    pub fn person(actor: Actor, reason: impl Into<String>) -> Self {
        Self {
            actor,
            reason: reason.into(),
            id: String::new(),
        }
    }

    /// The deployer itself: a result, an observation, a deadline.
    pub fn deployer() -> Self {
        Self {
            actor: Actor::service("deployer"),
            reason: String::new(),
            id: String::new(),
        }
    }
}

/// Lets a rollout of the scene hear an event, and saves what follows; when it has ended by that, the next in
/// the queue begins. A rejection changes nothing.
pub async fn hear(
    tx: &mut Tx,
    scene: &mut Scene,
    index: usize,
    event: &RolloutEvent,
    cause: &Cause,
    now: Timestamp,
) -> Result<Result<(), Rejected>> {
    let heard = hear_alone(tx, scene, index, event, cause, now).await?;
    if heard.is_ok() {
        give_turn(tx, scene, now).await?;
    }
    Ok(heard)
}

/// The same without giving the turn on: the caller has something to put in the place of what ends.
pub async fn hear_alone(
    tx: &mut Tx,
    scene: &mut Scene,
    index: usize,
    event: &RolloutEvent,
    cause: &Cause,
    now: Timestamp,
) -> Result<Result<(), Rejected>> {
    let row = &scene.rollouts[index];
    match decide(&row.rollout, &scene.endpoint.serving, event, now) {
        Ok(decision) => {
            let span = trace::of(row, event, cause);
            let saving = save(tx, scene, index, decision, cause, now);
            saving.instrument(span).await.map(Ok)
        }
        Err(rejected) => Ok(Err(rejected)),
    }
}

/// Saves a decision about a rollout of the scene that is in the database already.
pub async fn save(
    tx: &mut Tx,
    scene: &mut Scene,
    index: usize,
    decision: Decision,
    cause: &Cause,
    now: Timestamp,
) -> Result<()> {
    let row = &mut scene.rollouts[index];
    let before = std::mem::replace(&mut row.rollout, decision.rollout);
    if before == row.rollout
        && decision.commands.is_empty()
        && scene.endpoint.serving == decision.serving
    {
        return Ok(());
    }
    if row.rollout.ended() {
        row.ended_at = row.ended_at.or(Some(now));
    }
    rollouts::save(&mut *tx, row, now).await?;
    row.generation += 1;
    let serving_before = std::mem::replace(&mut scene.endpoint.serving, decision.serving);
    save_serving(tx, scene, &serving_before).await?;
    let change = outcomes::Change {
        before: &before,
        serving_before: &serving_before,
        commands: &decision.commands,
        index,
        cause,
        now,
    };
    outcomes::record(tx, scene, change).await
}

/// Saves what the endpoint serves, if it has changed, and tells whoever publishes routes.
pub async fn save_serving(
    tx: &mut Tx,
    scene: &mut Scene,
    before: &crate::domain::serving::Serving,
) -> Result<()> {
    let serving = scene.endpoint.serving.clone();
    if serving == *before {
        return Ok(());
    }
    endpoints::save_serving(&mut *tx, &mut scene.endpoint, &serving).await?;
    if serving.generation != before.generation {
        endpoints::touch_routes(&mut *tx, &scene.endpoint.name).await?;
    }
    Ok(())
}

/// When nothing runs on the endpoint any more, the next in the queue begins from what serves now.
pub async fn give_turn(tx: &mut Tx, scene: &mut Scene, now: Timestamp) -> Result<()> {
    if scene.running().is_some() {
        return Ok(());
    }
    let Some(next) = scene.next_in_queue() else {
        return Ok(());
    };
    let decision = decide(
        &scene.rollouts[next].rollout,
        &scene.endpoint.serving,
        &turn(scene),
        now,
    );
    match decision {
        Ok(decision) => save(tx, scene, next, decision, &Cause::deployer(), now).await,
        Err(rejected) => Err(Error::internal("give a rollout its turn", rejected)),
    }
}

/// The turn, with what serves now.
pub fn turn(scene: &Scene) -> RolloutEvent {
    let serving = &scene.endpoint.serving;
    RolloutEvent::TurnCame {
        stable: serving.serving_stable(),
        generation: serving.generation,
        pinned: serving.pin.is_some(),
    }
}

/// A rejection as an answer to whoever asked.
pub fn refused(rejected: Rejected, subject: &RolloutName) -> Error {
    Error::precondition(rejected.code(), subject, rejected.to_string())
}

impl Service {
    /// Lets a rollout hear an event that nobody waits for an answer to. A rejection is not an error: the
    /// event came late or twice.
    pub async fn tell(
        &self,
        rollout: &RolloutName,
        event: &RolloutEvent,
        cause: &Cause,
    ) -> Result<()> {
        let mut tx = self.db.begin().await?;
        self.tell_in(&mut tx, rollout, event, cause).await?;
        tx.commit().await
    }

    /// The same in a transaction of the caller's.
    pub async fn tell_in(
        &self,
        tx: &mut Tx,
        rollout: &RolloutName,
        event: &RolloutEvent,
        cause: &Cause,
    ) -> Result<()> {
        let (mut scene, index) = self.scene_of(tx, rollout).await?;
        if let Err(rejected) = hear(tx, &mut scene, index, event, cause, self.now()).await? {
            tracing::debug!(%rollout, ?event, %rejected, "event changes nothing");
        }
        Ok(())
    }

    /// The scene of a rollout with the numbers of its verdict as they are now: what moves it is saved with them.
    pub(super) async fn scene_of(
        &self,
        tx: &mut Tx,
        rollout: &RolloutName,
    ) -> Result<(Scene, usize)> {
        let (mut scene, index) = Scene::of_rollout(&mut *tx, rollout).await?;
        let row = &mut scene.rollouts[index];
        if !row.rollout.ended() {
            *row = self.with_live_verdict(row.clone());
        }
        Ok((scene, index))
    }

    /// Lets a rollout hear that time has passed, and arms it again: a tick that changes nothing, such as the
    /// end of a hold without evidence, does not come twice.
    pub async fn tick(&self, rollout: &RolloutName) -> Result<()> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let (mut scene, index) = self.scene_of(&mut tx, rollout).await?;
        let generation = scene.rollouts[index].generation;
        let heard = hear(
            &mut tx,
            &mut scene,
            index,
            &RolloutEvent::Tick,
            &Cause::deployer(),
            now,
        )
        .await?;
        let row = &scene.rollouts[index];
        if heard.is_err() || row.generation == generation {
            let next = row
                .rollout
                .next_tick(now)
                .map(|next| next.max(now + REARM_MIN));
            rollouts::rearm(&mut tx, rollout, next).await?;
        }
        tx.commit().await
    }

    /// Lets a rollout hear a person, at the etag that they saw, and gives it as it is then.
    pub(super) async fn person_says(
        &self,
        rollout: &RolloutName,
        event: &RolloutEvent,
        cause: &Cause,
        expected: Option<i64>,
    ) -> Result<rollouts::RolloutRow> {
        let mut tx = self.db.begin().await?;
        let (mut scene, index) = self.scene_of(&mut tx, rollout).await?;
        etag::check(
            expected,
            scene.rollouts[index].generation,
            &rollout.to_string(),
        )?;
        hear(&mut tx, &mut scene, index, event, cause, self.now())
            .await?
            .map_err(|rejected| refused(rejected, rollout))?;
        tx.commit().await?;
        Ok(scene.rollouts.swap_remove(index))
    }
}
