//! New versions: one queued evaluation for each suite that runs on the model.

use slipway_platform::Result;
use slipway_platform::db::Tx;
use slipway_platform::names::{EvaluationName, VersionName};
use slipway_platform::telemetry;

use super::{Evaluator, publish};
use crate::domain::reason::code;
use crate::domain::{Actor, Command, Evaluation, Progress, Reason, State};
use crate::store::evaluations as table;
use crate::store::suites;

/// Suites looked at for one version; a workspace has no more.
const SUITES_MAX: i64 = 1_000;

impl Evaluator {
    /// A version was created: queues its evaluations in `tx`. A version on whose model no suite runs gets
    /// an evaluation that is ERROR at once: nothing was shown, and people can see why.
    pub async fn version_created(
        &self,
        tx: &mut Tx,
        version: VersionName,
        digest: String,
    ) -> Result<()> {
        let all = suites::list(tx, version.workspace(), "", SUITES_MAX).await?;
        let matching: Vec<_> = all
            .into_iter()
            .filter(|suite| suite.spec.runs_on(version.model()))
            .collect();
        if matching.is_empty() {
            return self.without_suite(tx, version, digest).await;
        }
        for suite in matching {
            let actor = Actor::version_created();
            let evaluation = self.queued(version.clone(), digest.clone(), suite, actor);
            tracing::info!(evaluation = %evaluation.name, version = %version, "evaluation queued");
            table::insert(tx, evaluation).await?;
        }
        Ok(())
    }

    async fn without_suite(&self, tx: &mut Tx, version: VersionName, digest: String) -> Result<()> {
        let now = self.clock.now();
        let text = format!(
            "no suite of {} runs on {}, so the version was not evaluated",
            version.workspace(),
            version.model()
        );
        let evaluation = Evaluation {
            name: EvaluationName::generate(version.workspace()),
            version,
            version_digest: digest,
            suite: None,
            requested_by: Actor::version_created(),
            create_time: now,
            start_time: None,
            end_time: Some(now),
            state: State::error(vec![Reason::error(code::NO_SUITE, text)]),
            progress: Progress::default(),
            predictions_digest: None,
            measured: None,
            traceparent: telemetry::current_traceparent(),
        };
        let stored = table::insert(tx, evaluation).await?;
        publish(tx, now, Command::PublishCompleted, &stored.evaluation).await
    }
}
