//! The use cases: load, decide, save, each in one transaction with its events.
//!
//! [`Evaluator`] holds what they need. Requests: [`suites`], [`evaluations`], [`watch`]. What happens by
//! itself: [`intake`] queues evaluations of new versions, [`run`] performs them, [`upkeep`] ends what is
//! overdue and picks up what a crash left.

pub mod evaluations;
pub mod intake;
mod reading;
pub mod registry;
pub mod retry;
pub mod run;
pub mod suites;
pub mod upkeep;
pub mod watch;

use std::sync::Arc;

use slipway_platform::clock::{SharedClock, Timestamp};
use slipway_platform::db::{Db, Tx};
use slipway_platform::events::outbox;
use slipway_platform::lease::Leases;
use slipway_platform::{Error, Result};
use slipway_proto::event::v1 as event;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::domain::evaluation::SuiteUsed;
use crate::domain::state::{self, Rejected};
use crate::domain::{Command, Evaluation, Event, Verdict};
use crate::store::evaluations::{self as table, Stored};
use registry::Registry;

/// Reasons that one event carries.
const EVENT_REASONS_MAX: usize = 50;

/// The evaluator's use cases. Clones share everything.
#[derive(Clone)]
pub struct Evaluator {
    db: Db,
    registry: Registry,
    clock: SharedClock,
    limits: Limits,
    /// Who is alive of the replicas; this one's id is its name as the worker of evaluations.
    leases: Leases,
    worker: String,
    watches: Arc<Semaphore>,
}

impl Evaluator {
    /// Over `db`, with the registry as a peer.
    pub fn new(
        db: Db,
        registry: Registry,
        leases: Leases,
        clock: SharedClock,
        limits: Limits,
    ) -> Self {
        Self {
            db,
            registry,
            clock,
            worker: leases.instance().id.clone(),
            leases,
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            limits,
        }
    }

    /// Its database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The clock that it goes by.
    pub fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    /// Steps an evaluation, saves it, and publishes what the step says, all in `tx`. The inner error is
    /// that the event does not fit the state; then nothing is written.
    async fn advance(
        &self,
        tx: &mut Tx,
        stored: &mut Stored,
        event: Event,
    ) -> Result<Result<(), Rejected>> {
        let now = self.clock.now();
        let evaluation = &mut stored.evaluation;
        let from = evaluation.state.name();
        let step = match state::step(&evaluation.state, event, now, &self.limits.of_states()) {
            Ok(step) => step,
            Err(rejected) => return Ok(Err(rejected)),
        };
        evaluation.state = step.next;
        for command in &step.commands {
            match command {
                Command::PublishStarted => evaluation.start_time = Some(now),
                Command::PublishCompleted => evaluation.end_time = Some(now),
            }
        }
        table::save(tx, stored).await?;
        let to = stored.evaluation.state.name();
        if from != to {
            tracing::info!(evaluation = %stored.evaluation.name, from, to, "evaluation moved");
        }
        for command in step.commands {
            publish(tx, now, command, &stored.evaluation).await?;
        }
        Ok(Ok(()))
    }
}

/// Publishes what `command` asks for.
async fn publish(
    tx: &mut Tx,
    now: Timestamp,
    command: Command,
    evaluation: &Evaluation,
) -> Result<()> {
    let key = evaluation.version.model().to_string();
    let subject = evaluation.name.to_string();
    match command {
        Command::PublishStarted => {
            let data = event::EvaluationStarted {
                evaluation: subject.clone(),
                version: evaluation.version.to_string(),
                version_digest: evaluation.version_digest.clone(),
                suite: suite_name(evaluation.suite.as_ref()),
            };
            outbox::publish(tx, now, &key, &subject, &data).await?;
        }
        Command::PublishCompleted => {
            outbox::publish(tx, now, &key, &subject, &completed(evaluation)).await?;
        }
    }
    Ok(())
}

fn completed(evaluation: &Evaluation) -> event::EvaluationCompleted {
    use slipway_proto::common::v1::Verdict as Wire;
    let (verdict, reasons, valid_until) = match &evaluation.state {
        state::State::Completed {
            verdict,
            reasons,
            valid_until,
        } => (Some(*verdict), reasons.as_slice(), *valid_until),
        state::State::Queued { .. } | state::State::Running { .. } => (None, [].as_slice(), None),
    };
    let verdict = match verdict {
        Some(Verdict::Pass) => Wire::Pass,
        Some(Verdict::Fail) => Wire::Fail,
        Some(Verdict::Inconclusive) => Wire::Inconclusive,
        Some(Verdict::Error) => Wire::Error,
        None => Wire::Unspecified,
    };
    let texts = reasons
        .iter()
        .take(EVENT_REASONS_MAX)
        .map(|reason| reason.text.clone());
    event::EvaluationCompleted {
        evaluation: evaluation.name.to_string(),
        version: evaluation.version.to_string(),
        version_digest: evaluation.version_digest.clone(),
        suite: suite_name(evaluation.suite.as_ref()),
        verdict: verdict.into(),
        reasons: texts.collect(),
        valid_until: valid_until.map(Timestamp::to_proto),
        measured: false,
    }
}

fn suite_name(suite: Option<&SuiteUsed>) -> String {
    suite.map(|used| used.name.to_string()).unwrap_or_default()
}

/// The answer to a request whose event does not fit the state.
fn rejected(evaluation: &Evaluation, why: Rejected) -> Error {
    let reason = match why {
        Rejected::Ended => "EVALUATION_ENDED",
        Rejected::Running | Rejected::NotYours | Rejected::NotDue => "EVALUATION_BUSY",
    };
    Error::precondition(reason, &evaluation.name, why.to_string())
}
