//! The client's half: a lazy connection that carries the trace context and the deadline of the call that
//! is being handled.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::Service;
use tracing::Instrument;

use super::balance::Balance;
use super::deadline;
use super::measure::Asked;
use super::methods::Kind;
use crate::error::{Error, Result};
use crate::telemetry;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A machine that is gone is noticed after both together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// A unary call for which nobody names a deadline waits this long for its answer.
const UNARY_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to another service, made at the first call and made anew when it is lost.
///
/// Cheap to clone; use it as `RegistryServiceClient::new(channel)`. Every call carries the current span's
/// `traceparent` and a `grpc-timeout`: what the request says, at most what is left of the call being
/// handled, and for unary calls 20 s when neither says anything.
#[derive(Debug, Clone)]
pub struct TracedChannel {
    inner: Inner,
}

#[derive(Debug, Clone)]
enum Inner {
    One(Channel),
    Several(Balance),
}

/// The addresses of a list with commas between them.
pub fn addresses(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// A lazy channel to an address such as `http://127.0.0.1:7401`, or to several replicas of one service with commas
/// between their addresses: calls go to each in turn, and from one that is away to the next. Must be called within
/// a tokio runtime.
pub fn channel(address: &str) -> Result<TracedChannel> {
    let mut channels = addresses(address).map(lazy).collect::<Result<Vec<_>>>()?;
    let inner = match channels.len() {
        1 => Inner::One(channels.swap_remove(0)),
        _ => Inner::Several(Balance::new(channels)),
    };
    Ok(TracedChannel { inner })
}

fn lazy(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Error::invalid("address", format!("{address:?} is not a URL: {error}")))?;
    let scheme = endpoint.uri().scheme_str();
    if scheme != Some("http") {
        return Err(Error::invalid(
            "address",
            format!("{address:?} must begin with http://"),
        ));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

impl Service<Request<Body>> for TracedChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.inner {
            Inner::One(channel) => channel.poll_ready(cx),
            Inner::Several(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let kind = Kind::of(request.uri().path(), Some("application/grpc"));
        let given = [deadline::read(request.headers()), deadline::remaining()]
            .into_iter()
            .flatten()
            .min();
        let timeout = given.or((kind == Kind::Unary).then_some(UNARY_TIMEOUT));
        if let Some(timeout) = timeout {
            request
                .headers_mut()
                .insert(deadline::GRPC_TIMEOUT, deadline::write(timeout));
        }
        let asked = Asked::begin(&request);
        let traceparent = asked.span().in_scope(telemetry::current_traceparent);
        if let Some(value) = traceparent.and_then(|text| HeaderValue::from_str(&text).ok()) {
            request.headers_mut().insert(telemetry::TRACEPARENT, value);
        }
        let span = asked.span().clone();
        let answer = match &mut self.inner {
            Inner::One(channel) => channel.call(request).left_future(),
            Inner::Several(replicas) => {
                let replicas = replicas.clone();
                async move { replicas.call(request).await }.right_future()
            }
        };
        Box::pin(async move {
            match answer.instrument(span).await {
                Ok(response) => Ok(asked.answered(response)),
                Err(error) => {
                    asked.failed();
                    Err(error)
                }
            }
        })
    }
}
