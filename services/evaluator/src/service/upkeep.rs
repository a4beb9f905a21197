//! What time and crashes do to evaluations.

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

    /// After a start: what another life of this database was running is queued again at once. Only for a
    /// process that has the database to itself.
    pub async fn recover(&self) -> Result<()> {
        loop {
            let running = table::running(&mut *self.db.read().await?, BATCH).await?;
            let mut moved = 0;
            for stored in running {
                let mine = matches!(&stored.evaluation.state,
                    State::Running { worker, .. } if *worker == self.worker);
                if !mine {
                    tracing::warn!(evaluation = %stored.evaluation.name, "found running after a restart, run again");
                    self.apply(stored, Event::Lost).await?;
                    moved += 1;
                }
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

    async fn apply(&self, stored: Stored, event: Event) -> Result<()> {
        let mut tx = self.db.begin().await?;
        // Read again: it may have moved since it was listed.
        let mut stored = table::get(&mut tx, &stored.evaluation.name).await?;
        match self.advance(&mut tx, &mut stored, event).await? {
            Ok(()) => tx.commit().await,
            Err(_) => tx.rollback().await,
        }
    }
}
