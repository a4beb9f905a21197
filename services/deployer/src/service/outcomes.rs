//! What is recorded, told and queued when a decision is saved.

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::db::Tx;
use slipway_platform::events::outbox;
use slipway_platform::names::{BlockName, RevisionName};
use slipway_proto::event::v1 as event;
use sqlx::AnyConnection;

use super::decision::Cause;
use super::records;
use super::scene::Scene;
use crate::domain::resources::{Block, RevisionState};
use crate::domain::rollout::{Command, Phase, Retreat, Rollout, WaivedBy, Waiver};
use crate::domain::serving::Serving;
use crate::metrics;
use crate::store::rollouts::RolloutRow;
use crate::store::signals::{self, Signal};
use crate::store::work::{self, Work};
use crate::store::{blocks, revisions};

/// What a decision has changed.
pub struct Change<'a> {
    /// The rollout as it was.
    pub before: &'a Rollout,
    /// The endpoint as it was.
    pub serving_before: &'a Serving,
    /// What it asked for; the endpoint's part is done.
    pub commands: &'a [Command],
    /// The rollout in the scene, as it is now.
    pub index: usize,
    /// Who or what it comes from.
    pub cause: &'a Cause,
    /// When.
    pub now: Timestamp,
}

/// Records a change of a rollout and of what its endpoint serves.
pub async fn record(tx: &mut Tx, scene: &Scene, change: Change<'_>) -> Result<()> {
    let row = &scene.rollouts[change.index];
    signals::raise(&mut *tx, Signal::Rollouts).await?;
    if change.serving_before.generation != scene.endpoint.serving.generation {
        let reason = traffic_reason(row, change.cause);
        records::traffic(
            tx,
            scene,
            &change.serving_before.traffic,
            &reason,
            &row.name.to_string(),
            change.cause,
            change.now,
        )
        .await?;
    }
    for waiver in &row.rollout.waivers[change.before.waivers.len().min(row.rollout.waivers.len())..]
    {
        records::audit(
            tx,
            change.cause,
            change.now,
            "rollout.waive",
            &row.name,
            &waiver_text(waiver),
        )
        .await?;
    }
    record_phase(tx, row, &change).await?;
    for command in change.commands {
        perform(tx, scene, row, command, &change).await?;
    }
    Ok(())
}

fn traffic_reason(row: &RolloutRow, cause: &Cause) -> String {
    match row.rollout.phase.why() {
        Some((_, words)) => words,
        None if !cause.reason.is_empty() => cause.reason.clone(),
        None => format!(
            "step {} of {}",
            row.rollout.step_index() + 1,
            row.rollout.plan.strategy.steps.len()
        ),
    }
}

fn waiver_text(waiver: &Waiver) -> String {
    let place = waiver
        .step
        .map_or("the soak".to_owned(), |step| format!("step {}", step + 1));
    let known = waiver.verdict.name();
    match &waiver.by {
        WaivedBy::Strategy => {
            format!("{place} was waived by the strategy with the verdict {known}")
        }
        WaivedBy::Person { reason } => {
            format!("{place} was waived by hand with the verdict {known}: {reason}")
        }
    }
}

/// A move to another phase or step is audited and published.
async fn record_phase(tx: &mut Tx, row: &RolloutRow, change: &Change<'_>) -> Result<()> {
    let (from, to) = (change.before.phase.name(), row.rollout.phase.name());
    let stepped =
        from == to && to == "SHIFTING" && change.before.step_index() != row.rollout.step_index();
    if from == to && !stepped {
        return Ok(());
    }
    let why = row.rollout.phase.why();
    let words = why
        .as_ref()
        .map_or_else(String::new, |(_, words)| words.clone());
    let step = row.rollout.step_index();
    let moved = if stepped {
        format!("step {}", step + 1)
    } else {
        format!("{from} → {to}")
    };
    let text = match (words.is_empty(), change.cause.reason.is_empty()) {
        (true, true) => moved.clone(),
        (false, _) => format!("{moved}: {words}"),
        (true, false) => format!("{moved}: {}", change.cause.reason),
    };
    let action = if stepped {
        "rollout.step".to_owned()
    } else {
        format!("rollout.{}", to.to_lowercase())
    };
    records::audit(tx, change.cause, change.now, &action, &row.name, &text).await?;
    tracing::info!(rollout = %row.name, from, to, step, why = words, "rollout changed");
    if row.rollout.ended() {
        tx.after_commit(move || metrics::rollout_ended(to));
    }
    let page = change
        .commands
        .iter()
        .any(|command| matches!(command, Command::Page(_)));
    publish(tx, row, from, &text, page, change.now).await
}

