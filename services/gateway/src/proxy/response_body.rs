//! An answer's body on its way to the client.
//!
//! It owns the upstream connection and the ticket of the access log: at the end of the answer the
//! connection goes back to its pool and the record is delivered; an error closes the connection and is
//! flagged as the upstream's; being dropped in the middle means that the client went away.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::BodyError;
use super::idle::IdleTimer;
use crate::access_log::{Details, Flag, Ticket};
use crate::upstream::Lease;

/// The body of an answer: the upstream's, or the gateway's own.
#[derive(Debug)]
pub enum ResponseBody {
    /// A short text of the gateway's own, until it is sent.
    Local(Option<Bytes>),
    /// The upstream's answer is passed on.
    Upstream(Box<UpstreamBody>),
}

/// An upstream's body.
#[derive(Debug)]
pub struct UpstreamBody {
    inner: Incoming,
    lease: Option<Lease>,
    ticket: Ticket,
    idle: IdleTimer,
    deadline: Deadline,
}

/// A point in time at which the exchange is over, whatever happens.
#[derive(Debug)]
struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// The gateway's own answer.
    pub fn local(text: Bytes) -> Self {
        Self::Local(Some(text).filter(|text| !text.is_empty()))
    }

    /// The upstream's answer on this connection, which may take until `deadline` and stand still for
    /// `idle_timeout`.
    pub fn upstream(
        inner: Incoming,
        lease: Lease,
        ticket: Ticket,
        deadline: Option<Instant>,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let mut body = UpstreamBody {
            inner,
            lease: Some(lease),
            ticket,
            idle: IdleTimer::new(idle_timeout),
            deadline: Deadline {
                at: deadline,
                sleep: None,
            },
        };
        if body.inner.is_end_stream() {
            body.finish();
        }
        Self::Upstream(Box::new(body))
    }
}

impl UpstreamBody {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(item) = Pin::new(&mut self.inner).poll_frame(context) else {
            return self.poll_timers(context);
        };
        self.idle.reset();
        match item {
            None => {
                self.finish();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.ticket.note(|record| record.response_bytes += length);
                if self.inner.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let failure = crate::chain(&error);
                let details = "upstream_reset_after_response_started{connection_termination}";
                self.fail(Flag::UpstreamConnectionTermination, details, failure);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn poll_timers(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (flag, details) = if self.deadline.poll(context).is_ready() {
            (Flag::UpstreamRequestTimeout, "upstream_response_timeout")
        } else if self.idle.poll_expired(context).is_ready() {
            (Flag::StreamIdleTimeout, "stream_idle_timeout")
        } else {
            return Poll::Pending;
        };
        self.fail(flag, details, String::new());
        Poll::Ready(Some(Err(details.into())))
    }

    fn finish(&mut self) {
        let request_complete = self
            .ticket
            .record()
            .is_some_and(|record| record.progress.is_complete());
        // An upstream that answered before it had the whole request may still be reading it.
        if let Some(lease) = self.lease.take()
            && request_complete
        {
            lease.give_back();
        }
        self.ticket.finish();
    }

    fn fail(&mut self, flag: Flag, details: &'static str, failure: String) {
        self.lease = None;
        self.ticket.note(|record| {
            record.flags.set(flag);
            record.details = Details::Borrowed(details);
            record.failure = failure;
        });
        self.ticket.finish();
    }
}

impl Deadline {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        self.sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)))
            .as_mut()
            .poll(context)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Local(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(body) => body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Local(text) => text.is_none(),
            Self::Upstream(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Local(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Upstream(body) => body.inner.size_hint(),
        }
    }
}
