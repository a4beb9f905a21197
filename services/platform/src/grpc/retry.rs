//! Contended storage: a unary call whose transaction lost against another one is made again.
//!
//! The handler's answer says that nothing happened (`STORAGE_CONTENDED`), so the same request can be handled
//! anew from a fresh read. The request is kept while it is handled, up to [`KEPT_BYTES_MAX`]; streams and
//! longer requests are never repeated. Attempts are bounded in number and by the deadline of the call.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::methods::Kind;
use super::{deadline, reply};

/// The reason of an answer that says: nothing happened, do it again.
const REASON: &str = "STORAGE_CONTENDED";
/// The largest message that a service takes (4 MiB) and its frame. What is longer is refused by it, and not kept.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024 + 1024;
/// The pause before the second attempt; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Makes a call again while its answer says that the storage was contended.
#[derive(Debug, Clone)]
pub(super) struct Retry<S> {
    inner: S,
    /// Attempts after the first.
    retries_max: u32,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, retries_max: u32) -> Self {
        Self { inner, retries_max }
    }
}

impl<S> Service<Request<Body>> for Retry<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.retries_max == 0 || !may_write(&request) {
            return Either::Left(self.inner.call(request));
        }
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        Either::Right(Box::pin(repeat(inner, request, self.retries_max)))
    }
}

/// Reads wait for nobody's lock, and are too many to be kept.
fn may_write(request: &Request<Body>) -> bool {
    let path = request.uri().path();
    let method = path.rsplit('/').next().unwrap_or_default();
    Kind::of_request(request) == Kind::Unary
        && !method.starts_with("Get")
        && !method.starts_with("List")
}

async fn repeat<S>(
    mut service: S,
    request: Request<Body>,
    retries_max: u32,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let (parts, body) = request.into_parts();
    let kept = match keep(body).await {
        Kept::Whole(bytes) => bytes,
        Kept::Not(body) => return service.call(Request::from_parts(parts, body)).await,
    };
    let mut pause = PAUSE_MIN;
    for attempt in 1..=retries_max {
        let body = Body::new(http_body_util::Full::new(kept.clone()));
        let response = service
            .call(Request::from_parts(parts.clone(), body))
            .await?;
        if !is_contended(&response) {
            return Ok(response);
        }
        let wait = pause.mul_f64(jitter());
        if deadline::remaining().is_some_and(|left| left <= wait) {
            return Ok(response);
        }
        tracing::debug!(
            attempt,
            path = parts.uri.path(),
            "storage was contended, doing it again"
        );
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let body = Body::new(http_body_util::Full::new(kept));
    service.call(Request::from_parts(parts, body)).await
}

enum Kept {
    Whole(Bytes),
    /// It was too long, broke off, or has trailers: the body as it was.
    Not(Body),
}

async fn keep(mut body: Body) -> Kept {
    let mut frames = Vec::new();
    let mut length = 0;
    loop {
        match body.frame().await {
            None => break,
            Some(Ok(frame)) if frame.is_data() => {
                length += frame.data_ref().map_or(0, Bytes::len);
                frames.push(Ok(frame));
                if length > KEPT_BYTES_MAX {
                    return Kept::Not(chain(frames, body));
                }
            }
            Some(other) => {
                frames.push(other);
                return Kept::Not(chain(frames, body));
            }
        }
    }
    let mut data = frames
        .into_iter()
        .flatten()
        .filter_map(|frame| frame.into_data().ok());
    let (Some(first), second) = (data.next(), data.next()) else {
        return Kept::Whole(Bytes::new());
    };
    match second {
        // Nearly always: one message came in one frame.
        None => Kept::Whole(first),
        Some(second) => {
            let mut whole = Vec::with_capacity(length);
            whole.extend_from_slice(&first);
            whole.extend_from_slice(&second);
            data.for_each(|more| whole.extend_from_slice(&more));
            Kept::Whole(whole.into())
        }
    }
}

/// A body of which some frames were taken already.
pub(super) fn chain(frames: Vec<Result<Frame<Bytes>, Status>>, rest: Body) -> Body {
    let begun = futures::stream::iter(frames);
    let rest = http_body_util::BodyStream::new(rest);
    Body::new(StreamBody::new(begun.chain(rest)))
}

/// A handler's refusal is in the headers of its answer, which has no body then.
fn is_contended(response: &Response<Body>) -> bool {
    reply::reason(response.headers()).as_deref() == Some(REASON)
}

/// 0.5 to 1.0, so that calls that met do not meet again.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8) >> 32;
    0.5 + f64::from(u32::try_from(random).unwrap_or_default()) / f64::from(u32::MAX) / 2.0
}
