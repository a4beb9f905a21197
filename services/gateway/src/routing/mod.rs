//! Where a request goes: an immutable table from host, path, headers and cookies to an action.
//!
//! The table is built once from a route configuration and never changes; a new configuration is a new
//! table. Choosing is a pure function of the table and the request, except for the random pick of a
//! split that no hash policy decides. The semantics are Envoy's, so that a fleet may mix both proxies:
//! order of domains, first matching route, hash policies, and the intervals of a weighted split.

mod hash;
mod index;
mod matching;
mod mutation;
mod path;
mod split;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};

pub use hash::{HashPolicy, HashSource, cookie};
pub use matching::{
    CookieMatch, HeaderMatch, PathMatch, Subject, TextMatch, TextPattern, ValueMatch,
};
pub use mutation::{Append, Mutation, Mutations, Rendered, Template, TemplateError};
pub use path::{PathRewrite, without_dot_segments};
pub use split::{Pick, Split, WeightedCluster};
pub use table::{Found, RouteTable, TableError, VirtualHost};

/// What routing looks at in a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Host and, when the client sent one, port.
    pub authority: &'a str,
    /// Path without the query.
    pub path: &'a str,
    /// Method.
    pub method: &'a Method,
    /// Headers as received, with `x-request-id` already there.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub source: IpAddr,
}

/// One route: what it matches and what is done then.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, which access logs report.
    pub name: Arc<str>,
    /// What the path must be.
    pub path: PathMatch,
    /// All of these must hold.
    pub headers: Vec<HeaderMatch>,
    /// All of these must hold.
    pub cookies: Vec<CookieMatch>,
    /// What is done with a request that matches.
    pub action: Action,
    /// Changes of the route itself to the request's headers and the answer's.
    pub mutations: Mutations,
}

impl Route {
    /// Whether a request takes this route.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path)
            && self.headers.iter().all(|header| header.matches(request))
            && self
                .cookies
                .iter()
                .all(|cookie| cookie.matches(request.headers))
    }
}

/// What is done with a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It goes to an upstream.
    Forward(Box<Forward>),
    /// It is answered here.
    Reply {
        /// The answer's status.
        status: StatusCode,
        /// The answer's body.
        body: Bytes,
    },
}

/// How a request is forwarded.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The cluster, or the split over several.
    pub target: Target,
    /// What decides a split when it is decided by hash.
    pub hash: Vec<HashPolicy>,
    /// How the path is changed.
    pub rewrite: Option<PathRewrite>,
    /// The `host` that the upstream sees, when it is not the client's.
    pub host: Option<HeaderValue>,
    /// From the end of the request to the end of the answer; none for no limit.
    pub timeout: Option<Duration>,
    /// The longest time without a byte in either direction; none when the listener's applies.
    pub idle_timeout: Option<Duration>,
    /// The status of the answer when the cluster does not exist.
    pub missing_cluster_status: StatusCode,
}

/// One cluster or a split.
#[derive(Debug, Clone)]
pub enum Target {
    /// Everything goes to this cluster.
    Cluster(Arc<str>),
    /// Shares go to several.
    Split(Split),
}

impl Forward {
    /// The cluster for this request and the header changes that come with it.
    pub fn pick(&self, request: &RequestView<'_>) -> Pick<'_> {
        match &self.target {
            Target::Cluster(name) => Pick {
                cluster: name,
                mutations: None,
            },
            Target::Split(split) => split.pick(|| hash::combined(&self.hash, request)),
        }
    }

    /// Every cluster that a request may go to.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, many) = match &self.target {
            Target::Cluster(name) => (Some(name), [].as_slice()),
            Target::Split(split) => (None, split.clusters()),
        };
        one.into_iter()
            .chain(many.iter().map(|weighted| &weighted.name))
    }
}
