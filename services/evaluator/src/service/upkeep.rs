//! What time and crashes do to evaluations.

use std::collections::HashSet;

use slipway_platform::Result;

use super::Evaluator;
use crate::domain::{Event, State};
use crate::store::evaluations::{self as table, Stored};

/// Evaluations handled in one run; the rest waits for the next.
const BATCH: i64 = 100;

impl Evaluator {
    /// Ends or requeues what is due. Bounded; what is left is found by the next run.
    pub async fn tick(&self) -> Result<()> {
        let due = table::due(&mut *self.db.read().await?, self.clock.now(), BATCH).await?;
        for stored in due {
            self.apply(stored, Event::Tick).await?;
        }
        Ok(())
    }

    /// Queues again what a replica was running that is not alive any more: after a start, and while this runs.
    /// Bounded; what is left is found by the next run.
    pub async fn recover(&self) -> Result<()> {
        let running = table::running(&mut *self.db.read().await?, BATCH).await?;
        if running.is_empty() {
            return Ok(());
        }
        // Asked after the list was read: whoever began one of them was alive by then.
        let alive = self.leases.replicas().await?;
        let alive: HashSet<&str> = alive.iter().map(|replica| replica.id.as_str()).collect();
        for stored in running {
            let State::Running { worker, .. } = &stored.evaluation.state else {
                continue;
            };
            if !alive.contains(worker.as_str()) {
                tracing::warn!(evaluation = %stored.evaluation.name, worker, "its worker is gone, run again");
                self.apply(stored, Event::Lost).await?;
            }
        }
        Ok(())
    }

    async fn apply(&self, listed: Stored, event: Event) -> Result<()> {
        let mut tx = self.db.begin().await?;
        let mut stored = table::get(&mut tx, &listed.evaluation.name).await?;
        if stored.generation != listed.generation {
            // It moved since it was listed, and what was decided of it may not hold any more.
            return tx.rollback().await;
        }
        match self.advance(&mut tx, &mut stored, event).await? {
            Ok(()) => tx.commit().await,
            Err(_) => tx.rollback().await,
        }
    }
}
