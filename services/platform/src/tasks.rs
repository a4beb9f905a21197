//! Background work under supervision: every spawned future has a name, hears the shutdown, and is missed
//! when it ends early.
//!
//! [`Tasks::spawn`] runs a long-lived future; [`Tasks::every`] runs a bounded piece of work on a period
//! and on a [`Nudge`], never twice at once. A panic or an end before the shutdown is logged as an error
//! and fails the [`Readiness`] of the service. [`Tasks::join`] stops them all and waits to a deadline.
//!
//! [`Tasks::every_while`] and [`Tasks::spawn_while`] do the same for as long as a lease is held.
//!
//! To keep the order "stop accepting, then cancel the loops", give [`Tasks::new`] a token of its own and
//! call [`Tasks::join`] once the server has returned.

mod leased;
mod nudge;
mod readiness;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use crate::error::{Error, Result};
use crate::telemetry;
pub use nudge::Nudge;
pub use readiness::{Dependencies, Dependency, EVENT_BUS, Readiness, STORAGE, State};

/// What a task has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How often the work was begun; 1 for a long-lived task.
    pub runs: u64,
    /// How often it failed.
    pub failures: u64,
    /// The last failure, if the last run failed.
    pub last_error: Option<String>,
    /// Whether the task has ended.
    pub ended: bool,
}

/// The background tasks of one service. Clones speak of the same tasks.
#[derive(Debug, Clone)]
pub struct Tasks {
    token: CancellationToken,
    tracker: TaskTracker,
    readiness: Readiness,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    reports: BTreeMap<&'static str, Report>,
    aborts: Vec<(&'static str, tokio::task::AbortHandle)>,
}

/// What a task's future may end with.
pub trait Outcome {
    /// The error, if it is one.
    fn into_result(self) -> Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl Outcome for Result<()> {
    fn into_result(self) -> Result<()> {
        self
    }
}

impl Tasks {
    /// No tasks yet; they end when `shutdown` is cancelled or at [`Tasks::join`], whichever is first.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            token: shutdown.child_token(),
            tracker: TaskTracker::new(),
            readiness: Readiness::new(),
            shared: Arc::default(),
        }
    }

    /// Cancelled when the tasks are to end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The readiness that a lost task fails. Give it to the gRPC server.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// What each task has done so far, by name.
    pub fn reports(&self) -> BTreeMap<&'static str, Report> {
        self.lock().reports.clone()
    }

    /// Runs `future`, which is to go on until the shutdown.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send + 'static,
    {
        self.report(name, |report| report.runs += 1);
        let span = task_span(name);
        self.supervise(
            name,
            async move { future.await.into_result() }.instrument(span),
        );
    }

    /// Does `work` at once, then each `period` and at each nudge, one run after the other.
    ///
    /// A nudge during a run makes one more run follow. An error is logged once and the next period
    /// tries again; there is no retry within a run. At the shutdown a run that was begun is finished, so
    /// it has to be bounded.
    pub fn every<W, F>(&self, name: &'static str, period: Duration, nudge: Nudge, mut work: W)
    where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        self.supervise(name, async move {
            loop {
                tasks.report(name, |report| report.runs += 1);
                let span = task_span(name);
                let outcome = work().instrument(span).await;
                tasks.note_run(name, outcome);
                tokio::select! {
                    biased;
                    () = tasks.token.cancelled() => return Ok(()),
                    () = tokio::time::sleep(period) => {}
                    () = nudge.nudged() => {}
                }
            }
        });
    }

    /// Cancels every task and waits until `deadline` has passed; what has not ended then is aborted.
    /// Gives the names of the aborted ones.
    pub async fn join(&self, deadline: Duration) -> Vec<&'static str> {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok()
        {
            return Vec::new();
        }
        let late: Vec<_> = self
            .lock()
            .aborts
            .iter()
            .filter(|(_, h)| !h.is_finished())
            .cloned()
            .collect();
        for (name, handle) in &late {
            tracing::warn!(
                task = name,
                ?deadline,
                "task did not end in time and is aborted"
            );
            handle.abort();
        }
        self.tracker.wait().await;
        late.into_iter().map(|(name, _)| name).collect()
    }

    fn supervise<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that spawns"
        )]
        let task = tokio::spawn(future);
        {
            let mut shared = self.lock();
            shared.reports.entry(name).or_default();
            shared.aborts.retain(|(_, handle)| !handle.is_finished());
            shared.aborts.push((name, task.abort_handle()));
        }
        let tasks = self.clone();
        self.tracker
            .spawn(async move { tasks.note_end(name, task.await) });
    }

    fn note_run(&self, name: &'static str, outcome: Result<()>) {
        let error = outcome.err();
        if let Some(error) = &error {
            let error = describe(error);
            tracing::warn!(
                task = name,
                error,
                "task run failed; the next period tries again"
            );
        }
        self.report(name, |report| {
            report.failures += u64::from(error.is_some());
            report.last_error = error.as_ref().map(describe);
        });
    }

    fn note_end(&self, name: &'static str, end: Result<Result<()>, tokio::task::JoinError>) {
        let planned = self.token.is_cancelled();
        let problem = match end {
            Ok(Ok(())) if planned => None,
            Ok(Ok(())) => Some("ended before the shutdown".to_owned()),
            Ok(Err(error)) => Some(describe(&error)),
            Err(error) if error.is_panic() => {
                Some(format!("panicked: {}", panic_text(error.into_panic())))
            }
            Err(_) => None,
        };
        self.report(name, |report| {
            report.ended = true;
            report.failures += u64::from(problem.is_some());
            report.last_error.clone_from(&problem);
        });
        if let Some(problem) = problem {
            tracing::error!(task = name, problem, "background task was lost");
            self.readiness.fail(format!("task {name} {problem}"));
        }
    }

    fn report(&self, name: &'static str, change: impl FnOnce(&mut Report)) {
        change(self.lock().reports.entry(name).or_default());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the task on its log lines. It is no span of a trace: a task has no end, and what it does for
/// somebody has a span with the context that was stored with it.
fn task_span(name: &'static str) -> Span {
    tracing::info_span!(target: telemetry::UNTRACED, "task", task = name)
}

fn describe(error: &Error) -> String {
    crate::error::chain(error)
}

/// What a panic said.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => other
            .downcast_ref::<&str>()
            .map_or_else(|| "unknown".to_owned(), |t| (*t).to_owned()),
    }
}

#[cfg(test)]
mod tests;
