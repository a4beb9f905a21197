//! Performs one evaluation: claim it, find what to read, have it read and measured ([`super::reading`]),
//! judge, and settle. Whatever happens, the evaluation is settled by one event of its state machine.

use slipway_platform::{Result, telemetry};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Evaluator;
use super::registry::{ArtifactFacts, VersionFacts};
use crate::domain::evaluation::SuiteUsed;
use crate::domain::reason::code;
use crate::domain::{Baseline, Evaluation, Event, Measured, Reason, SuiteSpec, Verdict, judge};
use crate::metrics;
use crate::store::evaluations::{self as table, Stored};

/// How one run ended.
pub(super) enum Outcome {
    /// Measured; the judgement follows from it.
    Measured(Box<Measured>),
    /// It cannot be measured.
    Unmeasurable(Reason),
    /// Something cannot be reached now.
    Postponed(String),
    /// This process is stopping.
    Stopped,
    /// Somebody else ended it meanwhile.
    Overtaken,
}

/// Everything that is read, found in the registry before reading begins.
pub(super) struct Plan {
    /// The version's own predictions.
    pub predictions: ArtifactFacts,
    /// What the version is compared with.
    pub baseline: Baseline,
    /// Its predictions.
    pub baseline_predictions: Option<ArtifactFacts>,
}

impl Evaluator {
    /// Performs the evaluation that waits longest; false when none waits.
    pub async fn run_next(&self, shutdown: &CancellationToken) -> Result<bool> {
        let Some(stored) = self.claim().await? else {
            return Ok(false);
        };
        let span = tracing::info_span!("evaluation", name = %stored.evaluation.name, version = %stored.evaluation.version);
        telemetry::set_parent(&span, stored.evaluation.traceparent.as_deref());
        self.run_claimed(stored, shutdown).instrument(span).await?;
        Ok(true)
    }

    async fn claim(&self) -> Result<Option<Stored>> {
        let mut tx = self.db.begin().await?;
        let Some(mut stored) = table::next_queued(&mut tx, self.clock.now()).await? else {
            tx.rollback().await?;
            return Ok(None);
        };
        let start = Event::Start {
            worker: self.worker.clone(),
        };
        if self.advance(&mut tx, &mut stored, start).await?.is_err() {
            tx.rollback().await?;
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(stored))
    }

    async fn run_claimed(&self, mut stored: Stored, shutdown: &CancellationToken) -> Result<()> {
        let Some(suite) = stored.evaluation.suite.clone() else {
            let reason = Reason::error(code::NO_SUITE, "the evaluation names no suite");
            return self.settle(stored, Outcome::Unmeasurable(reason)).await;
        };
        let planned = tokio::select! {
            () = shutdown.cancelled() => Err(Outcome::Stopped),
            planned = self.plan(&stored.evaluation, &suite) => planned,
        };
        let outcome = match planned {
            Ok(plan) => self.read(&mut stored, &suite.spec, plan, shutdown).await,
            Err(outcome) => outcome,
        };
        self.settle(stored, outcome).await
    }

    /// Finds the artifacts to read.
    async fn plan(&self, evaluation: &Evaluation, suite: &SuiteUsed) -> Result<Plan, Outcome> {
        let role = &suite.spec.predictions.role;
        let name = evaluation.version.to_string();
        let version = self.look_up(&name).await?.ok_or_else(|| {
            unmeasurable(
                code::VERSION_NOT_FOUND,
                format!("the registry has no {name}"),
            )
        })?;
        if version.digest != evaluation.version_digest {
            return Err(unmeasurable(
                code::VERSION_DIGEST_MISMATCH,
                format!(
                    "the registry says digest {} for {name}, and {} was to be evaluated",
                    version.digest, evaluation.version_digest
                ),
            ));
        }
        let predictions = artifact(version, role).ok_or_else(|| {
            let text = format!(
                "{name} has no artifact with the role `{role}`, so there is nothing to evaluate"
            );
            unmeasurable(code::NO_PREDICTIONS, text)
        })?;
        let (baseline, baseline_predictions) = self.baseline(evaluation, &suite.spec).await?;
        Ok(Plan {
            predictions,
            baseline,
            baseline_predictions,
        })
    }

