//! A rollback of what is not the running rollout's own: of stable, while a candidate is beside it, or of what
//! another rollback puts back. It wins as every rollback does: the rollout ends by it, and what neither of the
//! two is at fault for is put back.

use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::names::RevisionName;
use slipway_platform::{Error, Result};

use super::decision::hear;
use super::rollback::{Done, Rollback, pinned};
use super::scene::Scene;
use super::{decision, outcomes};
use crate::domain::rollout::{Phase, Rejected, RolloutEvent};
use crate::domain::traffic::Revision;

/// Whether the revision at fault is another than the one that the running rollout answers for.
pub(super) fn is_beside(scene: &Scene, running: usize, at_fault: Revision) -> bool {
    let rollout = &scene.rollouts[running].rollout;
    let going_back = matches!(rollout.phase, Phase::RollingBack(_));
    rollout.candidate != at_fault && (going_back || !rollout.before_shifting())
}

/// Ends the running rollout, with its traffic on a third revision, and blocks the one at fault.
pub(super) async fn roll_back(
    tx: &mut Tx,
    scene: &mut Scene,
    running: usize,
    rollback: &Rollback,
    (at_fault, to): (Revision, Option<RevisionName>),
    now: Timestamp,
) -> Result<Done> {
    let restore = third(scene, running, at_fault, to)?;
    let event = RolloutEvent::Abort {
        reason: rollback.cause.reason.clone(),
        to: Some(restore),
        unpin: rollback.unpin,
    };
    let heard = hear(tx, scene, running, &event, &rollback.cause, now).await?;
    heard.map_err(|no| match no {
        Rejected::Pinned => pinned(no, scene),
        other => decision::refused(other, &scene.rollouts[running].name),
    })?;
    let name = scene.revision(at_fault)?;
    outcomes::block(tx, name, &rollback.cause.reason, &rollback.cause, now).await?;
    Ok(Done {
        from: at_fault,
        to: Some(restore),
        cold: false,
        record: Some(running),
    })
}

/// What gets the traffic: what was named, or the last known good that is neither at fault nor the candidate.
fn third(
    scene: &Scene,
    running: usize,
    at_fault: Revision,
    to: Option<RevisionName>,
) -> Result<Revision> {
    let row = &scene.rollouts[running];
    let mut serving = scene.endpoint.serving.clone();
    serving.attribute_alert(row.rollout.candidate);
    let known_good = serving.last_known_good(Some(at_fault));
    let Some(restore) = to.map(|to| Revision(to.number())).or(known_good) else {
        let text = "no third revision served through its soak; name one to put back, or promote the candidate";
        let name = &scene.endpoint.name;
        return Err(Error::precondition("NO_LAST_KNOWN_GOOD", name, text));
    };
    if restore == row.rollout.candidate {
        let text = "is the candidate of the running rollout: promote it, or name another revision";
        return Err(Error::precondition("ROLLOUT_RUNNING", &row.name, text));
    }
    if !serving.ready.contains(&restore) {
        let text = format!(
            "revision {} does not run; abort the rollout first, then roll back to it",
            restore.0
        );
        return Err(Error::precondition("NOT_READY", &row.name, text));
    }
    Ok(restore)
}
