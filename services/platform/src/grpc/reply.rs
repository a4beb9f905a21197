//! Answers that the server's limits give in place of a service: a gRPC status, or its HTTP likeness.

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods::Kind;
use crate::error::Error;

/// The whole answer to a request that is refused or given up.
pub(super) fn refuse(kind: Kind, error: Error) -> Response<Body> {
    let status = Status::from(error);
    if kind != Kind::Http {
        return status.into_http();
    }
    let code = match status.code() {
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = format!("{}\n", status.message());
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The trailers that end a stream early.
pub(super) fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let status = Status::from(error);
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// The gRPC code in headers or trailers.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}
