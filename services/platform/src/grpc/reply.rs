//! Answers that the server's limits give in place of a service: a gRPC status, or its HTTP likeness.

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::methods::Kind;
use crate::error::{DOMAIN, Error};

/// The reason of an answer that says: not yet.
pub(super) const STARTING: &str = "STARTING";

/// The whole answer to a request that is refused or given up.
pub(super) fn refuse(kind: Kind, error: Error) -> Response<Body> {
    refuse_with(kind, Status::from(error))
}

/// The answer to a request that came before the service can do anything. It did not happen.
pub(super) fn starting(kind: Kind, waiting: Option<String>) -> Response<Body> {
    let what = waiting.unwrap_or_else(|| "the service is starting".to_owned());
    let mut details = ErrorDetails::new();
    details.set_error_info(STARTING, DOMAIN, [("what".to_owned(), what.clone())]);
    let message = format!("not ready yet: {what}");
    refuse_with(
        kind,
        Status::with_error_details(Code::Unavailable, message, details),
    )
}

fn refuse_with(kind: Kind, status: Status) -> Response<Body> {
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

/// The stable reason of a refusal, which is in the headers of an answer without a body.
pub(super) fn reason(headers: &HeaderMap) -> Option<String> {
    if code(headers) != Some(Code::Unavailable) {
        return None;
    }
    let details = Status::from_header_map(headers)?.get_error_details();
    Some(details.error_info()?.reason.clone())
}

/// The gRPC code in headers or trailers.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}
