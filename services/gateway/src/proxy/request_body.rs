//! A request's body on its way upstream, and how far it came.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::Notify;

use super::BodyError;
use super::idle::IdleTimer;

/// How far a request's body came; shared by the body, the handler and the record.
#[derive(Debug, Default)]
pub struct RequestProgress {
    bytes: AtomicU64,
    completed: OnceLock<Instant>,
    client_failed: AtomicBool,
    stalled: AtomicBool,
    changed: Notify,
}

impl RequestProgress {
    /// Bytes of the body that went by.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the whole request was received.
    pub fn is_complete(&self) -> bool {
        self.completed.get().is_some()
    }

    /// The time from `start` until the whole request was received, if it was.
    pub fn completed_after(&self, start: Instant) -> Option<Duration> {
        self.completed
            .get()
            .map(|at| at.saturating_duration_since(start))
    }

    /// When an exchange that may take `timeout` from the end of the request is over. While the request
    /// still goes on, the time runs from now.
    pub fn deadline(&self, timeout: Duration) -> Instant {
        self.completed.get().copied().unwrap_or_else(Instant::now) + timeout
    }

    /// Whether the client broke off in the middle of the body.
    pub fn client_failed(&self) -> bool {
        self.client_failed.load(Ordering::Acquire)
    }

    /// Whether the client sent nothing for the idle timeout in the middle of the body.
    pub fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Waits until the whole request was received. For one waiter.
    pub async fn complete(&self) {
        while !self.is_complete() {
            self.changed.notified().await;
        }
    }

    fn note_complete(&self) {
        if self.completed.set(Instant::now()).is_ok() {
            self.changed.notify_one();
        }
    }
}

/// A request's body, passed on frame by frame.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    progress: Arc<RequestProgress>,
    idle: IdleTimer,
}

impl RequestBody {
    /// The body that the client sends, with its progress.
    pub fn new(inner: Incoming, idle_timeout: Option<Duration>) -> (Self, Arc<RequestProgress>) {
        let progress = Arc::<RequestProgress>::default();
        if inner.is_end_stream() {
            progress.note_complete();
        }
        (
            Self {
                inner,
                progress: progress.clone(),
                idle: IdleTimer::new(idle_timeout),
            },
            progress,
        )
    }

    /// Changes the longest time that the client may send nothing.
    pub fn set_idle_timeout(&mut self, idle_timeout: Option<Duration>) {
        self.idle = IdleTimer::new(idle_timeout);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(item) = Pin::new(&mut this.inner).poll_frame(context) else {
            ready!(this.idle.poll_expired(context));
            this.progress.stalled.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(
                "the client sent nothing for the idle timeout".into()
            )));
        };
        this.idle.reset();
        match item {
            None => {
                this.progress.note_complete();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.progress
                    .bytes
                    .fetch_add(length as u64, Ordering::Relaxed);
                if this.inner.is_end_stream() {
                    this.progress.note_complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.progress.client_failed.store(true, Ordering::Release);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_runs_from_the_end_of_the_request_and_not_from_the_head_of_the_answer() {
        let progress = RequestProgress::default();
        let timeout = Duration::from_secs(15);
        let before = Instant::now();
        assert!(
            progress.deadline(timeout) >= before + timeout,
            "not complete yet"
        );
        progress.note_complete();
        let completed = *progress.completed.get().unwrap();
        assert_eq!(progress.deadline(timeout), completed + timeout);
    }
}