    /// What the version is compared with, and its predictions.
    async fn baseline(
        &self,
        evaluation: &Evaluation,
        spec: &SuiteSpec,
    ) -> Result<(Baseline, Option<ArtifactFacts>), Outcome> {
        if !spec.compares() {
            return Ok((Baseline::NotAsked, None));
        }
        let alias = format!(
            "{}/aliases/{}",
            evaluation.version.model(),
            spec.baseline_alias
        );
        let Some(version) = self.look_up(&alias).await? else {
            return Ok((Baseline::Missing { alias }, None));
        };
        if version.name == evaluation.version.to_string() {
            return Ok((Baseline::Itself { alias }, None));
        }
        let (name, digest) = (version.name.clone(), version.digest.clone());
        let role = &spec.predictions.role;
        let predictions = artifact(version, role).ok_or_else(|| {
            let text =
                format!("{name}, to which {alias} points, has no artifact with the role `{role}`");
            unmeasurable(code::BASELINE_HAS_NO_PREDICTIONS, text)
        })?;
        let baseline = Baseline::Version {
            name,
            digest,
            predictions_digest: predictions.digest.clone(),
        };
        Ok((baseline, Some(predictions)))
    }

    async fn look_up(&self, name: &str) -> Result<Option<VersionFacts>, Outcome> {
        self.registry.version(name).await.map_err(|error| {
            if error.is_permanent() {
                unmeasurable(
                    code::REGISTRY_ANSWER,
                    format!("the registry refuses {name}: {error}"),
                )
            } else {
                Outcome::Postponed(format!("the registry's {name}: {error}"))
            }
        })
    }

    /// Brings the outcome into the database, with its events.
    async fn settle(&self, run: Stored, outcome: Outcome) -> Result<()> {
        let worker = self.worker.clone();
        let spec = run.evaluation.suite.as_ref().map(|used| &used.spec);
        let finish = |verdict, reasons| Event::Finish {
            worker: worker.clone(),
            verdict,
            reasons,
            valid_for: spec.map(|spec| spec.valid_for).unwrap_or_default(),
        };
        let (event, measured) = match (outcome, spec) {
            (Outcome::Measured(measured), Some(spec)) => {
                let judgement = judge(spec, &measured);
                (
                    finish(judgement.verdict, judgement.reasons),
                    Some(*measured),
                )
            }
            (Outcome::Measured(_), None) => return Ok(()),
            (Outcome::Unmeasurable(reason), _) => (finish(Verdict::Error, vec![reason]), None),
            (Outcome::Postponed(waiting_for), _) => {
                tracing::warn!(waiting_for, "evaluation postponed");
                (
                    Event::Postpone {
                        worker,
                        waiting_for,
                    },
                    None,
                )
            }
            (Outcome::Stopped, _) => (Event::Release { worker }, None),
            (Outcome::Overtaken, _) => return Ok(()),
        };
        let mut tx = self.db.begin().await?;
        let mut stored = table::get(&mut tx, &run.evaluation.name).await?;
        stored.evaluation.predictions_digest = run.evaluation.predictions_digest;
        stored.evaluation.progress = run.evaluation.progress;
        if let Some(measured) = &measured {
            stored.evaluation.progress.rows_read = measured.rows;
            stored.evaluation.progress.bytes_read = stored.evaluation.progress.bytes_total;
        }
        stored.evaluation.measured = measured;
        match self.advance(&mut tx, &mut stored, event).await? {
            Ok(()) => {
                tx.commit().await?;
                if let Some((verdict, _)) = stored.evaluation.outcome() {
                    let after = self.clock.now().since(stored.evaluation.create_time);
                    metrics::ended(verdict, after, stored.evaluation.progress.rows_read);
                }
                Ok(())
            }
            // Cancelled, overdue or lost meanwhile: what was found does not count.
            Err(_) => tx.rollback().await,
        }
    }
}

/// It cannot be measured, for this reason.
pub(super) fn unmeasurable(code: &str, text: String) -> Outcome {
    Outcome::Unmeasurable(Reason::error(code, text))
}

fn artifact(version: VersionFacts, role: &str) -> Option<ArtifactFacts> {
    version
        .artifacts
        .into_iter()
        .find(|artifact| artifact.role == role)
}
