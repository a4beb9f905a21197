//! Tasks that only the holder of a lease runs.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Nudge, Outcome, Tasks, task_span};
use crate::{Result, lease::Lease};

/// The pause before a loop that failed is made again, so that one that fails at once does not spin.
const RESTART_AFTER: Duration = Duration::from_secs(1);

impl Tasks {
    /// Like [`Tasks::every`] while `lease` is held: at once when it becomes held, then each `period` and at
    /// each nudge; not at all while another replica holds it. A run that was begun is finished.
    pub fn every_while<W, F>(
        &self,
        name: &'static str,
        lease: Lease,
        period: Duration,
        nudge: Nudge,
        mut work: W,
    ) where
        W: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        self.supervise(name, async move {
            loop {
                tokio::select! {
                    biased;
                    () = tasks.token.cancelled() => return Ok(()),
                    () = lease.held() => {}
                }
                tasks.report(name, |report| report.runs += 1);
                let span = task_span(name);
                let under = lease.work();
                let outcome = work().instrument(span).await;
                drop(under);
                tasks.note_run(name, outcome);
                tokio::select! {
                    biased;
                    () = tasks.token.cancelled() => return Ok(()),
                    () = lease.lost() => {}
                    () = tokio::time::sleep(period) => {}
                    () = nudge.nudged() => {}
                }
            }
        });
    }

    /// Runs the loop that `make` gives while `lease` is held, and makes it anew each time that the lease is
    /// held again. Its token is cancelled when the lease is lost and at the shutdown; it is awaited then, so
    /// it has to end soon. A loop that ends or fails while the lease is held is logged and made again after a second.
    pub fn spawn_while<M, F>(&self, name: &'static str, lease: Lease, mut make: M)
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future + Send + 'static,
        F::Output: Outcome + Send + 'static,
    {
        let tasks = self.clone();
        self.supervise(name, async move {
            loop {
                tokio::select! {
                    biased;
                    () = tasks.token.cancelled() => return Ok(()),
                    () = lease.held() => {}
                }
                tasks.report(name, |report| report.runs += 1);
                let under = lease.work();
                let token = tasks.token.child_token();
                let span = task_span(name);
                let mut running = std::pin::pin!(make(token.clone()).instrument(span));
                let ended = tokio::select! {
                    ended = &mut running => Some(ended),
                    () = lease.lost() => None,
                };
                token.cancel();
                let outcome = match ended {
                    Some(ended) => ended,
                    None => running.await,
                };
                drop(under);
                tasks.note_run(name, outcome.into_result());
                tokio::select! {
                    biased;
                    () = tasks.token.cancelled() => return Ok(()),
                    () = lease.lost() => {}
                    () = tokio::time::sleep(RESTART_AFTER) => {}
                }
            }
        });
    }
}
