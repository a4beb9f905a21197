//! The queue of what a worker has to do, at least once each.
//!
//! An item is known by what it does, so that asking twice is one item. Asking again while it is being done
//! raises its version, and a worker only removes the version that it did.
//!
//! On a database that replicas share, an item is claimed before it is done: by one replica at a time, until a
//! time on the database's clock that the replica keeps pushing back. A replica that was stopped for longer
//! than that may do it once more beside the one that took it over; results are told to a rollout that waits
//! for them, and to no other, so that the second one changes nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EndpointName, RevisionName, RolloutName, RuleName, VersionName};
use slipway_platform::telemetry;
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
    /// The trace of the decision that asked for it.
    pub traceparent: String,
    /// The replica that has claimed it; empty where nobody else could.
    pub claimed_by: String,
}

/// Who wants work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taker {
    /// The replica.
    pub replica: String,
    /// The node whose revisions it may work on; `None`: none of any node.
    pub node: Option<String>,
    /// The time by the database's clock; `None`: nobody else takes work, and old claims are void.
    pub shared_now: Option<Timestamp>,
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

    /// The revision that something is done to, if any, and whether only the node can do it that started it.
    fn revision(&self) -> Option<(&RevisionName, bool)> {
        match self {
            Work::Provision { revision, .. } => Some((revision, false)),
            Work::CheckHealth { revision, .. }
            | Work::EnsureRunning { revision }
            | Work::Stop { revision } => Some((revision, true)),
            Work::AskGate { .. } | Work::MoveChampion { .. } | Work::Deploy { .. } => None,
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
    let revision = work.revision();
    sqlx::query(
        "INSERT INTO work (id, endpoint, rollout, body, not_before, attempts, last_error, version, number, bound, \
         asked_at, traceparent) VALUES ($1, $2, $3, $4, $5, 0, '', 1, $6, $7, $5, $8) ON CONFLICT (id) DO UPDATE SET \
         not_before = excluded.not_before, attempts = 0, version = work.version + 1, asked_at = excluded.asked_at, \
         traceparent = excluded.traceparent",
    )
    .bind(work.id())
    .bind(work.endpoint().to_string())
    .bind(work.rollout())
    .bind(to_text(work)?)
    .bind(not_before.0)
    .bind(revision.map_or(0, |(revision, _)| i64::from(revision.number())))
    .bind(i64::from(revision.is_some_and(|(_, bound)| bound)))
    .bind(telemetry::current_traceparent().unwrap_or_default())
    .execute(&mut *conn)
    .await?;
    signals::raise(conn, Signal::Work).await?;
    Ok(())
}

/// What is due and may be taken, earliest first; at most `limit`.
pub async fn due(
    conn: &mut AnyConnection,
    now: Timestamp,
    taker: &Taker,
    limit: i64,
) -> Result<Vec<Item>> {
    let rows: Vec<(String, String, i64, i64, String)> = sqlx::query_as(
        "SELECT work.id, work.body, work.attempts, work.version, work.traceparent FROM work \
         LEFT JOIN revisions ON work.bound = 1 AND revisions.endpoint = work.endpoint \
         AND revisions.number = work.number \
         WHERE work.not_before <= $1 AND (work.claimed_until <= $2 OR work.claimed_by = $3) \
         AND (work.number = 0 OR ($4 = 1 AND COALESCE(revisions.node, '') IN ('', $5))) \
         ORDER BY work.not_before, work.id LIMIT $6",
    )
    .bind(now.0)
    .bind(taker.shared_now.map_or(i64::MAX, |now| now.0))
    .bind(taker.replica.as_str())
    .bind(i64::from(taker.node.is_some()))
    .bind(taker.node.as_deref().unwrap_or_default())
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|(id, body, attempts, version, traceparent)| {
            Ok(Item {
                id,
                work: from_text(&body)?,
                attempts,
                version,
                traceparent,
                claimed_by: String::new(),
            })
        })
        .collect()
}

