//! Storing what the engine has reached: one transaction, then the watch may say it.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::{Error, Result, clock::Timestamp, db::Tx, events::outbox, names::AlertName};
use slipway_proto::event::v1::{AnomalyDetected, MonitorStarved};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use super::FailureDetector;
use super::cell::Cell;
use super::checkpoint::Changes;
use crate::domain::alert::{self, Actor, Alert, Event, State};
use crate::domain::logs::Problem;
use crate::domain::notification::Notification;
use crate::domain::subject::Subject;
use crate::domain::verdict::{self, Finding, Health, Inputs};
use crate::domain::watch::{Decision, WatchState};
use crate::metrics;
use crate::store::{self, decisions::StoredDecision};

/// What the engine asks for.
pub enum Work {
    /// A candidate is degraded.
    Decide {
        /// Where its watch is.
        cell: Arc<Cell>,
        /// What was judged.
        subject: Subject,
        /// What it rests on.
        inputs: Box<Inputs>,
    },
    /// The revision of a steady watch has recovered.
    Recover {
        /// Where its watch is.
        cell: Arc<Cell>,
        /// What was judged.
        subject: Subject,
    },
    /// A rollout cannot be measured.
    Starved {
        /// Where its watch is.
        cell: Arc<Cell>,
        /// What is to be judged.
        subject: Subject,
        /// Why it cannot.
        problem: Problem,
    },
}

/// The wait after a failed piece of work grows from the first to the second.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(5);

