//! Who needs a revision to run, and who waits for it.

use slipway_platform::names::RevisionName;

use super::scene::Scene;
use crate::domain::rollout::{Phase, Retreat};
use crate::domain::traffic::Revision;
use crate::store::rollouts::RolloutRow;

/// Whether anything needs a revision to run: traffic, the endpoint, or a rollout that has not ended.
pub fn is_needed(scene: &Scene, revision: &RevisionName) -> bool {
    let mut needed: Vec<Revision> = Vec::new();
    for row in &scene.rollouts {
        needed.push(row.rollout.candidate);
        needed.extend(row.rollout.stable);
        if let Phase::RollingBack(back) = &row.rollout.phase {
            needed.extend(back.restore);
        }
    }
    !scene
        .endpoint
        .serving
        .may_stop(Revision(revision.number()), &needed)
}

/// Whether a rollout waits for a revision to be started.
pub fn waits_for_start(row: &RolloutRow, revision: &RevisionName) -> bool {
    waits(row, revision, &Phase::Provisioning, Retreat::Starting)
}

/// Whether a rollout waits for a revision to answer.
pub fn waits_for_check(row: &RolloutRow, revision: &RevisionName) -> bool {
    waits(row, revision, &Phase::Checking, Retreat::Checking)
}

/// Whether it is the candidate of a rollout in `phase`, or what one in `retreat` restores.
fn waits(row: &RolloutRow, revision: &RevisionName, phase: &Phase, retreat: Retreat) -> bool {
    let revision = Revision(revision.number());
    match &row.rollout.phase {
        Phase::RollingBack(back) => back.retreat == retreat && back.restore == Some(revision),
        present @ (Phase::Pending(_)
        | Phase::Provisioning
        | Phase::Checking
        | Phase::Shifting(_)
        | Phase::Soaking(_)
        | Phase::Paused(_)
        | Phase::Succeeded
        | Phase::RolledBack { .. }
        | Phase::Failed { .. }) => present == phase && row.rollout.candidate == revision,
    }
}
