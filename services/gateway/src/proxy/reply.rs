//! Answers that the gateway gives by itself, each marked as such.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use super::response_body::ResponseBody;
use crate::access_log::{Details, Flag, Ticket};

/// On every answer that did not come from an upstream: why not.
pub const LOCAL_REPLY: HeaderName = HeaderName::from_static("x-slipway-local-reply");

/// An answer of the gateway's own.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// Its status.
    pub status: StatusCode,
    /// Why, in the words of Envoy's response code details.
    pub details: &'static str,
    /// The access log's flag.
    pub flag: Option<Flag>,
    /// Its body.
    pub body: Bytes,
}

impl LocalReply {
    /// An answer whose body is for people.
    pub fn new(
        status: StatusCode,
        details: &'static str,
        flag: Option<Flag>,
        body: &'static str,
    ) -> Self {
        Self {
            status,
            details,
            flag,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    /// No configuration has come yet.
    pub fn not_configured() -> Self {
        let text = "the gateway has no configuration yet\n";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_configuration",
            Some(Flag::NoRouteFound),
            text,
        )
    }

    /// No route matches.
    pub fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "route_not_found",
            Some(Flag::NoRouteFound),
            "no such endpoint\n",
        )
    }

    /// The route's cluster does not exist.
    pub fn no_cluster(status: StatusCode) -> Self {
        Self::new(
            status,
            "cluster_not_found",
            Some(Flag::NoClusterFound),
            "the endpoint's cluster is unknown\n",
        )
    }

    /// The cluster has no address.
    pub fn no_address() -> Self {
        let text = "no healthy upstream\n";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_healthy_upstream",
            Some(Flag::NoHealthyUpstream),
            text,
        )
    }

    /// The request cannot be served by any proxy of this kind.
    pub fn bad_request(details: &'static str, body: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            details,
            Some(Flag::DownstreamProtocolError),
            body,
        )
    }

    /// A route that answers by itself.
    pub fn direct(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            details: "direct_response",
            flag: None,
            body,
        }
    }

    /// The answer; its record is complete and delivered.
    pub fn into_response(mut self, mut ticket: Ticket) -> Response<ResponseBody> {
        let to_head = ticket
            .record()
            .is_some_and(|record| record.request.method == Method::HEAD);
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if to_head || bodiless.contains(&self.status) {
            // HTTP/2 would send it.
            self.body = Bytes::new();
        }
        ticket.note(|record| {
            record.status = Some(self.status);
            record.details = Details::Borrowed(self.details);
            record.response_bytes = self.body.len() as u64;
            if let Some(flag) = self.flag {
                record.flags.set(flag);
            }
        });
        ticket.finish();
        let mut response = Response::new(ResponseBody::local(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(LOCAL_REPLY, HeaderValue::from_static(self.details));
        response
    }
}