impl FailureDetector {
    /// Does the engine's work, one piece after the other, until the shutdown. A piece that fails is given back, and
    /// comes again at a later look, so that it holds up nobody else's.
    pub async fn work(
        self,
        mut todo: mpsc::Receiver<Work>,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let mut wait = RETRY_MIN;
        loop {
            let work = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                work = todo.recv() => match work {
                    Some(work) => work,
                    None => return Ok(()),
                },
            };
            let span = tracing::info_span!("decision", watch = %work.subject().key());
            let Err(error) = self.perform(&work).instrument(span.clone()).await else {
                wait = RETRY_MIN;
                continue;
            };
            span.in_scope(|| tracing::error!(%error, "decision is not stored, trying again"));
            work.give_back();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_MAX),
            }
        }
    }

    async fn perform(&self, work: &Work) -> Result<()> {
        match work {
            Work::Decide {
                cell,
                subject,
                inputs,
            } => self.decide(cell, subject, inputs).await,
            Work::Recover { cell, subject } => self.recover(cell, subject).await,
            Work::Starved {
                cell,
                subject,
                problem,
            } => self.starved(cell, subject, problem).await,
        }
    }

    async fn decide(&self, cell: &Arc<Cell>, subject: &Subject, inputs: &Inputs) -> Result<()> {
        let finding =
            verdict::judge(inputs).map_err(|error| Error::internal("judgement", error))?;
        if finding.health() != Health::Degraded {
            tracing::error!(
                code = finding.code.as_str(),
                "the inputs of a decision do not lead to it"
            );
            if let Some(watched) = cell.lock().find(&subject.key()) {
                watched.watch.dismiss();
                watched.deciding = false;
            }
            return Ok(());
        }
        let now = self.now();
        let id = Uuid::now_v7().to_string();
        let _saving = cell.saving().await;
        let mut tx = self.db().begin().await?;
        let (alert, first) = self
            .raise(&mut tx, subject, inputs, &finding, &id, now)
            .await?;
        let decision = Decision {
            id: id.clone(),
            alert: alert.name.to_string(),
            finding,
            time: now,
        };
        let stored = StoredDecision {
            subject: subject.clone(),
            inputs: inputs.clone(),
            decision,
        };
        store::decisions::insert(&mut tx, &stored).await?;
        let decision = stored.decision;
        let event = AnomalyDetected {
            decision_id: id.clone(),
            alert: decision.alert.clone(),
            endpoint: subject.endpoint.to_string(),
            revision: subject.candidate.to_string(),
            rollout: subject
                .rollout
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            code: decision.finding.code.as_str().to_owned(),
            text: decision.finding.text.clone(),
            time: Some(now.to_proto()),
        };
        // The event's id is the decision's, so that an inbox knows the two ways that it travels as one.
        let key = subject.endpoint.to_string();
        outbox::publish_with_id(&mut tx, now, &id, &key, &event.revision, &event).await?;
        if first {
            self.enqueue(
                &mut tx,
                &Notification::fired(&alert, now),
                Some(alert.name.environment()),
                now,
            )
            .await?;
        }
        let with_it = |state: &mut WatchState| state.decision = Some(decision.clone());
        if !self.commit(tx, cell, subject, with_it, now).await? {
            return Ok(());
        }
        if let Some(watched) = cell
            .lock()
            .find(&subject.key())
            .filter(|w| w.watch.subject() == subject)
        {
            watched.watch.decided(decision.clone());
            watched.deciding = false;
            watched.dirty = true;
        }
        metrics::decided(decision.finding.code);
        self.engine().settle(cell, self.now());
        self.inner.deliveries.notify();
        tracing::info!(
            decision = id, code = decision.finding.code.as_str(), candidate = %subject.candidate,
            text = decision.finding.text, "candidate is degraded"
        );
        Ok(())
    }

    /// Opens an alert, or counts into the one that is open; true if it was opened.
    async fn raise(
        &self,
        tx: &mut Tx,
        subject: &Subject,
        inputs: &Inputs,
        finding: &Finding,
        decision_id: &str,
        now: Timestamp,
    ) -> Result<(Alert, bool)> {
        if let Some(open) = store::alerts::open(tx, &subject.candidate, finding.code).await? {
            let step = alert::step(&open, Event::Seen, now)
                .map_err(|error| Error::internal("alert", error))?;
            return Ok((store::alerts::save(tx, step.next).await?, false));
        }
        let alert = Alert {
            name: AlertName::generate(&subject.endpoint),
            revision: subject.candidate.clone(),
            rollout: subject.rollout.clone(),
            code: finding.code,
            text: finding.text.clone(),
            state: State::Firing,
            count: 1,
            start: now,
            last: now,
            end: None,
            actor: Actor::detector(),
            comment: String::new(),
            decision_id: decision_id.to_owned(),
            numbers: finding.numbers,
            alphas: inputs.alphas,
            generation: 1,
        };
        store::alerts::insert(tx, &alert).await?;
        Ok((alert, true))
    }

    async fn recover(&self, cell: &Arc<Cell>, subject: &Subject) -> Result<()> {
        let now = self.now();
        let _saving = cell.saving().await;
        let mut tx = self.db().begin().await?;
        let reason = "the failure rate is shown to be below the limit again";
        self.resolve_open(&mut tx, &subject.candidate, reason, now)
            .await?;
        let without = |state: &mut WatchState| state.decision = None;
        if !self.commit(tx, cell, subject, without, now).await? {
            return Ok(());
        }
        if let Some(watched) = cell
            .lock()
            .find(&subject.key())
            .filter(|w| w.watch.subject() == subject)
        {
            watched.watch.clear_decision();
            watched.deciding = false;
            watched.dirty = true;
        }
        self.engine().settle(cell, now);
        self.inner.deliveries.notify();
        tracing::info!(revision = %subject.candidate, "revision has recovered");
        Ok(())
    }

    /// Writes the subject's watch, changed, into the transaction, with what else has changed of the endpoint, and
    /// commits. False, and nothing happened, when another replica judges the endpoint now.
    async fn commit(
        &self,
        mut tx: Tx,
        cell: &Arc<Cell>,
        subject: &Subject,
        change: impl FnOnce(&mut WatchState),
        now: Timestamp,
    ) -> Result<bool> {
        let changes = Changes::take_with(cell, subject, change);
        let committed = match self.write(&mut tx, cell, &changes, now).await {
            Ok(true) => tx.commit().await,
            Ok(false) => {
                self.leave(cell, "another replica judges it now");
                return tx.rollback().await.map(|()| false);
            }
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            changes.give_back(cell);
            return Err(error);
        }
        self.say_stored(cell, &changes);
        Ok(true)
    }

    async fn starved(&self, cell: &Arc<Cell>, subject: &Subject, problem: &Problem) -> Result<()> {
        if !cell.is_held() {
            return Ok(());
        }
        let now = self.now();
        let endpoint = cell.endpoint.to_string();
        let rollout = subject
            .rollout
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let event = MonitorStarved {
            endpoint: endpoint.clone(),
            rollout: rollout.clone(),
            code: problem.code.as_str().to_owned(),
            text: problem.text.clone(),
        };
        let mut tx = self.db().begin().await?;
        outbox::publish(&mut tx, now, &endpoint, &rollout, &event).await?;
        tx.commit().await?;
        tracing::warn!(
            code = problem.code.as_str(),
            text = problem.text,
            "rollout cannot be measured"
        );
        Ok(())
    }
}

impl Work {
    /// It was not done: the watch is to ask for it again.
    fn give_back(&self) {
        let (Work::Decide { cell, subject, .. }
        | Work::Recover { cell, subject }
        | Work::Starved { cell, subject, .. }) = self;
        let mut guard = cell.lock();
        let found = guard.find(&subject.key());
        let Some(watched) = found.filter(|watched| watched.watch.subject() == subject) else {
            return;
        };
        match self {
            Work::Decide { .. } | Work::Recover { .. } => watched.deciding = false,
            Work::Starved { .. } => watched.starving_untold(),
        }
    }

    fn subject(&self) -> &Subject {
        match self {
            Work::Decide { subject, .. }
            | Work::Recover { subject, .. }
            | Work::Starved { subject, .. } => subject,
        }
    }
}