/// Publishes that a rollout was made.
pub async fn made(tx: &mut Tx, row: &RolloutRow, now: Timestamp) -> Result<()> {
    signals::raise(&mut *tx, Signal::Rollouts).await?;
    publish(tx, row, "", &row.about.reason, false, now).await
}

async fn publish(
    tx: &mut Tx,
    row: &RolloutRow,
    from: &str,
    text: &str,
    page: bool,
    now: Timestamp,
) -> Result<()> {
    let data = event::RolloutChanged {
        rollout: row.name.to_string(),
        endpoint: row.endpoint().to_string(),
        candidate: named(row, row.rollout.candidate.0),
        version: row.version.to_string(),
        from_phase: from.to_owned(),
        to_phase: row.rollout.phase.name().to_owned(),
        step: i32::try_from(row.rollout.step_index()).unwrap_or(i32::MAX),
        why: row
            .rollout
            .phase
            .why()
            .map_or("", |(code, _)| code)
            .to_owned(),
        reason: text.to_owned(),
        page,
    };
    let (key, subject) = (row.endpoint().to_string(), row.name.to_string());
    outbox::publish(tx, now, &key, &subject, &data).await?;
    Ok(())
}

async fn perform(
    tx: &mut Tx,
    scene: &Scene,
    row: &RolloutRow,
    command: &Command,
    change: &Change<'_>,
) -> Result<()> {
    let now = change.now;
    let rollout = row.name.clone();
    match command {
        // Done by the endpoint; what came of them is recorded with its traffic.
        Command::SetTraffic { .. } | Command::WithdrawTraffic { .. } => Ok(()),
        Command::Unpin => {
            records::audit(
                tx,
                change.cause,
                now,
                "traffic.unpin",
                &scene.endpoint.name,
                "removed for a rollback",
            )
            .await
        }
        Command::MakeStable { revision, judged } => {
            let how = if *judged {
                "with its evidence"
            } else {
                "under a waiver"
            };
            let text = format!("{} is stable, {how}", scene.revision(*revision)?.id());
            records::audit(
                tx,
                change.cause,
                now,
                "endpoint.stable",
                &scene.endpoint.name,
                &text,
            )
            .await
        }
        Command::Block { revision } => {
            let reason = row
                .rollout
                .phase
                .why()
                .map_or_else(|| change.cause.reason.clone(), |(_, words)| words);
            block(tx, scene.revision(*revision)?, &reason, change.cause, now).await
        }
        Command::Page(code) => {
            let text = row
                .rollout
                .phase
                .why()
                .map_or_else(String::new, |(_, words)| words);
            let text = match does_not_start(tx, scene, row).await? {
                Some(why) => format!("{text}; {why}"),
                None => text,
            };
            records::page(tx, scene, Some(&row.name), code.code(), &text, now).await
        }
        Command::AnnounceRollback => announce_rollback(tx, scene, row, now).await,
        // The watcher follows the signal that every change raises.
        Command::OpenWatch | Command::CloseWatch => Ok(()),
        Command::AskGate { .. } => work::add(&mut *tx, &Work::AskGate { rollout }, now).await,
        Command::Provision { revision } => {
            let revision = scene.revision(*revision)?;
            work::forget_stop(&mut *tx, &revision).await?;
            work::add(&mut *tx, &Work::Provision { rollout, revision }, now).await
        }
        Command::CheckHealth { revision } => {
            let revision = scene.revision(*revision)?;
            work::add(&mut *tx, &Work::CheckHealth { rollout, revision }, now).await
        }
        Command::StopRevision { revision, after } => {
            let revision = scene.revision(*revision)?;
            work::add(&mut *tx, &Work::Stop { revision }, now + *after).await
        }
        Command::MoveChampion { revision } => {
            let revision = scene.revision(*revision)?;
            work::add(&mut *tx, &Work::MoveChampion { revision }, now).await
        }
    }
}

