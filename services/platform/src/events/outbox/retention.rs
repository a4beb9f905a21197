//! Deleting what is past its retention: published events, inbox rows, request ids, dead letters.

use std::time::Duration;

use tokio::time::Instant;

use super::RelayOptions;
use crate::{
    Result,
    clock::Timestamp,
    db::{Db, Tx},
    events::{dead_letters, inbox},
    requests,
};

/// Rows that one transaction deletes at most from each table.
const LIMIT: i64 = 5_000;
/// How long one run goes on; then publishing has its turn, and the rest goes in the next run.
const BUDGET: Duration = Duration::from_secs(1);

/// What deleting excludes: itself, and those who write anything.
const DELETING: &str = "retention";

/// Deletes what is too old at `now`, in bounded transactions and for a bounded time; whether nothing is left.
pub(super) async fn collect(db: &Db, options: &RelayOptions, now: Timestamp) -> Result<bool> {
    let begun = Instant::now();
    loop {
        if collect_some(db, options, now).await? {
            return Ok(true);
        }
        if begun.elapsed() >= BUDGET {
            return Ok(false);
        }
    }
}

/// Deletes a bounded number of rows; whether nothing is left.
async fn collect_some(db: &Db, options: &RelayOptions, now: Timestamp) -> Result<bool> {
    let before = |hours: u32| now - Duration::from_secs(u64::from(hours) * 3600);
    let mut tx = db.begin_for(DELETING).await?;
    let outbox = published(&mut tx, before(options.outbox_retention_hours)).await?;
    let inbox = inbox::collect(&mut tx, before(options.inbox_retention_hours), LIMIT).await?;
    let requests =
        requests::collect(&mut tx, before(options.request_retention_hours), LIMIT).await?;
    let letters = before(options.dead_letter_retention_hours);
    let letters = dead_letters::store::collect(&mut tx, letters, LIMIT).await?;
    let deleted = [outbox, inbox, requests, letters];
    if deleted == [0; 4] {
        tx.rollback().await?;
        return Ok(true);
    }
    tracing::debug!(
        outbox,
        inbox,
        requests,
        letters,
        "rows past their retention deleted"
    );
    tx.commit().await?;
    Ok(deleted.iter().all(|rows| *rows < LIMIT as u64))
}

/// Deletes old published events, and notes up to which number, so that who resumes from an older one is
/// told that events are missing.
async fn published(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    let deleted: Vec<(i64,)> = sqlx::query_as(
        "DELETE FROM slipway_outbox WHERE position IN \
         (SELECT position FROM slipway_outbox WHERE published_at < $1 ORDER BY published_at LIMIT $2) \
         RETURNING published",
    )
    .bind(before.0)
    .bind(LIMIT)
    .fetch_all(&mut *tx)
    .await?;
    if let Some((newest,)) = deleted.iter().max() {
        sqlx::query(
            "UPDATE slipway_counters SET value = $1 WHERE name = 'outbox deleted' AND value < $1",
        )
        .bind(newest)
        .execute(&mut *tx)
        .await?;
    }
    Ok(deleted.len() as u64)
}