/// Claims an item until a time on the database's clock; false: another replica was first, or it is done.
pub async fn claim(
    conn: &mut AnyConnection,
    item: &Item,
    taker: &Taker,
    until: Timestamp,
) -> Result<bool> {
    let result = sqlx::query(
        "UPDATE work SET claimed_by = $1, claimed_until = $2 WHERE id = $3 AND version = $4 \
         AND (claimed_until <= $5 OR claimed_by = $1)",
    )
    .bind(taker.replica.as_str())
    .bind(until.0)
    .bind(item.id.as_str())
    .bind(item.version)
    .bind(taker.shared_now.map_or(i64::MAX, |now| now.0))
    .execute(conn)
    .await?;
    Ok(result.rows_affected() > 0)
}

/// How many items a replica has claimed.
pub async fn claimed(conn: &mut AnyConnection, replica: &str) -> Result<i64> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM work WHERE claimed_by = $1")
        .bind(replica)
        .fetch_one(conn)
        .await?;
    Ok(count)
}

/// Pushes back until when a replica has claimed what it has claimed.
pub async fn renew(conn: &mut AnyConnection, replica: &str, until: Timestamp) -> Result<()> {
    sqlx::query("UPDATE work SET claimed_until = $1 WHERE claimed_by = $2")
        .bind(until.0)
        .bind(replica)
        .execute(conn)
        .await?;
    Ok(())
}

/// A replica lets go of everything that it has claimed.
pub async fn release_all(conn: &mut AnyConnection, replica: &str) -> Result<()> {
    let released =
        sqlx::query("UPDATE work SET claimed_by = '', claimed_until = 0 WHERE claimed_by = $1")
            .bind(replica)
            .execute(&mut *conn)
            .await?;
    if released.rows_affected() > 0 {
        signals::raise(conn, Signal::Work).await?;
    }
    Ok(())
}

/// How many items are due, and since when the oldest of them is.
pub async fn waiting(conn: &mut AnyConnection, now: Timestamp) -> Result<(i64, Option<Timestamp>)> {
    let (count, oldest): (i64, Option<i64>) =
        sqlx::query_as("SELECT COUNT(*), MIN(asked_at) FROM work WHERE not_before <= $1")
            .bind(now.0)
            .fetch_one(conn)
            .await?;
    Ok((count, oldest.map(Timestamp)))
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

/// Whether an item is as it was taken, and its taker's still.
pub async fn is_held(conn: &mut AnyConnection, item: &Item) -> Result<bool> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT version FROM work WHERE id = $1 AND version = $2 AND claimed_by = $3",
    )
    .bind(item.id.as_str())
    .bind(item.version)
    .bind(item.claimed_by.as_str())
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

/// Removes an item that was done, unless it was asked for again meanwhile: then it is let go.
pub async fn done(conn: &mut AnyConnection, item: &Item) -> Result<()> {
    let removed = sqlx::query("DELETE FROM work WHERE id = $1 AND version = $2")
        .bind(item.id.as_str())
        .bind(item.version)
        .execute(&mut *conn)
        .await?;
    if removed.rows_affected() > 0 {
        return Ok(());
    }
    let_go(conn, item).await
}

/// Puts an item off, with the reason, and lets it go.
pub async fn put_off(
    conn: &mut AnyConnection,
    item: &Item,
    wait: Duration,
    error: &str,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "UPDATE work SET not_before = $1, attempts = attempts + 1, last_error = $2 WHERE id = $3 AND version = $4 \
         AND claimed_by IN ('', $5)",
    )
    .bind((now + wait).0)
    .bind(error.to_owned())
    .bind(item.id.as_str())
    .bind(item.version)
    .bind(item.claimed_by.as_str())
    .execute(&mut *conn)
    .await?;
    let_go(conn, item).await
}

/// It is too early for an item: it is due then, and not overdue before.
pub async fn postpone(conn: &mut AnyConnection, item: &Item, until: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE work SET not_before = $1, asked_at = $1, last_error = '' WHERE id = $2 AND version = $3 \
         AND claimed_by IN ('', $4)",
    )
    .bind(until.0)
    .bind(item.id.as_str())
    .bind(item.version)
    .bind(item.claimed_by.as_str())
    .execute(&mut *conn)
    .await?;
    let_go(conn, item).await
}

async fn let_go(conn: &mut AnyConnection, item: &Item) -> Result<()> {
    if item.claimed_by.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE work SET claimed_by = '', claimed_until = 0 WHERE id = $1 AND claimed_by = $2",
    )
    .bind(item.id.as_str())
    .bind(item.claimed_by.as_str())
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
