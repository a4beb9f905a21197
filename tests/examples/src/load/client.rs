//! One request and its answer, with the user's cookie.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::{Answer, Outcome, Plan};
use crate::model_server::protocol::InferResponse;

const COOKIE: &str = "slipway-id";
const REVISION: &str = "x-slipway-revision";
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How much of a refusal's body is kept for people.
const MAX_REASON_CHARS: usize = 200;

/// Who asks: a number, and the cookie that the gateway gave it.
#[derive(Clone, Debug)]
pub(super) struct User {
    number: u32,
    cookie: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    url: http::Uri,
    timeout: Duration,
}

struct Reply {
    outcome: Outcome,
    revision: Option<String>,
    model_version: Option<String>,
}

impl User {
    pub(super) fn new(number: u32) -> User {
        User {
            number,
            cookie: None,
        }
    }

    fn keep_cookie(&mut self, headers: &HeaderMap) {
        let given = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .filter_map(|value| value.split(';').next())
            .map(str::trim)
            .find(|pair| {
                pair.split_once('=')
                    .is_some_and(|(name, value)| name == COOKIE && !value.is_empty())
            });
        if let Some(value) = given.and_then(|pair| HeaderValue::from_str(pair).ok()) {
            self.cookie = Some(value);
        }
    }
}

impl Client {
    pub(super) fn new(plan: &Plan) -> Client {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(plan.timeout));
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(plan.connections as usize)
            .build(connector);
        Client {
            http,
            url: plan.url.clone(),
            timeout: plan.timeout,
        }
    }

    /// Sends one request as `user`; never fails, since no answer is an outcome too.
    pub(super) async fn send(&self, user: &mut User, body: Bytes, start: Instant) -> Answer {
        let sent = Instant::now();
        let reply = tokio::time::timeout(self.timeout, self.exchange(user, body)).await;
        let reply = reply.unwrap_or_else(|_| {
            Reply::unanswered(format!("no answer within {} ms", self.timeout.as_millis()))
        });
        let answered = Instant::now();
        Answer {
            user: user.number,
            answered: answered - start,
            latency: answered - sent,
            outcome: reply.outcome,
            revision: reply.revision,
            model_version: reply.model_version,
        }
    }

    async fn exchange(&self, user: &mut User, body: Bytes) -> Reply {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(cookie) = &user.cookie {
            request.headers_mut().insert(header::COOKIE, cookie.clone());
        }
        let response = match self.http.request(request).await {
            Ok(response) => response,
            Err(error) => return Reply::unanswered(chain(&error)),
        };
        let (head, body) = response.into_parts();
        user.keep_cookie(&head.headers);
        let revision = head
            .headers
            .get(REVISION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let body = match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Reply {
                    outcome: Outcome::Broken(format!("the body of the answer: {error}")),
                    revision,
                    model_version: None,
                };
            }
        };
        if !head.status.is_success() {
            let reason: String = String::from_utf8_lossy(&body)
                .trim()
                .chars()
                .take(MAX_REASON_CHARS)
                .collect();
            return Reply {
                outcome: Outcome::Refused {
                    status: head.status.as_u16(),
                    reason,
                },
                revision,
                model_version: None,
            };
        }
        match serde_json::from_slice::<InferResponse>(&body) {
            Ok(result) => Reply {
                outcome: Outcome::Served,
                revision,
                model_version: Some(result.model_version),
            },
            Err(error) => Reply {
                outcome: Outcome::Broken(format!("not an inference response: {error}")),
                revision,
                model_version: None,
            },
        }
    }
}

impl Reply {
    fn unanswered(reason: String) -> Reply {
        Reply {
            outcome: Outcome::Unanswered(reason),
            revision: None,
            model_version: None,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_gateways_cookie_and_no_other() {
        let mut user = User::new(1);
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, HeaderValue::from_static("other=1"));
        headers.append(header::SET_COOKIE, HeaderValue::from_static("slipway-id="));
        user.keep_cookie(&headers);
        assert_eq!(user.cookie, None);
        headers.append(
            header::SET_COOKIE,
            HeaderValue::from_static("slipway-id=abc; Path=/; HttpOnly"),
        );
        user.keep_cookie(&headers);
        assert_eq!(user.cookie.clone().unwrap(), "slipway-id=abc");
        user.keep_cookie(&HeaderMap::new());
        assert_eq!(user.cookie.unwrap(), "slipway-id=abc");
    }
}
