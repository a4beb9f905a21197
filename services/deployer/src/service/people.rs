//! What people do to a rollout: pause, resume, promote, abort; and how they look at it.

use slipway_platform::db::Tx;
use slipway_platform::filter::Filter;
use slipway_platform::names::{EndpointName, EnvironmentName, RolloutName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, etag};

use super::decision::{Cause, hear, refused};
use super::rollback::Rollback;
use super::scene::Scene;
use super::{Service, observed, pages};
use crate::domain::resources::VerdictSummary;
use crate::domain::rollout::{Kind, Phase, Rollout, RolloutEvent};
use crate::store::rollouts::{self, RolloutRow};

impl Service {
    /// The rollout, with the verdict as it is now.
    pub async fn rollout(&self, name: &RolloutName) -> Result<RolloutRow> {
        let row = rollouts::get(&mut *self.db.read().await?, name).await?;
        Ok(self.with_live_verdict(row))
    }

    /// A page of rollouts, newest first, and where the page ends.
    pub async fn list_rollouts(
        &self,
        environment: &EnvironmentName,
        endpoint: Option<&EndpointName>,
        filter: &Filter,
        page: &Page,
    ) -> Result<(Vec<RolloutRow>, String)> {
        let rows = rollouts::list(
            &mut *self.db.read().await?,
            environment,
            endpoint,
            filter,
            page,
        )
        .await?;
        let rows = rows
            .into_iter()
            .map(|row| self.with_live_verdict(row))
            .collect();
        Ok(pages::cut(
            page,
            rows,
            |row| (row.rollout.clone(), row.about.clone()),
            rollouts::position_of,
        ))
    }

    pub(super) fn with_live_verdict(&self, mut row: RolloutRow) -> RolloutRow {
        let newer = |live: &VerdictSummary| {
            row.about
                .verdict
                .as_ref()
                .is_none_or(|stored| stored.time <= live.time)
        };
        if let Some(live) = self.live.get(&row.name.to_string()).filter(newer) {
            row.about.verdict = Some(live);
        }
        row
    }

    /// Holds a rollout where it is.
    pub async fn pause(
        &self,
        name: &RolloutName,
        cause: &Cause,
        expected: Option<i64>,
    ) -> Result<RolloutRow> {
        let event = RolloutEvent::Pause {
            reason: cause.reason.clone(),
        };
        self.person_says(name, &event, cause, expected).await
    }

    /// Lets a held rollout go on.
    pub async fn resume(
        &self,
        name: &RolloutName,
        cause: &Cause,
        expected: Option<i64>,
    ) -> Result<RolloutRow> {
        self.person_says(name, &RolloutEvent::Resume, cause, expected)
            .await
    }

    /// Moves a rollout one step on, or to its end; a waiver. `Conflict` if it has moved since it was seen, or
    /// if somebody changed the traffic that it was decided on.
    pub async fn promote(
        &self,
        name: &RolloutName,
        full: bool,
        cause: &Cause,
        expected: Option<i64>,
    ) -> Result<RolloutRow> {
        let event = RolloutEvent::Promote {
            full,
            reason: cause.reason.clone(),
        };
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let (mut scene, index) = self.scene_of(&mut tx, name).await?;
        let seen = scene.rollouts[index].generation;
        etag::check(expected, seen, &name.to_string())?;
        // A person may not mean the step after the one that they have seen.
        if self.look_at_proxies(&mut tx, &mut scene, index).await? {
            tx.commit().await?;
            return Err(Error::Conflict {
                name: name.to_string(),
                current: etag::of(scene.rollouts[index].generation),
                reason: "it has moved on by itself meanwhile".to_owned(),
            });
        }
        hear(&mut tx, &mut scene, index, &event, cause, now)
            .await?
            .map_err(|rejected| refused(rejected, name))?;
        tx.commit().await?;
        Ok(scene.rollouts.swap_remove(index))
    }

    /// Lets a rollout hear that every proxy has accepted its traffic, as it is known here: whoever decides may not
    /// have told it yet. True if it has moved on by that.
    async fn look_at_proxies(&self, tx: &mut Tx, scene: &mut Scene, index: usize) -> Result<bool> {
        let row = &scene.rollouts[index];
        let Some(generation) = row.rollout.awaited_generation() else {
            return Ok(false);
        };
        let applied = self.hub.applied(row.endpoint(), generation);
        let heard = observed(&row.rollout, generation, applied);
        let Some(event @ RolloutEvent::TrafficApplied { .. }) = heard else {
            return Ok(false);
        };
        let place = |rollout: &Rollout| (rollout.phase.name(), rollout.step_index());
        let before = place(&row.rollout);
        // What comes late or twice changes nothing.
        let _ = hear(tx, scene, index, &event, &Cause::deployer(), self.now()).await?;
        Ok(place(&scene.rollouts[index].rollout) != before)
    }

    /// Puts the traffic back, at any generation while the candidate carries traffic; otherwise a no-op.
    ///
    /// An abort that comes after success still wins: while the candidate is what serves, the last known good
    /// is put back, and the record of that rollback is returned.
    pub async fn abort(
        &self,
        name: &RolloutName,
        unpin: bool,
        cause: &Cause,
    ) -> Result<RolloutRow> {
        let mut tx = self.db.begin().await?;
        let (mut scene, index) = Scene::of_rollout(&mut tx, name).await?;
        let row = &scene.rollouts[index];
        if row.rollout.ended() {
            let serves = scene.endpoint.serving.stable == Some(row.rollout.candidate)
                && scene
                    .endpoint
                    .serving
                    .traffic
                    .carries(row.rollout.candidate);
            let promoted =
                row.rollout.phase == Phase::Succeeded && row.rollout.kind == Kind::Release;
            if !(promoted && serves) {
                return Ok(scene.rollouts.swap_remove(index));
            }
            let from = scene.revision(row.rollout.candidate)?;
            let rollback = Rollback {
                from: Some(from),
                unpin,
                ..Rollback::of(name.endpoint(), cause.clone())
            };
            let done = self.roll_back_in(&mut tx, &mut scene, &rollback).await?;
            let record = done.record.unwrap_or(index);
            tx.commit().await?;
            return Ok(scene.rollouts.swap_remove(record));
        }
        let event = RolloutEvent::Abort {
            reason: cause.reason.clone(),
            to: None,
            unpin,
        };
        hear(&mut tx, &mut scene, index, &event, cause, self.now())
            .await?
            .map_err(|no| refused(no, name))?;
        tx.commit().await?;
        Ok(scene.rollouts.swap_remove(index))
    }

    /// The generation that an etag names, which a request may leave out.
    pub fn expected_generation(etag: &str) -> Result<Option<i64>> {
        let mut violations = slipway_platform::Violations::new();
        let expected = etag::parse("etag", etag, &mut violations);
        violations.into_result()?;
        Ok(expected)
    }
}
