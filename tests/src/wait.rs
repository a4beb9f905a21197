//! Waiting for a condition.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something. An error ends it, and so does the deadline, which says `what`.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let found = tokio::time::timeout_at(end, look()).await;
        match found {
            Ok(found) => {
                if let Some(found) = found.with_context(|| format!("waiting for {what}"))? {
                    return Ok(found);
                }
            }
            Err(_) => bail!("{what} was not there within {} s", deadline.as_secs_f64()),
        }
        if Instant::now() >= end {
            bail!("{what} was not there within {} s", deadline.as_secs_f64());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
