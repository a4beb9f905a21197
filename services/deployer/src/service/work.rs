//! Performing queued work: what a decision asked of the world outside, and what came of it. The result and
//! the end of the item are one transaction.

use slipway_platform::Result;
use slipway_platform::db::Tx;
use slipway_platform::names::{AliasName, RevisionName, RolloutName};

use super::decision::Cause;
use super::{Service, records};
use crate::domain::resources::{Actor, Refusal};
use crate::domain::rollout::{Gate, Pending, Phase, RolloutEvent};
use crate::domain::traffic::Revision;
use crate::store::work::{Item, Work};
use crate::store::{revisions, rollouts, work};
use crate::tasks::worker::Done;

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

    pub(super) async fn finish(&self, item: &Item) -> Result<Done> {
        let mut tx = self.db.begin().await?;
        work::done(&mut tx, item).await?;
        tx.commit().await?;
        Ok(Done::Yes)
    }

    /// Lets the rollout hear the result, and ends the item, in one transaction.
    pub(super) async fn finish_with(
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
            Err(error) if error.is_permanent() => Err(Refusal {
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
}
