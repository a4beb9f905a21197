//! What every request passes before it reaches a service: its span, the limits on how many are worked on
//! at once, its deadline, and the stop of the server.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::body::{Cut, Watched};
use super::config::GrpcConfig;
use super::flows::{Flows, Held};
use super::measure::{self, Rpc};
use super::methods::Kind;
use super::{deadline, reply};
use crate::error::Error;
use crate::telemetry;

/// The two moments of a stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    /// Nothing new is taken, and streams without an end are ended.
    pub(super) begun: CancellationToken,
    /// What has not finished by now is given up.
    pub(super) over: CancellationToken,
}

impl Stop {
    fn of(&self, kind: Kind) -> CancellationToken {
        match kind {
            Kind::Watch | Kind::Probe => self.begun.clone(),
            Kind::Unary | Kind::Transfer | Kind::Http => self.over.clone(),
        }
    }
}

/// Puts the guard before a service.
#[derive(Clone)]
pub(super) struct GuardLayer(Arc<Limits>);

struct Limits {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    flows: Arc<Flows>,
    config: GrpcConfig,
    stop: Stop,
}

impl GuardLayer {
    pub(super) fn new(config: GrpcConfig, stop: Stop) -> Self {
        Self(Arc::new(Limits {
            requests: Arc::new(Semaphore::new(config.requests_max)),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            flows: Flows::new(config.answer_idle()),
            config,
            stop,
        }))
    }
}

impl GuardLayer {
    /// Gives up answers that nobody takes, for as long as it is polled.
    pub(super) async fn look_after(&self) {
        self.0.flows.look_after().await;
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            limits: self.0.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Guard<S> {
    inner: S,
    limits: Arc<Limits>,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(&request);
        let limits = self.limits.clone();
        let kind = call.kind();
        let permit = limits.requests.clone().try_acquire_owned();
        let stream = limits.streams.clone().try_acquire_owned();
        let (permit, stream) = match (permit, stream) {
            (Ok(permit), Ok(stream)) => (Some(permit), stream),
            // A probe may use up streams but never waits behind work.
            (Err(_), Ok(stream)) if kind == Kind::Probe => (None, stream),
            _ => {
                let refused = reply::refuse(
                    kind,
                    Error::Exhausted {
                        what: "requests worked on at once".to_owned(),
                    },
                );
                call.note(Code::ResourceExhausted);
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let due = limits.deadline(kind, &request);
        // The clone is kept and the polled one is used: readiness belongs to the one that was polled.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let work = deadline::scope(due, inner.call(request)).instrument(call.span().clone());
            let stop = limits.stop.of(kind);
            let response = tokio::select! {
                biased;
                response = work => response?,
                () = until(due) => {
                    let error = Error::DeadlineExceeded { what: call.path().to_owned() };
                    reply::refuse(kind, error)
                }
                () = stop.cancelled() => reply::refuse(kind, given_up(kind, &call)),
            };
            drop(permit);
            let (parts, body) = response.into_parts();
            if let Some(code) = reply::code(&parts.headers) {
                call.note(code);
            }
            let flow = limits.flows.enter(Held {
                body,
                call,
                _permit: stream,
            });
            let cut = match kind {
                Kind::Unary => None,
                _ => Some(Cut {
                    deadline: due,
                    stop: stop.cancelled_owned(),
                }),
            };
            Ok(Response::from_parts(
                parts,
                Body::new(Watched::new(flow, kind, cut)),
            ))
        })
    }
}

impl Limits {
    /// The caller's deadline, and for unary calls at most the server's own.
    fn deadline(&self, kind: Kind, request: &Request<Body>) -> Option<Instant> {
        let asked = deadline::read(request.headers());
        let limit = match kind {
            Kind::Unary => Some(asked.map_or(self.config.unary_deadline(), |a| {
                a.min(self.config.unary_deadline())
            })),
            _ => asked,
        }?;
        // A little before the caller's: the transport would end the call without a typed status.
        let early = (limit / 20).min(std::time::Duration::from_millis(2));
        Instant::now().checked_add(limit - early)
    }
}

/// What to say of a call that the stop ended before its answer. A stream had no effect that its client
/// does not know of; anything else may have had its effect already.
fn given_up(kind: Kind, call: &Call) -> Error {
    match kind {
        Kind::Watch | Kind::Probe => Error::unavailable("the service is stopping"),
        Kind::Unary | Kind::Transfer | Kind::Http => Error::OutcomeUnknown {
            what: format!("{} was given up when the service stopped", call.path()),
        },
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// One call, from its first byte to its last: its span, its measures, and one line of log at the end.
pub(super) struct Call {
    span: Span,
    path: String,
    kind: Kind,
    rpc: Option<Rpc>,
    begun: Instant,
    code: std::sync::atomic::AtomicI32,
}

/// No code was seen: the answer was not sent to its end.
const NO_CODE: i32 = -1;

impl Call {
    fn begin(request: &Request<Body>) -> Self {
        let path = request.uri().path().to_owned();
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let kind = Kind::of(&path, header("content-type"));
        let rpc = (kind != Kind::Http).then(|| Rpc::of(&path));
        let span = span(kind, rpc, request);
        telemetry::set_parent(&span, header(telemetry::TRACEPARENT));
        if let Some(rpc) = rpc {
            measure::begun(rpc);
        }
        Self {
            span,
            path,
            kind,
            rpc,
            begun: Instant::now(),
            code: std::sync::atomic::AtomicI32::new(NO_CODE),
        }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Notes the code that the call ended with.
    pub(super) fn note(&self, code: Code) {
        self.code
            .store(code as i32, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Probes and plain HTTP, scrapes among them, come all the time and are only of interest to who debugs.
fn span(kind: Kind, rpc: Option<Rpc>, request: &Request<Body>) -> Span {
    let Some(rpc) = rpc else {
        return tracing::debug_span!(
            "http",
            otel.kind = "server",
            http.request.method = %request.method(),
            url.path = request.uri().path(),
        );
    };
    macro_rules! rpc_span {
        ($span:ident) => {
            tracing::$span!(
                "rpc",
                otel.name = format_args!("{}/{}", rpc.service, rpc.method),
                otel.kind = "server",
                otel.status_code = tracing::field::Empty,
                rpc.system = "grpc",
                rpc.service = rpc.service,
                rpc.method = rpc.method,
                rpc.grpc.status_code = tracing::field::Empty,
            )
        };
    }
    match kind {
        Kind::Probe => rpc_span!(debug_span),
        _ => rpc_span!(info_span),
    }
}

/// Whether the fault is the server's, by the conventions for RPC spans.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Some(rpc) = self.rpc else {
            return self
                .span
                .in_scope(|| tracing::debug!(duration_us, "request ended"));
        };
        let code = match *self.code.get_mut() {
            NO_CODE => Code::Cancelled,
            code => Code::from_i32(code),
        };
        self.span.record(measure::STATUS_CODE, code as i32);
        if is_fault(code) {
            self.span.record("otel.status_code", "ERROR");
        }
        measure::served(rpc, code, took);
        self.span
            .in_scope(|| tracing::debug!(?code, duration_us, "call ended"));
    }
}
