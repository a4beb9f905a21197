//! One request: identify, route, forward, answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version, request};
use hyper::body::Incoming;
use slipway_platform::clock::SharedClock;
use tokio::time::Instant;

use super::forward;
use super::headers::{ensure_request_id, prepare_request, remove_hop_by_hop};
use super::reply::LocalReply;
use super::request_body::{RequestBody, RequestProgress};
use super::response_body::ResponseBody;
use crate::access_log::{AccessLog, Details, Record, RequestFacts, Ticket};
use crate::routing::{Action, Found, Rendered, RequestView, without_dot_segments};
use crate::snapshot::{Current, Snapshot};
use crate::upstream::Cluster;

/// What holds for every request.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// The longest time without a byte in either direction, where the configuration says nothing.
    pub idle_timeout: Duration,
}

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client.
    pub remote: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

/// The proxy: the configuration in force, and where its log goes.
pub struct Proxy {
    current: Current,
    log: AccessLog,
    clock: SharedClock,
    settings: ProxySettings,
    aborting: Arc<AtomicBool>,
}

/// Where a request goes, free of references into the configuration.
struct Decision {
    route: Arc<str>,
    cluster: Arc<str>,
    response: Rendered,
    outcome: Outcome,
}

enum Outcome {
    Reply(LocalReply),
    Send(Box<Send>),
}

struct Send {
    cluster: Arc<Cluster>,
    request: Rendered,
    rewritten: Option<String>,
    host: Option<HeaderValue>,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
}

impl Proxy {
    /// A proxy that serves what `current` holds.
    pub fn new(
        current: Current,
        log: AccessLog,
        clock: SharedClock,
        settings: ProxySettings,
    ) -> Self {
        Self {
            current,
            log,
            clock,
            settings,
            aborting: Arc::default(),
        }
    }

    /// Set when unfinished exchanges are about to be ended by the gateway itself.
    pub fn aborting(&self) -> &AtomicBool {
        &self.aborting
    }

    /// Serves one request.
    pub async fn handle(&self, request: Request<Incoming>, ends: Ends) -> Response<ResponseBody> {
        let (mut parts, body) = request.into_parts();
        let (body, progress) = RequestBody::new(body, Some(self.settings.idle_timeout));
        let facts = facts(&mut parts, ends);
        let record = Record::new(facts, self.clock.now(), progress.clone());
        let mut ticket = Ticket::new(record, self.log.clone(), self.aborting.clone());
        let (path, decision) = match self.decide(&parts, &mut ticket, ends) {
            Ok(decided) => decided,
            Err(reply) => return reply.into_response(ticket),
        };
        ticket.note(|record| {
            record.route = decision.route;
            record.cluster = decision.cluster;
        });
        let send = match decision.outcome {
            Outcome::Reply(reply) => return answered_here(reply, decision.response, ticket),
            Outcome::Send(send) => send,
        };
        match self
            .forward(parts, body, path, *send, &progress, &mut ticket)
            .await
        {
            Ok(exchange) => exchange.into_response(decision.response, ticket),
            Err(reply) => answered_here(reply, decision.response, ticket),
        }
    }

    /// Chooses route and cluster under the configuration of this moment. Gives the path as well, since
    /// it may have been normalised.
    fn decide(
        &self,
        parts: &request::Parts,
        ticket: &mut Ticket,
        ends: Ends,
    ) -> Result<(String, Decision), LocalReply> {
        let snapshot = self.current.load();
        if !snapshot.configured {
            return Err(LocalReply::not_configured());
        }
        if parts.method == Method::CONNECT {
            return Err(LocalReply::bad_request(
                "connect_not_supported",
                "CONNECT is not supported\n",
            ));
        }
        if parts.headers.get_all(HOST).iter().nth(1).is_some() {
            return Err(LocalReply::bad_request(
                "more_than_one_host",
                "the request names more than one host\n",
            ));
        }
        let raw = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path = match snapshot.normalize_path.then(|| without_dot_segments(raw)) {
            None => raw.to_owned(),
            Some(Some(path)) => path.into_owned(),
            Some(None) => {
                return Err(LocalReply::bad_request(
                    "path_normalization_failed",
                    "the path leaves the root\n",
                ));
            }
        };
        let authority = ticket
            .record()
            .map(|record| record.request.authority.clone())
            .unwrap_or_default();
        let view = RequestView {
            authority: &authority,
            path: path.split_once('?').map_or(path.as_str(), |(path, _)| path),
            method: &parts.method,
            headers: &parts.headers,
            source: ends.remote.ip(),
        };
        let found = snapshot
            .table
            .find(&view)
            .ok_or_else(LocalReply::no_route)?;
        let decision = decision(&snapshot, found, &view, &path);
        Ok((path, decision))
    }

