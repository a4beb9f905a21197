//! The body of an answer, watched while it is sent.
//!
//! It holds the call's permit until the last byte, notes the gRPC code of the trailers, and ends a stream
//! with a status of its own when its deadline passes or the server stops.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;

use super::guard::Call;
use super::methods::Kind;
use super::reply;
use crate::error::Error;

/// What ends a stream before it ends itself.
pub(super) struct Cut {
    pub(super) deadline: Option<Instant>,
    pub(super) stop: WaitForCancellationFutureOwned,
}

pub(super) struct Watched {
    inner: Body,
    call: Call,
    deadline: Option<Pin<Box<Sleep>>>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watched {
    /// A unary answer is complete when it is begun, so only streams have a `cut`.
    pub(super) fn new(
        inner: Body,
        call: Call,
        permit: OwnedSemaphorePermit,
        cut: Option<Cut>,
    ) -> Self {
        let (deadline, stop) = match cut {
            Some(cut) => (
                cut.deadline
                    .map(|at| Box::pin(tokio::time::sleep_until(at))),
                Some(Box::pin(cut.stop)),
            ),
            None => (None, None),
        };
        Self {
            inner,
            call,
            deadline,
            stop,
            ended: false,
            _permit: permit,
        }
    }

    fn cut(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Some(Error::DeadlineExceeded {
                what: self.call.path().to_owned(),
            });
        }
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            return Some(Error::unavailable("the service is stopping"));
        }
        None
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let span = this.call.span().clone();
        let polled = span.in_scope(|| Pin::new(&mut this.inner).poll_frame(cx));
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(reply::code) {
                    this.call.note(code);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => {
                this.ended = true;
                Poll::Ready(other)
            }
            Poll::Pending => match this.cut(cx) {
                None => Poll::Pending,
                Some(error) => {
                    this.ended = true;
                    if this.call.kind() == Kind::Http {
                        // Without trailers only a broken connection tells the client that this was not all.
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    let trailers = reply::trailers(error);
                    if let Some(code) = reply::code(&trailers) {
                        this.call.note(code);
                    }
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
