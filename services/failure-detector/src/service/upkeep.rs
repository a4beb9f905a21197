//! What is done from time to time: silences that end, watches that rest, rows that are old enough to go.

use slipway_platform::{Result, clock::Timestamp};

use super::FailureDetector;
use crate::config::days;
use crate::metrics;
use crate::store;

/// Rows that one run removes at most from each table.
const COLLECT_MAX: i64 = 1_000;

impl FailureDetector {
    /// One round of what each replica does for itself.
    pub async fn upkeep(&self) -> Result<()> {
        self.rest_idle().await
    }

    /// One round of what one replica does for all.
    pub async fn upkeep_of_all(&self) -> Result<()> {
        self.tick_alerts().await?;
        let mut reader = self.db().read().await?;
        metrics::alerts_open(store::alerts::count_open(&mut reader).await?);
        Ok(())
    }

    /// Removes what is older than its retention.
    pub async fn collect(&self) -> Result<()> {
        let now = self.now();
        let retention = &self.config().retention;
        let before = |kept_days: u64| -> Timestamp { now - days(kept_days) };
        let mut tx = self.db().begin().await?;
        let removed = store::alerts::collect(&mut tx, before(retention.alerts_days), COLLECT_MAX)
            .await?
            + store::decisions::collect(&mut tx, before(retention.decisions_days), COLLECT_MAX)
                .await?
            + store::watches::collect(&mut tx, before(retention.watches_days), COLLECT_MAX).await?
            + store::judges::collect(&mut tx, before(retention.watches_days), COLLECT_MAX).await?
            + store::deliveries::collect(&mut tx, before(retention.deliveries_days), COLLECT_MAX)
                .await?;
        if removed == 0 {
            return tx.rollback().await;
        }
        tx.commit().await
    }
}