    async fn forward(
        &self,
        mut parts: request::Parts,
        mut body: RequestBody,
        path: String,
        send: Send,
        progress: &RequestProgress,
        ticket: &mut Ticket,
    ) -> Result<Exchange, LocalReply> {
        let idle_timeout = send
            .idle_timeout
            .or(Some(self.settings.idle_timeout))
            .filter(|limit| !limit.is_zero());
        body.set_idle_timeout(idle_timeout);
        // Before the configured changes, so that a client cannot have them taken away again.
        remove_hop_by_hop(&mut parts.headers);
        send.request.apply(&mut parts.headers);
        let bad =
            || LocalReply::bad_request("bad_request_line", "the request cannot be passed on\n");
        let record = ticket.record().ok_or_else(bad)?;
        let host = match send.host {
            Some(host) => host,
            None => HeaderValue::from_str(&record.request.authority).map_err(|_| bad())?,
        };
        record.request.forwarded_for =
            prepare_request(&mut parts.headers, host, record.request.downstream.ip());
        let target = send.rewritten.as_deref().unwrap_or(&path);
        let uri = Uri::from(PathAndQuery::try_from(target).map_err(|_| bad())?);
        if target != record.request.path {
            record.rewritten_path = Some(target.to_owned());
        }
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = parts.headers;
        let (response, lease) =
            forward::send(&send.cluster, request, progress, send.timeout, ticket).await?;
        let deadline = send
            .timeout
            .map(|timeout| progress.deadline(timeout).into());
        Ok(Exchange {
            response,
            lease,
            deadline,
            idle_timeout,
        })
    }
}

/// The head of an upstream's answer and the connection that the rest comes on.
struct Exchange {
    response: Response<Incoming>,
    lease: crate::upstream::Lease,
    deadline: Option<Instant>,
    idle_timeout: Option<Duration>,
}

impl Exchange {
    fn into_response(self, changes: Rendered, mut ticket: Ticket) -> Response<ResponseBody> {
        let (mut parts, body) = self.response.into_parts();
        ticket.note(|record| {
            record.status = Some(parts.status);
            record.details = Details::Borrowed("via_upstream");
        });
        remove_hop_by_hop(&mut parts.headers);
        changes.apply(&mut parts.headers);
        parts.version = Version::default();
        parts.extensions.clear();
        Response::from_parts(
            parts,
            ResponseBody::upstream(body, self.lease, ticket, self.deadline, self.idle_timeout),
        )
    }
}

fn answered_here(reply: LocalReply, changes: Rendered, ticket: Ticket) -> Response<ResponseBody> {
    let mut response = reply.into_response(ticket);
    changes.apply(response.headers_mut());
    response
}

fn decision(snapshot: &Snapshot, found: Found<'_>, view: &RequestView<'_>, path: &str) -> Decision {
    let route = found.route.name.clone();
    let forward = match &found.route.action {
        Action::Reply { status, body } => {
            return Decision {
                route,
                cluster: "".into(),
                response: Rendered::of_response(found.mutations(None), view.headers),
                outcome: Outcome::Reply(LocalReply::direct(*status, body.clone())),
            };
        }
        Action::Forward(forward) => forward,
    };
    let pick = forward.pick(view);
    let outcome = match snapshot.clusters.get(pick.cluster) {
        None => Outcome::Reply(LocalReply::no_cluster(forward.missing_cluster_status)),
        Some(cluster) => Outcome::Send(Box::new(Send {
            cluster: cluster.clone(),
            request: Rendered::of_request(found.mutations(pick.mutations), view.headers),
            rewritten: forward.rewrite.as_ref().map(|rewrite| rewrite.apply(path)),
            host: forward.host.clone(),
            timeout: forward.timeout,
            idle_timeout: forward.idle_timeout.or(snapshot.idle_timeout),
        })),
    };
    let response = Rendered::of_response(found.mutations(pick.mutations), view.headers);
    Decision {
        route,
        cluster: pick.cluster.clone(),
        response,
        outcome,
    }
}

fn facts(parts: &mut request::Parts, ends: Ends) -> RequestFacts {
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => text(&parts.headers, HOST),
    };
    RequestFacts {
        downstream: ends.remote,
        local: ends.local,
        version: parts.version,
        method: parts.method.clone(),
        authority,
        path: parts
            .uri
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .to_owned(),
        user_agent: text(&parts.headers, USER_AGENT),
        request_id: ensure_request_id(&mut parts.headers),
        forwarded_for: String::new(),
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
