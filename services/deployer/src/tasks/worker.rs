//! Does what decisions have queued: each item at least once, at most a bounded number at a time, and none of
//! them twice at once. An item that fails in passing is put off; its rollout's deadline bounds how often.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::Timestamp;
use slipway_platform::tasks::Nudge;
use slipway_platform::{Error, Result};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::service::Service;
use crate::store::work::{self, Item};

/// The first pause after a failure that may pass; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest wait for work that nothing announces.
const WAIT_MAX: Duration = Duration::from_secs(1);

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
    loop {
        let wait = match take(&service, at_once, &mut taken).await {
            Ok((items, wait)) => {
                for item in items {
                    let id = item.id.clone();
                    let task = perform(service.clone(), item).in_current_span();
                    names.insert(under_way.spawn(task).id(), id);
                }
                wait
            }
            Err(error) => {
                tracing::warn!(%error, "work not read; trying again");
                WAIT_MAX
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
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
}

/// The items to begin now, and how long until another may be due.
async fn take(
    service: &Service,
    at_once: usize,
    taken: &mut HashSet<String>,
) -> Result<(Vec<Item>, Duration)> {
    let free = at_once.saturating_sub(taken.len());
    if free == 0 {
        return Ok((Vec::new(), WAIT_MAX));
    }
    let now = service.clock.now();
    let mut reader = service.db.read().await?;
    // Those under way are still in the queue, so that many more are looked at.
    let limit = i64::try_from(at_once + taken.len()).unwrap_or(i64::MAX);
    let mut items = work::due(&mut reader, now, limit).await?;
    items.retain(|item| !taken.contains(&item.id));
    items.truncate(free);
    taken.extend(items.iter().map(|item| item.id.clone()));
    let next = work::next_due(&mut reader, now).await?;
    Ok((
        items,
        next.map_or(WAIT_MAX, |next| (next - now).min(WAIT_MAX)),
    ))
}

async fn perform(service: Arc<Service>, item: Item) {
    let outcome = match service.perform(&item).await {
        Ok(Done::Yes) => Ok(()),
        Ok(Done::NotBefore(time)) => {
            let wait = time - service.clock.now();
            put_off(&service, &item, wait.max(BACKOFF_MIN), "too early").await
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
