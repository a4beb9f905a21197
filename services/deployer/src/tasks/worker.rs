//! Does what decisions have queued: each item at least once, at most a bounded number at a time, and none of
//! them twice at once. An item that fails in passing is put off; its rollout's deadline bounds how often.
//!
//! On a shared database an item is claimed before it is begun, and [`renew`] keeps the claims of this replica
//! while it is alive; what a lost one had claimed is taken over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::tasks::Nudge;
use slipway_platform::{Error, Result, telemetry};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::service::Service;
use crate::store::work::{self, Item, Taker};

/// The first pause after a failure that may pass; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long the last act of a worker, letting go of what it has claimed, may take.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// What became of an item.
#[derive(Debug)]
pub enum Done {
    /// It is done, or not needed any more; it was removed with its result.
    Yes,
    /// It is too early; look again then.
    NotBefore(Timestamp),
}

/// Works until the shutdown; what is under way then is given up, and done again after the restart.
pub async fn run(service: Arc<Service>, at_once: usize, nudge: Nudge, shutdown: CancellationToken) {
    // Tasks of their own: an item that holds a connection goes on while this loop waits for one.
    let mut under_way = JoinSet::new();
    let mut names: HashMap<Id, String> = HashMap::new();
    let mut taken: HashSet<String> = HashSet::new();
    let look_every = service.duties.look_every();
    loop {
        let wait = match take(&service, at_once, &mut taken).await {
            Ok((items, wait)) => {
                for item in items {
                    let id = item.id.clone();
                    let span = tracing::info_span!(parent: None, "work", work = id);
                    telemetry::set_parent(&span, Some(&item.traceparent));
                    let task = perform(service.clone(), item).instrument(span);
                    names.insert(under_way.spawn(task).id(), id);
                }
                wait
            }
            Err(error) => {
                tracing::warn!(%error, "work not taken; trying again");
                look_every
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(ended) = under_way.join_next_with_id(), if !under_way.is_empty() => {
                let (task, panicked) = ended.map_or_else(|error: JoinError| (error.id(), Some(error)), |(task, ())| (task, None));
                let id = names.remove(&task).unwrap_or_default();
                if let Some(error) = panicked {
                    tracing::error!(work = id, %error, "work panicked; it is tried again");
                    tokio::time::sleep(BACKOFF_MIN).await;
                }
                taken.remove(&id);
            }
            () = nudge.nudged() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    under_way.shutdown().await;
    if service.db.is_shared() {
        // Without it, other replicas wait until the claims have run out.
        let letting_go = tokio::time::timeout(LET_GO_MAX, release_all(&service));
        if !matches!(letting_go.await, Ok(Ok(()))) {
            tracing::warn!("claims of work were not let go; they run out");
        }
    }
}

/// Keeps what this replica has claimed.
pub async fn renew(service: &Service) -> Result<()> {
    let replica = service.duties.replica();
    if work::claimed(&mut *service.db.read().await?, replica).await? == 0 {
        return Ok(());
    }
    let until = service.duties.claim_until(service.db.now().await?);
    let mut tx = service.db.begin_for(replica).await?;
    work::renew(&mut tx, replica, until).await?;
    tx.commit().await
}

async fn release_all(service: &Service) -> Result<()> {
    let mut tx = service.db.begin().await?;
    work::release_all(&mut tx, service.duties.replica()).await?;
    tx.commit().await
}

/// The items to begin now, and how long until another may be due.
async fn take(
    service: &Service,
    at_once: usize,
    taken: &mut HashSet<String>,
) -> Result<(Vec<Item>, Duration)> {
    let wait_max = service.duties.look_every();
    let free = at_once.saturating_sub(taken.len());
    if free == 0 {
        return Ok((Vec::new(), wait_max));
    }
    let now = service.clock.now();
    let taker = service.duties.taker(&service.db).await?;
    let mut reader = service.db.read().await?;
    // Those under way are still in the queue, so that many more are looked at.
    let limit = i64::try_from(at_once + taken.len()).unwrap_or(i64::MAX);
    let mut items = work::due(&mut reader, now, &taker, limit).await?;
    items.retain(|item| !taken.contains(&item.id));
    items.truncate(free);
    let next = work::next_due(&mut reader, now).await?;
    drop(reader);
    if let Some(shared_now) = taker.shared_now {
        items = claim(service, items, &taker, shared_now).await?;
    }
    taken.extend(items.iter().map(|item| item.id.clone()));
    Ok((
        items,
        next.map_or(wait_max, |next| (next - now).min(wait_max)),
    ))
}

/// Those of the items that no other replica was first to claim.
async fn claim(
    service: &Service,
    items: Vec<Item>,
    taker: &Taker,
    now: Timestamp,
) -> Result<Vec<Item>> {
    if items.is_empty() {
        return Ok(items);
    }
    let until = service.duties.claim_until(now);
    let mut tx = service.db.begin_for(&taker.replica).await?;
    let mut claimed = Vec::new();
    for item in items {
        if work::claim(&mut tx, &item, taker, until).await? {
            claimed.push(Item {
                claimed_by: taker.replica.clone(),
                ..item
            });
        }
    }
    tx.commit().await?;
    Ok(claimed)
}

async fn perform(service: Arc<Service>, item: Item) {
    let outcome = match service.perform(&item).await {
        Ok(Done::Yes) => Ok(()),
        Ok(Done::NotBefore(time)) => {
            let earliest = service.clock.now() + BACKOFF_MIN;
            postpone(&service, &item, time.max(earliest)).await
        }
        Err(error) => {
            tracing::warn!(work = item.id, attempts = item.attempts + 1, %error, "work not done yet");
            put_off(&service, &item, backoff(item.attempts), &error.to_string()).await
        }
    };
    if let Err(error) = outcome {
        tracing::warn!(work = item.id, %error, "work not put off; it is tried again");
        tokio::time::sleep(BACKOFF_MIN).await;
    }
}

async fn postpone(service: &Service, item: &Item, until: Timestamp) -> Result<()> {
    let mut tx = service.db.begin().await?;
    work::postpone(&mut tx, item, until).await?;
    tx.commit().await
}

async fn put_off(service: &Service, item: &Item, wait: Duration, error: &str) -> Result<()> {
    let mut tx = service.db.begin().await?;
    work::put_off(&mut tx, item, wait, error, service.clock.now()).await?;
    tx.commit().await
}

fn backoff(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 10)).unwrap_or(10);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

impl From<crate::driver::DriverError> for Error {
    fn from(error: crate::driver::DriverError) -> Self {
        match error {
            crate::driver::DriverError::Failed { reason } => {
                Error::precondition("DRIVER_FAILED", "driver", reason)
            }
            crate::driver::DriverError::Unavailable { what } => Error::unavailable(what),
        }
    }
}
