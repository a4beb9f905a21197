//! What the proxies shall do, in the deployer's words.

use std::net::SocketAddr;

use slipway_platform::names::{EndpointName, RevisionName};

/// The sum of an endpoint's weights.
pub const WEIGHT_TOTAL: u32 = 10_000;

/// The routes of every endpoint at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Rises with every snapshot; an older one than the present is ignored.
    pub version: u64,
    /// The endpoints. Where two claim the same host, the one that sorts first has it.
    pub endpoints: Vec<EndpointRoutes>,
}

/// How the requests of one endpoint are routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRoutes {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// The generation of its traffic, which the route's name carries.
    pub generation: i64,
    /// Host names that reach it, besides `{endpoint}.{environment}`.
    pub hosts: Vec<String>,
    /// A request header that keeps its sender on one revision, and goes before the cookie.
    pub sticky_header: Option<String>,
    /// Candidate first and in a fixed order, so that growing a weight moves nobody back. The weights sum to
    /// 10,000, or there are none, and the endpoint answers 503. Each of them can be asked for by header, one
    /// of weight 0 too.
    pub splits: Vec<Split>,
    /// Where revisions listen: those of `splits`, and those that are being warmed or drained.
    pub clusters: Vec<ClusterEndpoint>,
    /// The trace of the decision that the generation comes from.
    pub traceparent: Option<String>,
}

/// The share of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Which revision.
    pub revision: RevisionName,
    /// Of 10,000.
    pub weight: u32,
}

/// Where a revision listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEndpoint {
    /// Which revision.
    pub revision: RevisionName,
    /// Its addresses. Without any, requests to it are answered 503.
    pub addresses: Vec<SocketAddr>,
}
