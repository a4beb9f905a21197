//! What is measured of RPCs, on both ends: how long they took, by method and status, and how many run.
//!
//! Rate and errors follow from the count of the duration's histogram. The names of service and method are
//! those of the descriptors; whatever else a caller asks for is counted as `_OTHER`, so that nobody can make
//! series at will.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, UpDownCounter};
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tracing::Span;

use super::{methods, reply};
use crate::metrics;

/// The span attribute for the code that a call ended with.
pub(super) const STATUS_CODE: &str = "rpc.grpc.status_code";

/// A method by its names, which live as long as the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rpc {
    pub(super) service: &'static str,
    pub(super) method: &'static str,
}

impl Rpc {
    /// The method of a request's path.
    pub(super) fn of(path: &str) -> Self {
        static KNOWN: OnceLock<HashMap<String, Rpc>> = OnceLock::new();
        let known = KNOWN.get_or_init(|| methods::paths().map(Rpc::intern).collect());
        known.get(path).copied().unwrap_or(Rpc {
            service: "_OTHER",
            method: "_OTHER",
        })
    }

    /// Only for the paths that are known when the process starts.
    fn intern(path: String) -> (String, Self) {
        let leaked: &'static str = Box::leak(path.clone().into_boxed_str());
        let (service, method) = leaked[1..].split_once('/').unwrap_or((leaked, ""));
        (path, Self { service, method })
    }

    fn attributes(self) -> [KeyValue; 3] {
        [
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.service", self.service),
            KeyValue::new("rpc.method", self.method),
        ]
    }

    fn attributes_with(self, code: Code) -> [KeyValue; 4] {
        let [system, service, method] = self.attributes();
        let code = KeyValue::new(STATUS_CODE, i64::from(code as i32));
        [system, service, method, code]
    }
}

struct Instruments {
    served: Histogram<f64>,
    active: UpDownCounter<i64>,
    asked: Histogram<f64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = metrics::meter();
        let duration = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("ms")
                .with_description(description)
                .with_boundaries(metrics::MILLISECONDS.to_vec())
                .build()
        };
        Instruments {
            served: duration(
                "rpc.server.duration",
                "Duration of RPCs that were served, streams to their end.",
            ),
            active: meter
                .i64_up_down_counter("rpc.server.active_requests")
                .with_unit("{request}")
                .with_description("RPCs being served, open streams among them.")
                .build(),
            asked: duration(
                "rpc.client.duration",
                "Duration of RPCs that were made, streams to their end.",
            ),
        }
    })
}

/// One more RPC is being served.
pub(super) fn begun(rpc: Rpc) {
    instruments().active.add(1, &rpc.attributes());
}

/// An RPC that was being served has ended.
pub(super) fn served(rpc: Rpc, code: Code, took: Duration) {
    instruments().active.add(-1, &rpc.attributes());
    instruments()
        .served
        .record(milliseconds(took), &rpc.attributes_with(code));
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// One call to another service, from its request to the last byte of the answer.
pub(super) struct Asked {
    rpc: Rpc,
    span: Span,
    begun: Instant,
    code: Option<Code>,
}

impl Asked {
    pub(super) fn begin(request: &Request<Body>) -> Self {
        let rpc = Rpc::of(request.uri().path());
        let span = tracing::info_span!(
            "call",
            otel.name = format_args!("{}/{}", rpc.service, rpc.method),
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            rpc.system = "grpc",
            rpc.service = rpc.service,
            rpc.method = rpc.method,
            rpc.grpc.status_code = tracing::field::Empty,
        );
        Self {
            rpc,
            span,
            begun: Instant::now(),
            code: None,
        }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// The connection failed: no answer came.
    pub(super) fn failed(mut self) {
        self.code = Some(Code::Unavailable);
    }

    /// Goes on measuring until the answer has been read.
    pub(super) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.code = reply::code(response.headers());
        let (parts, inner) = response.into_parts();
        Response::from_parts(parts, Body::new(Measured { inner, call: self }))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Dropped before its end: the caller did not want the rest.
        let code = self.code.unwrap_or(Code::Cancelled);
        self.span.record(STATUS_CODE, code as i32);
        if code != Code::Ok && code != Code::Cancelled {
            self.span.record("otel.status_code", "ERROR");
        }
        let took = milliseconds(self.begun.elapsed());
        instruments()
            .asked
            .record(took, &self.rpc.attributes_with(code));
    }
}

struct Measured {
    inner: Body,
    call: Asked,
}

impl hyper::body::Body for Measured {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(reply::code) {
                    self.call.code = Some(code);
                }
            }
            Poll::Ready(Some(Err(error))) => self.call.code = Some(error.code()),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
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
    fn only_known_methods_have_names_of_their_own() {
        let rpc = Rpc::of("/slipway.registry.v1.RegistryService/GetModel");
        assert_eq!(
            (rpc.service, rpc.method),
            ("slipway.registry.v1.RegistryService", "GetModel")
        );
        let probe = Rpc::of("/grpc.health.v1.Health/Check");
        assert_eq!(probe.method, "Check");
        for unknown in ["/slipway.registry.v1.RegistryService/X", "/", "", "/a/b/c"] {
            assert_eq!(Rpc::of(unknown).service, "_OTHER", "{unknown}");
        }
    }
}
