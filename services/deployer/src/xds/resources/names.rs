//! The names by which proxies, access logs and the failure-detector know things. They are an interface:
//! the detector reads the endpoint and its generation from the route's name, and the revision from the
//! cluster's.

use slipway_platform::names::{EndpointName, RevisionName};

/// The listener.
pub const LISTENER: &str = "slipway";
/// The route configuration.
pub const ROUTE_CONFIGURATION: &str = "slipway";
/// The name of the access log.
pub const ACCESS_LOG: &str = "slipway";
/// The cluster of the access log service, which each proxy has in its bootstrap.
pub const ACCESS_LOG_CLUSTER: &str = "slipway-als";
/// The cookie that keeps a user on one revision.
pub const COOKIE: &str = "slipway-id";
/// Names the revision that answered, and asks for one.
pub const REVISION_HEADER: &str = "x-slipway-revision";
/// The id of a request, which is the first value of the cookie.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The cluster of a revision: `{environment}/{endpoint}/{revision id}`.
pub fn cluster(revision: &RevisionName) -> String {
    format!(
        "{}/{}/{}",
        revision.environment().id(),
        revision.endpoint().id(),
        revision.id()
    )
}

/// The route of an endpoint at a generation: `{environment}/{endpoint}@{generation}`.
pub fn route(endpoint: &EndpointName, generation: i64) -> String {
    format!(
        "{}/{}@{generation}",
        endpoint.environment().id(),
        endpoint.id()
    )
}