/// In a cold rollback: that what is to be put back does not start, and why.
pub(super) async fn does_not_start(
    conn: &mut AnyConnection,
    scene: &Scene,
    row: &RolloutRow,
) -> Result<Option<String>> {
    let Phase::RollingBack(back) = &row.rollout.phase else {
        return Ok(None);
    };
    let is_cold = matches!(back.retreat, Retreat::Starting | Retreat::Checking);
    let Some(restore) = back.restore.filter(|_| is_cold) else {
        return Ok(None);
    };
    let restored = revisions::get(conn, &scene.revision(restore)?).await?;
    Ok((restored.state == RevisionState::Failed).then(|| {
        format!(
            "{} is to be put back and does not start: {}; name another revision to put back",
            restored.name.id(),
            restored.state_reason
        )
    }))
}

/// Blocks what a revision runs on its endpoint, unless it is blocked already.
pub(super) async fn block(
    tx: &mut Tx,
    revision: RevisionName,
    reason: &str,
    cause: &Cause,
    now: Timestamp,
) -> Result<()> {
    let endpoint = revision.endpoint().clone();
    let facts = revisions::get(&mut *tx, &revision).await?.facts;
    if blocks::in_force(&mut *tx, &endpoint, &facts.version_digest)
        .await?
        .is_some()
    {
        return Ok(());
    }
    let block = Block {
        name: BlockName::generate(&endpoint),
        version_digest: facts.version_digest,
        revision,
        version: facts.version,
        reason: reason.to_owned(),
        created_at: now,
        actor: cause.actor.clone(),
        lifted: None,
    };
    blocks::insert(&mut *tx, &block).await?;
    records::audit(tx, cause, now, "block.set", &block.name, reason).await
}

async fn announce_rollback(
    tx: &mut Tx,
    scene: &Scene,
    row: &RolloutRow,
    now: Timestamp,
) -> Result<()> {
    let Some(record) = &row.rollout.rollback else {
        return Ok(());
    };
    let restored = scene.endpoint.serving.serving_stable();
    let to_version = match restored {
        Some(restored) => revisions::find(&mut *tx, &scene.revision(restored)?).await?,
        None => None,
    };
    let why = row
        .rollout
        .phase
        .why()
        .map_or_else(String::new, |(_, words)| words);
    if let (Some(_), Some(applied_at)) = (row.rollout.decision(), record.applied_at) {
        let took = applied_at - record.decided_at;
        tx.after_commit(move || metrics::anomaly_applied(took));
    }
    let data = event::RollbackCompleted {
        endpoint: row.endpoint().to_string(),
        rollout: match row.rollout.kind {
            crate::domain::rollout::Kind::Release => row.name.to_string(),
            crate::domain::rollout::Kind::Rollback => String::new(),
        },
        from_revision: named(row, row.rollout.candidate.0),
        from_version: row.version.to_string(),
        to_revision: restored.map_or_else(String::new, |restored| named(row, restored.0)),
        to_version: to_version.map_or_else(String::new, |found| found.facts.version.to_string()),
        reason: why,
        decision_id: row.rollout.decision().unwrap_or_default().to_owned(),
        generation: row.rollout.generation,
        decided_time: Some(record.decided_at.to_proto()),
        applied_time: record.applied_at.map(Timestamp::to_proto),
        not_applied_on: record.not_applied_on.clone(),
    };
    let (key, subject) = (row.endpoint().to_string(), row.name.to_string());
    outbox::publish(tx, now, &key, &subject, &data).await?;
    Ok(())
}

fn named(row: &RolloutRow, number: u32) -> String {
    RevisionName::new(row.endpoint(), number)
        .map_or_else(|_| String::new(), |name| name.to_string())
}
