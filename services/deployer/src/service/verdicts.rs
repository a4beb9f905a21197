//! A changed verdict that is no finding: kept with the rollout, which may move on by it.

use slipway_platform::Result;
use slipway_platform::names::RolloutName;

use super::Service;
use super::decision::{Cause, hear};
use super::scene::Scene;
use crate::domain::resources::{Actor, VerdictSummary};
use crate::domain::rollout::RolloutEvent;
use crate::domain::traffic::Revision;
use crate::peers::Subject;
use crate::store::rollouts;
use crate::store::signals::{self, Signal};

impl Service {
    /// The failure-detector says something else than before of a rollout.
    pub async fn verdict_changed(
        &self,
        rollout: &RolloutName,
        subject: &Subject,
        summary: &VerdictSummary,
    ) -> Result<()> {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let (mut scene, index) = Scene::of_rollout(&mut tx, rollout).await?;
        if scene.rollouts[index].rollout.ended() {
            return Ok(());
        }
        let row = &mut scene.rollouts[index];
        row.about.verdict = Some(summary.clone());
        rollouts::save(&mut tx, row, now).await?;
        row.generation += 1;
        signals::raise(&mut tx, Signal::Rollouts).await?;
        let event = RolloutEvent::Judged {
            revision: Revision(subject.candidate.number()),
            generation: subject.generation,
            verdict: summary.verdict,
            decision: String::new(),
            text: summary.text.clone(),
        };
        let cause = Cause {
            actor: Actor::service("failure-detector"),
            reason: summary.text.clone(),
            id: String::new(),
        };
        if let Err(rejected) = hear(&mut tx, &mut scene, index, &event, &cause, now).await? {
            tracing::debug!(%rollout, %rejected, "verdict changes nothing");
        }
        tx.commit().await
    }
}
