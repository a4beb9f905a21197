//! Evaluations on request: queue, read, list, cancel, judge again.

use slipway_platform::filter::{FieldSpec, FieldType, Filter};
use slipway_platform::names::{EvaluationName, SuiteName, VersionName, WorkspaceName};
use slipway_platform::paging::Page;
use slipway_platform::{Error, Result, telemetry};

use super::retry::Retry;
use super::{Evaluator, rejected};
use crate::domain::evaluation::SuiteUsed;
use crate::domain::{Actor, Evaluation, Event, Judgement, Progress, State, Suite, judge};
use crate::store::evaluations::{self as table, Place, Stored};

/// What a listing can be filtered by; each is a column.
pub const FILTER_FIELDS: &[FieldSpec] = &[
    FieldSpec::new("version", FieldType::Text),
    FieldSpec::new("version_digest", FieldType::Text),
    FieldSpec::new("suite", FieldType::Text),
    FieldSpec::new(
        "state",
        FieldType::Word(&["QUEUED", "RUNNING", "COMPLETED"]),
    ),
    FieldSpec::new(
        "verdict",
        FieldType::Word(&["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]),
    ),
];

impl Evaluator {
    /// Queues an evaluation of `version` by `suite`, both of which must exist.
    pub async fn create_evaluation(
        &self,
        version: VersionName,
        suite: &SuiteName,
        retry: Retry,
    ) -> Result<Stored> {
        if let Some(first) = self.first_answer(&retry).await? {
            return Ok(first);
        }
        let suite = self.suite(suite).await?;
        let found = self.registry.version(&version.to_string()).await?;
        let found = found.ok_or_else(|| Error::not_found("version", &version))?;

        let mut tx = self.db.begin().await?;
        if let Some(first) = retry.replay(&mut tx).await? {
            return Ok(Stored {
                evaluation: first,
                generation: 1,
            });
        }
        let evaluation = self.queued(version, found.digest, suite, Actor::local_admin());
        let stored = table::insert(&mut tx, evaluation).await?;
        retry
            .record(&mut tx, &stored.evaluation, stored.evaluation.create_time)
            .await?;
        tx.commit().await?;
        Ok(stored)
    }

    async fn first_answer(&self, retry: &Retry) -> Result<Option<Stored>> {
        let mut tx = self.db.begin().await?;
        let first = retry.replay(&mut tx).await?;
        tx.rollback().await?;
        Ok(first.map(|evaluation| Stored {
            evaluation,
            generation: 1,
        }))
    }

    /// A new evaluation that waits for a worker, with the suite as it is now.
    pub(super) fn queued(
        &self,
        version: VersionName,
        version_digest: String,
        suite: Suite,
        requested_by: Actor,
    ) -> Evaluation {
        let now = self.clock.now();
        Evaluation {
            name: EvaluationName::generate(version.workspace()),
            version,
            version_digest,
            suite: Some(SuiteUsed {
                name: suite.name,
                revision: suite.revision,
                spec: suite.spec,
            }),
            requested_by,
            create_time: now,
            start_time: None,
            end_time: None,
            state: State::queued(now, &self.limits.of_states()),
            progress: Progress::default(),
            predictions_digest: None,
            measured: None,
            traceparent: telemetry::current_traceparent(),
        }
    }

    /// The evaluation of that name.
    pub async fn evaluation(&self, name: &EvaluationName) -> Result<Stored> {
        table::get(&mut *self.db.read().await?, name).await
    }

    /// A page of the evaluations of a workspace, newest first.
    pub async fn evaluations(
        &self,
        workspace: &WorkspaceName,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Stored>> {
        let after = page.after().map(Place::parse).transpose()?;
        let mut conn = self.db.read().await?;
        table::list(&mut conn, workspace, filter, after.as_ref(), page.limit()).await
    }

    /// Ends an evaluation that has not ended, as ERROR.
    pub async fn cancel_evaluation(&self, name: &EvaluationName, reason: String) -> Result<Stored> {
        let mut tx = self.db.begin().await?;
        let mut stored = table::get(&mut tx, name).await?;
        let cancel = Event::Cancel { reason };
        if let Err(why) = self.advance(&mut tx, &mut stored, cancel).await? {
            return Err(rejected(&stored.evaluation, why));
        }
        tx.commit().await?;
        Ok(stored)
    }

    /// Judges what is stored again: the verdict, its reasons, and whether both are the stored ones.
    pub async fn recompute(&self, name: &EvaluationName) -> Result<(Judgement, bool)> {
        let evaluation = self.evaluation(name).await?.evaluation;
        let Some((verdict, reasons)) = evaluation.outcome() else {
            return Err(Error::precondition(
                "EVALUATION_NOT_ENDED",
                name,
                "the evaluation has no verdict yet",
            ));
        };
        let (Some(measured), Some(suite)) = (&evaluation.measured, &evaluation.suite) else {
            return Err(Error::precondition(
                "NOTHING_MEASURED",
                name,
                "the evaluation ended before anything was measured, so there is nothing to judge",
            ));
        };
        let judgement = judge(&suite.spec, measured);
        let same = judgement.verdict == verdict && judgement.reasons == reasons;
        Ok((judgement, same))
    }
}
