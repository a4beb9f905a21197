//! The body of an answer, watched while it is sent.
//!
//! It holds the call's permit until the last byte, notes the gRPC code of the trailers, and ends a stream
//! with a status of its own when its deadline passes or the server stops, however much the stream has to say. An
//! answer that its client does not take is given up by [`Flows`](super::flows::Flows).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use super::flows::{Held, Place, State};
use super::methods::Kind;
use super::reply;
use crate::error::Error;

/// What ends a stream before it ends itself.
pub(super) struct Cut {
    pub(super) deadline: Option<Instant>,
    pub(super) stop: WaitForCancellationFutureOwned,
}

pub(super) struct Watched {
    place: Place,
    kind: Kind,
    deadline: Option<Pin<Box<Sleep>>>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ended: bool,
}

impl Watched {
    /// A unary answer is complete when it is begun, so only streams have a `cut`.
    pub(super) fn new(place: Place, kind: Kind, cut: Option<Cut>) -> Self {
        let (deadline, stop) = match cut {
            Some(cut) => (
                cut.deadline
                    .map(|at| Box::pin(tokio::time::sleep_until(at))),
                Some(Box::pin(cut.stop)),
            ),
            None => (None, None),
        };
        Self {
            place,
            kind,
            deadline,
            stop,
            ended: false,
        }
    }

    fn cut(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Some(Error::DeadlineExceeded {
                what: "the deadline of the stream".to_owned(),
            });
        }
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            return Some(Error::unavailable("the service is stopping"));
        }
        None
    }

    /// The last that is sent of an answer that is ended early.
    fn end(&mut self, error: Error) -> Option<Result<Frame<Bytes>, Status>> {
        self.ended = true;
        if self.kind == Kind::Http {
            // Without trailers only a broken connection tells the client that this was not all.
            return Some(Err(error.into()));
        }
        let trailers = reply::trailers(error);
        if let (Some(code), Some(held)) = (
            reply::code(&trailers),
            self.place.flow().state().held.as_ref(),
        ) {
            held.call.note(code);
        }
        Some(Ok(Frame::trailers(trailers)))
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut guard = self.place.flow().state();
        let State {
            held,
            untouched_since,
        } = &mut *guard;
        let Some(Held { body, call, .. }) = held else {
            drop(guard);
            let what = "the answer was given up, since nothing of it was taken".to_owned();
            return Poll::Ready(self.end(Error::DeadlineExceeded { what }));
        };
        let span = call.span().clone();
        match span.in_scope(|| hyper::body::Body::poll_frame(Pin::new(body), cx)) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(reply::code) {
                    call.note(code);
                }
                *untouched_since = Some(Instant::now());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => {
                drop(guard);
                self.ended = true;
                Poll::Ready(other)
            }
            Poll::Pending => {
                // It waits for the handler now, not for the client.
                *untouched_since = None;
                Poll::Pending
            }
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        // Before the stream is asked: one that always has something would never be cut.
        match this.cut(cx) {
            Some(error) => Poll::Ready(this.end(error)),
            None => this.next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.place.flow().state();
        self.ended
            || state
                .held
                .as_ref()
                .is_some_and(|held| held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.place.flow().state();
        state
            .held
            .as_ref()
            .map_or_else(SizeHint::default, |held| held.body.size_hint())
    }
}
