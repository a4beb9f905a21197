//! The queue of what a worker has to do, at least once each.
//!
//! An item is known by what it does, so that asking twice is one item. Asking again while it is being done
//! raises its version, and a worker only removes the version that it did.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName, RolloutName, RuleName, VersionName};
use sqlx::AnyConnection;

use super::signals::{self, Signal};
use super::{from_text, to_text};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Ask whether the rollout's version may enter.
    AskGate { rollout: RolloutName },
    /// Start a revision for a rollout.
    Provision {
        rollout: RolloutName,
        revision: RevisionName,
    },
    /// Wait until it answers.
    CheckHealth {
        rollout: RolloutName,
        revision: RevisionName,
    },
    /// See that a revision that is needed runs, and where: after a restart, or when it died.
    EnsureRunning { revision: RevisionName },
    /// Stop a revision, if nothing needs it.
    Stop { revision: RevisionName },
    /// Point the champion alias at what the revision runs, if it still serves.
    MoveChampion { revision: RevisionName },
    /// Start a rollout because a rule says so.
    Deploy {
        endpoint: EndpointName,
        version: VersionName,
        rule: RuleName,
        event_id: String,
    },
}

/// An item of the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: String,
    pub work: Work,
    pub attempts: i64,
    pub version: i64,
}

impl Work {
    /// What makes it this work and no other.
    fn id(&self) -> String {
        match self {
            Work::AskGate { rollout } => format!("ask-gate {rollout}"),
            Work::Provision { rollout, revision } => format!("provision {revision} {rollout}"),
            Work::CheckHealth { rollout, revision } => format!("check-health {revision} {rollout}"),
            Work::EnsureRunning { revision } => format!("ensure-running {revision}"),
            Work::Stop { revision } => format!("stop {revision}"),
            Work::MoveChampion { revision } => format!("move-champion {revision}"),
            Work::Deploy {
                endpoint,
                event_id,
                rule,
                ..
            } => format!("deploy {endpoint} {rule} {event_id}"),
        }
    }

    fn rollout(&self) -> String {
        match self {
            Work::AskGate { rollout }
            | Work::Provision { rollout, .. }
            | Work::CheckHealth { rollout, .. } => rollout.to_string(),
            Work::EnsureRunning { .. }
            | Work::Stop { .. }
            | Work::MoveChampion { .. }
            | Work::Deploy { .. } => String::new(),
        }
    }

    fn endpoint(&self) -> &EndpointName {
        match self {
            Work::AskGate { rollout }
            | Work::Provision { rollout, .. }
            | Work::CheckHealth { rollout, .. } => rollout.endpoint(),
            Work::EnsureRunning { revision }
            | Work::Stop { revision }
            | Work::MoveChampion { revision } => revision.endpoint(),
            Work::Deploy { endpoint, .. } => endpoint,
        }
    }
}

/// Asks for work, not before a time.
pub async fn add(conn: &mut AnyConnection, work: &Work, not_before: Timestamp) -> Result<()> {
    sqlx::query(
        "INSERT INTO work (id, endpoint, rollout, body, not_before, attempts, last_error, version) \
         VALUES ($1, $2, $3, $4, $5, 0, '', 1) ON CONFLICT (id) DO UPDATE SET \
         not_before = excluded.not_before, attempts = 0, version = work.version + 1",
    )
    .bind(work.id())
    .bind(work.endpoint().to_string())
    .bind(work.rollout())
    .bind(to_text(work)?)
    .bind(not_before.0)
    .execute(&mut *conn)
    .await?;
    signals::raise(conn, Signal::Work).await?;
    Ok(())
}

/// What is due, earliest first; at most `limit`.
pub async fn due(conn: &mut AnyConnection, now: Timestamp, limit: i64) -> Result<Vec<Item>> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT id, body, attempts, version FROM work WHERE not_before <= $1 ORDER BY not_before, id LIMIT $2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(id, body, attempts, version)| {
            Ok(Item {
                id,
                work: from_text(&body)?,
                attempts,
                version,
            })
        })
        .collect()
}

/// When the next item is due after `now`.
pub async fn next_due(conn: &mut AnyConnection, now: Timestamp) -> Result<Option<Timestamp>> {
    let (next,): (Option<i64>,) =
        sqlx::query_as("SELECT MIN(not_before) FROM work WHERE not_before > $1")
            .bind(now.0)
            .fetch_one(conn)
            .await?;
    Ok(next.map(Timestamp))
}

/// Removes an item that was done, unless it was asked for again meanwhile.
pub async fn done(conn: &mut AnyConnection, item: &Item) -> Result<()> {
    sqlx::query("DELETE FROM work WHERE id = $1 AND version = $2")
        .bind(item.id.as_str())
        .bind(item.version)
        .execute(conn)
        .await?;
    Ok(())
}

/// Puts an item off, with the reason.
pub async fn put_off(
    conn: &mut AnyConnection,
    item: &Item,
    wait: Duration,
    error: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE work SET not_before = $1, attempts = attempts + 1, last_error = $2 WHERE id = $3 AND version = $4",
    )
    .bind((now + wait).0)
    .bind(error.to_owned())
    .bind(item.id.as_str())
    .bind(item.version)
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes back a stop that was asked for: the revision is needed again.
pub async fn forget_stop(conn: &mut AnyConnection, revision: &RevisionName) -> Result<()> {
    sqlx::query("DELETE FROM work WHERE id = $1")
        .bind(
            Work::Stop {
                revision: revision.clone(),
            }
            .id(),
        )
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes back a question to the gate that was answered otherwise.
pub async fn forget_gate(conn: &mut AnyConnection, rollout: &RolloutName) -> Result<()> {
    sqlx::query("DELETE FROM work WHERE id = $1")
        .bind(
            Work::AskGate {
                rollout: rollout.clone(),
            }
            .id(),
        )
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether a revision is to be stopped, but not yet: it is kept warm.
pub async fn stop_is_due_later(
    conn: &mut AnyConnection,
    revision: &RevisionName,
    now: Timestamp,
) -> Result<bool> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT not_before FROM work WHERE id = $1")
        .bind(
            Work::Stop {
                revision: revision.clone(),
            }
            .id(),
        )
        .fetch_optional(conn)
        .await?;
    Ok(row.is_some_and(|(not_before,)| Timestamp(not_before) > now))
}
