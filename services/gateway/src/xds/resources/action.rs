//! What a route does with a request.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::route::Action as ProtoAction;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy as ProtoHashPolicy,
    HostRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{
    ClusterWeight, RandomValueSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RetryPolicy, Route as ProtoRoute, RouteAction,
    WeightedCluster as ProtoSplit,
};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::mutations::{Lists, mutations};
use super::{Scope, duration};
use crate::routing::{
    Action, Forward, HashPolicy, HashSource, PathMatch, PathRewrite, Split, Target, WeightedCluster,
};

/// Envoy's default route timeout.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(15);
/// Reasons to retry that say "no byte of the request was sent", the only ones that are served.
const SERVED_RETRIES: [&str; 3] = ["connect-failure", "refused-stream", "reset-before-request"];

/// Reads the action of a route with this path condition.
pub fn action(
    proto: &ProtoRoute,
    path: Option<&PathMatch>,
    scope: &mut Scope<'_>,
) -> Option<Action> {
    match &proto.action {
        Some(ProtoAction::Route(action)) => forward(action, path, scope)
            .map(Box::new)
            .map(Action::Forward),
        Some(ProtoAction::DirectResponse(response)) => reply(response, scope),
        _ => {
            scope.refuse("action", "is neither route nor direct_response");
            None
        }
    }
}

fn reply(proto: &DirectResponseAction, scope: &mut Scope<'_>) -> Option<Action> {
    scope.unserved([("direct_response.body_format", proto.body_format.is_some())]);
    let body = match proto.body.as_ref().and_then(|body| body.specifier.clone()) {
        None => Bytes::new(),
        Some(Specifier::InlineString(text)) => text.into(),
        Some(Specifier::InlineBytes(bytes)) => bytes.into(),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            scope.refuse("direct_response.body", "is not inline");
            return None;
        }
    };
    let status = u16::try_from(proto.status)
        .ok()
        .filter(|status| (200..600).contains(status));
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        scope.refuse(
            "direct_response.status",
            format_args!("{} is not between 200 and 599", proto.status),
        );
        return None;
    };
    Some(Action::Reply { status, body })
}

fn forward(
    proto: &RouteAction,
    path: Option<&PathMatch>,
    scope: &mut Scope<'_>,
) -> Option<Forward> {
    refuse_unserved(proto, scope);
    refuse_unserved_retries(proto.retry_policy.as_ref(), scope);
    let hash: Vec<_> = proto
        .hash_policy
        .iter()
        .filter_map(|policy| hash_policy(policy, scope))
        .collect();
    let target = match &proto.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            Some(Target::Cluster(name.as_str().into()))
        }
        Some(ClusterSpecifier::WeightedClusters(clusters)) => {
            split(clusters, scope).map(Target::Split)
        }
        _ => {
            scope.refuse("route", "names neither a cluster nor weighted_clusters");
            None
        }
    };
    let timeout = proto
        .timeout
        .as_ref()
        .map_or(ROUTE_TIMEOUT, |value| duration(value, "timeout", scope));
    let idle_timeout = proto
        .idle_timeout
        .as_ref()
        .map(|value| duration(value, "idle_timeout", scope));
    Some(Forward {
        target: target?,
        hash,
        rewrite: rewrite(&proto.prefix_rewrite, path, scope),
        host: host(proto.host_rewrite_specifier.as_ref(), scope),
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        idle_timeout,
        missing_cluster_status: match ClusterNotFoundResponseCode::try_from(
            proto.cluster_not_found_response_code,
        ) {
            Ok(ClusterNotFoundResponseCode::NotFound) => StatusCode::NOT_FOUND,
            Ok(ClusterNotFoundResponseCode::InternalServerError) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Ok(ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        },
    })
}

fn rewrite(
    replacement: &str,
    path: Option<&PathMatch>,
    scope: &mut Scope<'_>,
) -> Option<PathRewrite> {
    if replacement.is_empty() {
        return None;
    }
    let matched = match path? {
        PathMatch::Prefix(text) | PathMatch::Segments(text) | PathMatch::Exact(text) => text.len(),
        PathMatch::Text(_) => {
            scope.refuse(
                "prefix_rewrite",
                "needs a prefix or path that respects case",
            );
            return None;
        }
    };
    Some(PathRewrite {
        matched,
        replacement: replacement.to_owned(),
    })
}

fn host(proto: Option<&HostRewriteSpecifier>, scope: &mut Scope<'_>) -> Option<HeaderValue> {
    match proto? {
        HostRewriteSpecifier::HostRewriteLiteral(literal) => {
            let value = HeaderValue::from_str(literal).ok();
            if value.is_none() {
                scope.refuse("host_rewrite_literal", "is not a header value");
            }
            value
        }
        HostRewriteSpecifier::AutoHostRewrite(auto) if !auto.value => None,
        _ => {
            scope.unserved([("a host rewrite that is not literal", true)]);
            None
        }
    }
}

