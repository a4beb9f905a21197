//! An evaluation as it changes.

use futures::Stream;
use slipway_platform::names::EvaluationName;
use slipway_platform::{Error, Result};

use super::Evaluator;
use crate::store::evaluations::{self as table, Stored};

impl Evaluator {
    /// The evaluation now, on every change, and at its end, after which the stream ends. Changes that
    /// follow each other quickly may be seen as one.
    pub async fn watch(
        &self,
        name: EvaluationName,
    ) -> Result<impl Stream<Item = Result<Stored>> + Send + 'static> {
        let permit = self
            .watches
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::Exhausted {
                what: format!("{} watches are open", self.limits.watches_max),
            })?;
        // Subscribed before the first read, so that no change falls in between.
        let mut commits = self.db.commits();
        commits.mark_unchanged();
        let first = self.evaluation(&name).await?;
        let evaluator = self.clone();
        Ok(async_stream::try_stream! {
            let _permit = permit;
            let mut seen = first.generation;
            let mut ended = first.evaluation.outcome().is_some();
            yield first;
            while !ended {
                if commits.changed().await.is_err() {
                    break;
                }
                let generation = {
                    let mut conn = evaluator.db.read().await?;
                    table::generation(&mut conn, &name).await?
                };
                if generation == Some(seen) {
                    continue;
                }
                let stored = evaluator.evaluation(&name).await?;
                seen = stored.generation;
                ended = stored.evaluation.outcome().is_some();
                yield stored;
            }
        })
    }
}
