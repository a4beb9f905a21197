//! The client's half: a lazy connection that carries the trace context and the deadline of the call that
//! is being handled.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::deadline;
use super::methods::Kind;
use crate::error::{Error, Result};
use crate::telemetry;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A unary call for which nobody names a deadline waits this long for its answer.
const UNARY_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to another service, made at the first call and made anew when it is lost.
///
/// Cheap to clone; use it as `RegistryServiceClient::new(channel)`. Every call carries the current span's
/// `traceparent` and a `grpc-timeout`: what the request says, at most what is left of the call being
/// handled, and for unary calls 20 s when neither says anything.
#[derive(Debug, Clone)]
pub struct TracedChannel {
    inner: Channel,
}

/// A lazy channel to an address such as `http://127.0.0.1:7401`. Must be called within a tokio runtime.
pub fn channel(address: &str) -> Result<TracedChannel> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Error::invalid("address", format!("{address:?} is not a URL: {error}")))?;
    let scheme = endpoint.uri().scheme_str();
    if scheme != Some("http") {
        return Err(Error::invalid(
            "address",
            format!("{address:?} must begin with http://"),
        ));
    }
    let inner = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .tcp_nodelay(true)
        .connect_lazy();
    Ok(TracedChannel { inner })
}

impl Service<Request<Body>> for TracedChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let kind = Kind::of(request.uri().path(), Some("application/grpc"));
        let given = [deadline::read(request.headers()), deadline::remaining()]
            .into_iter()
            .flatten()
            .min();
        let timeout = given.or((kind == Kind::Unary).then_some(UNARY_TIMEOUT));
        let headers = request.headers_mut();
        if let Some(timeout) = timeout {
            headers.insert(deadline::GRPC_TIMEOUT, deadline::write(timeout));
        }
        let traceparent = telemetry::current_traceparent();
        if let Some(value) = traceparent.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(telemetry::TRACEPARENT, value);
        }
        self.inner.call(request)
    }
}
