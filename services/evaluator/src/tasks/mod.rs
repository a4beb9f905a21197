//! What runs in the background: the consumer of new versions, the workers, and the upkeep.

mod versions;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::events::Consumer;
use slipway_platform::tasks::{Nudge, Tasks};
use tokio_util::sync::CancellationToken;

use crate::service::Evaluator;
use versions::Versions;

/// How often a worker looks for work without being woken.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often overdue evaluations are looked for.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// What it does on events.
pub fn consumers(evaluator: &Evaluator) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Versions::new(evaluator.clone()))]
}

/// Starts the loops. `workers` evaluations run at once.
pub fn start(tasks: &Tasks, evaluator: &Evaluator, workers: usize) {
    for _ in 0..workers {
        tasks.spawn("worker", work(evaluator.clone(), tasks.token()));
    }
    let upkeep = evaluator.clone();
    tasks.every("upkeep", UPKEEP_EVERY, Nudge::new(), move || {
        let evaluator = upkeep.clone();
        async move {
            evaluator.recover().await?;
            evaluator.tick().await
        }
    });
}

/// Performs one evaluation after the other; woken by every commit, since any may have queued one.
async fn work(evaluator: Evaluator, shutdown: CancellationToken) -> Result<()> {
    let mut commits = evaluator.db().commits();
    while !shutdown.is_cancelled() {
        commits.mark_unchanged();
        match evaluator.run_next(&shutdown).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "evaluation not performed, trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = commits.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    Ok(())
}
