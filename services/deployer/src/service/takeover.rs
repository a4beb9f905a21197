//! Who decides has changed: what was judged before is not known to hold any more, so every rollout waits for a
//! new verdict before it moves on.

use slipway_platform::Result;
use slipway_platform::names::RolloutName;

use super::Service;
use super::decision::{Cause, hear};
use crate::domain::rollout::{RolloutEvent, Verdict};

/// Rollouts that are told in one transaction: few enough that a finding does not wait long for the writer.
const TOGETHER: usize = 20;

impl Service {
    /// Tells rollouts that nothing is measured until a new verdict comes. Gives those that could not be told, which
    /// are to be told again; one of them holds up no other.
    pub async fn tell_of_takeover(&self, rollouts: &[RolloutName]) -> Vec<RolloutName> {
        let mut untold = Vec::new();
        for some in rollouts.chunks(TOGETHER) {
            let Err(error) = self.tell_together(some).await else {
                continue;
            };
            if error.is_transient() {
                let rollouts = some.len();
                tracing::warn!(rollouts, %error, "rollouts were not told of the takeover; trying again");
                untold.extend_from_slice(some);
                continue;
            }
            for rollout in some {
                let alone = std::slice::from_ref(rollout);
                if let Err(error) = self.tell_together(alone).await {
                    tracing::warn!(%rollout, %error, "a rollout was not told of the takeover; trying again");
                    untold.push(rollout.clone());
                }
            }
        }
        untold
    }

    async fn tell_together(&self, rollouts: &[RolloutName]) -> Result<()> {
        let mut tx = self.db.begin().await?;
        for rollout in rollouts {
            let (mut scene, index) = self.scene_of(&mut tx, rollout).await?;
            let row = &scene.rollouts[index];
            let Some(generation) = row.rollout.watched_generation() else {
                continue;
            };
            let unmeasured = RolloutEvent::Judged {
                revision: row.rollout.candidate,
                generation,
                verdict: Verdict::Unmeasurable,
                decision: String::new(),
                text: "another deployer decides, or it was restarted".to_owned(),
            };
            let (cause, now) = (Cause::deployer(), self.now());
            // A rejection says that nothing hangs on a verdict.
            let _ = hear(&mut tx, &mut scene, index, &unmeasured, &cause, now).await?;
        }
        tx.commit().await
    }
}
