//! Rollouts as messages.

use slipway_platform::error::{Error, Result};
use slipway_platform::etag;
use slipway_platform::names::RevisionName;
use slipway_proto::deployer::v1 as proto;
use slipway_proto::deployer::v1::rollout::Phase as Word;

use super::{fields, strategy_message};
use crate::domain::resources::VerdictSummary;
use crate::domain::rollout::{Kind, PausedFrom, Phase, Rollout, WaivedBy, Waiver};
use crate::domain::traffic::Revision;
use crate::store::rollouts::RolloutRow;

/// A rollout as a message.
pub fn write(row: &RolloutRow) -> Result<proto::Rollout> {
    let rollout = &row.rollout;
    let why = rollout.phase.why();
    let named = |revision: Revision| -> Result<String> {
        let name = RevisionName::new(row.endpoint(), revision.0);
        Ok(name
            .map_err(|error| Error::internal("name a revision", error))?
            .to_string())
    };
    let record = rollout.rollback.as_ref();
    Ok(proto::Rollout {
        name: row.name.to_string(),
        candidate: named(rollout.candidate)?,
        version: row.version.to_string(),
        stable: rollout.stable.map(named).transpose()?.unwrap_or_default(),
        phase: phase(&rollout.phase).into(),
        step: i32::try_from(rollout.step_index()).unwrap_or(i32::MAX),
        strategy: Some(strategy(rollout)),
        why: why.as_ref().map_or("", |(code, _)| code).to_owned(),
        reason: why.map_or_else(|| row.about.reason.clone(), |(_, words)| words),
        paused_from: paused_from(&rollout.phase).into(),
        traffic_generation: rollout.generation,
        decision_id: rollout.decision().unwrap_or_default().to_owned(),
        create_time: fields::time(row.created_at),
        phase_time: fields::time(rollout.phase_since),
        deadline: rollout.deadline.and_then(fields::time),
        end_time: row.ended_at.and_then(fields::time),
        rollback_decided_time: record.and_then(|record| fields::time(record.decided_at)),
        rollback_applied_time: record
            .and_then(|record| record.applied_at)
            .and_then(fields::time),
        not_applied_on: record
            .map(|record| record.not_applied_on.clone())
            .unwrap_or_default(),
        stalled: matches!(&rollout.phase, Phase::RollingBack(back) if back.stalled),
        verdict: row.about.verdict.as_ref().map(verdict),
        requested_by: fields::actor(&row.about.requested_by),
        evidence: row.about.evidence.clone(),
        waivers: rollout.waivers.iter().map(waiver).collect(),
        etag: etag::of(row.generation),
    })
}

/// A rollback that began by itself has no steps.
fn strategy(rollout: &Rollout) -> proto::Strategy {
    match rollout.kind {
        Kind::Release => strategy_message::write(&rollout.plan.strategy),
        Kind::Rollback => proto::Strategy {
            name: "rollback".to_owned(),
            ..Default::default()
        },
    }
}

/// A verdict with its numbers.
pub fn verdict(summary: &VerdictSummary) -> proto::VerdictSummary {
    proto::VerdictSummary {
        verdict: summary.verdict.name().to_owned(),
        text: summary.text.clone(),
        candidate_observations: summary.candidate.0,
        candidate_failures: summary.candidate.1,
        stable_observations: summary.stable.0,
        stable_failures: summary.stable.1,
        observations_needed: summary.needed,
        time: fields::time(summary.time),
    }
}

fn phase(phase: &Phase) -> Word {
    match phase {
        Phase::Pending(_) => Word::Pending,
        Phase::Provisioning => Word::Provisioning,
        Phase::Checking => Word::Checking,
        Phase::Shifting(_) => Word::Shifting,
        Phase::Soaking(_) => Word::Soaking,
        Phase::Paused(_) => Word::Paused,
        Phase::RollingBack(_) => Word::RollingBack,
        Phase::Succeeded => Word::Succeeded,
        Phase::RolledBack { .. } => Word::RolledBack,
        Phase::Failed { .. } => Word::Failed,
    }
}

fn paused_from(phase: &Phase) -> Word {
    let Phase::Paused(paused) = phase else {
        return Word::Unspecified;
    };
    match paused.from {
        PausedFrom::Provisioning => Word::Provisioning,
        PausedFrom::Checking => Word::Checking,
        PausedFrom::Shifting(_) => Word::Shifting,
        PausedFrom::Soaking(_) => Word::Soaking,
    }
}

fn waiver(waiver: &Waiver) -> String {
    let place = waiver
        .step
        .map_or("soak".to_owned(), |step| format!("step {}", step + 1));
    let known = waiver.verdict.name();
    match &waiver.by {
        WaivedBy::Strategy => format!("{place}: by the strategy, with the verdict {known}"),
        WaivedBy::Person { reason } => {
            format!("{place}: by hand, with the verdict {known}: {reason}")
        }
    }
}