fn split(proto: &ProtoSplit, scope: &mut Scope<'_>) -> Option<Split> {
    let by_hash = match &proto.random_value_specifier {
        None => false,
        Some(RandomValueSpecifier::UseHashPolicy(by_hash)) => by_hash.value,
        Some(RandomValueSpecifier::HeaderName(_)) => {
            scope.unserved([("weighted_clusters.header_name", true)]);
            false
        }
    };
    let clusters: Vec<_> = proto
        .clusters
        .iter()
        .map(|cluster| share(cluster, scope))
        .collect();
    refuse_other_total(proto, &clusters, scope);
    let split = Split::new(clusters, by_hash);
    if split.is_none() {
        scope.refuse("weighted_clusters", "have weights that sum to zero");
    }
    split
}

#[allow(deprecated)]
fn refuse_other_total(proto: &ProtoSplit, clusters: &[WeightedCluster], scope: &mut Scope<'_>) {
    let sum: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight))
        .sum();
    if let Some(total) = proto.total_weight
        && u64::from(total.value) != sum
    {
        scope.refuse(
            "weighted_clusters.total_weight",
            format_args!("is {} and the weights sum to {sum}", total.value),
        );
    }
}

fn share(proto: &ClusterWeight, scope: &mut Scope<'_>) -> WeightedCluster {
    let mut scope = scope.inner(format_args!("share {}", proto.name));
    scope.unserved([
        ("cluster_header", !proto.cluster_header.is_empty()),
        ("metadata_match", proto.metadata_match.is_some()),
        (
            "typed_per_filter_config",
            !proto.typed_per_filter_config.is_empty(),
        ),
        (
            "host_rewrite_literal",
            proto.host_rewrite_specifier.is_some(),
        ),
    ]);
    if proto.name.is_empty() {
        scope.refuse("name", "is missing");
    }
    let lists = Lists {
        request_add: &proto.request_headers_to_add,
        request_remove: &proto.request_headers_to_remove,
        response_add: &proto.response_headers_to_add,
        response_remove: &proto.response_headers_to_remove,
    };
    WeightedCluster {
        name: proto.name.as_str().into(),
        weight: proto.weight.map_or(0, |weight| weight.value),
        mutations: mutations(lists, &mut scope),
    }
}

fn hash_policy(proto: &ProtoHashPolicy, scope: &mut Scope<'_>) -> Option<HashPolicy> {
    let source = match proto.policy_specifier.as_ref() {
        Some(PolicySpecifier::Cookie(cookie))
            if cookie.ttl.is_none() && !cookie.name.is_empty() =>
        {
            HashSource::Cookie(cookie.name.clone())
        }
        Some(PolicySpecifier::Header(header)) if header.regex_rewrite.is_none() => {
            let Ok(name) = HeaderName::from_bytes(header.header_name.as_bytes()) else {
                scope.refuse(
                    "hash_policy.header",
                    format_args!("{:?} is not a header", header.header_name),
                );
                return None;
            };
            HashSource::Header(name)
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashSource::SourceIp
        }
        _ => {
            scope.refuse(
                "hash_policy",
                "is not a cookie without ttl, a header without rewrite, or the source address",
            );
            return None;
        }
    };
    Some(HashPolicy {
        source,
        terminal: proto.terminal,
    })
}

/// Refuses reasons to retry under which a request could be sent twice.
pub fn refuse_unserved_retries(policy: Option<&RetryPolicy>, scope: &mut Scope<'_>) {
    let Some(policy) = policy else { return };
    for reason in policy
        .retry_on
        .split(',')
        .map(str::trim)
        .filter(|reason| !reason.is_empty())
    {
        if !SERVED_RETRIES.contains(&reason) {
            scope.refuse(
                "retry_policy.retry_on",
                format_args!("{reason:?} could send a request twice"),
            );
        }
    }
}

#[allow(deprecated)]
fn refuse_unserved(proto: &RouteAction, scope: &mut Scope<'_>) {
    scope.unserved([
        ("metadata_match", proto.metadata_match.is_some()),
        ("regex_rewrite", proto.regex_rewrite.is_some()),
        ("path_rewrite_policy", proto.path_rewrite_policy.is_some()),
        ("path_rewrite", !proto.path_rewrite.is_empty()),
        ("append_x_forwarded_host", proto.append_x_forwarded_host),
        (
            "retry_policy_typed_config",
            proto.retry_policy_typed_config.is_some(),
        ),
        (
            "request_mirror_policies",
            !proto.request_mirror_policies.is_empty(),
        ),
        (
            "priority",
            proto.priority != i32::from(RoutingPriority::Default),
        ),
        ("rate_limits", !proto.rate_limits.is_empty()),
        ("cors", proto.cors.is_some()),
        ("max_grpc_timeout", proto.max_grpc_timeout.is_some()),
        ("upgrade_configs", !proto.upgrade_configs.is_empty()),
        (
            "internal_redirect_policy",
            proto.internal_redirect_policy.is_some(),
        ),
        ("hedge_policy", proto.hedge_policy.is_some()),
        ("max_stream_duration", proto.max_stream_duration.is_some()),
    ]);
}
