//! Clusters.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ProtoCluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use envoy_types::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use prost::{Message, Name};

use super::{Problems, Scope, addresses, duration};
use crate::upstream::{Balance, ClusterSpec, Discovery};

/// Envoy's default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a cluster's HTTP options are.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Reads a cluster.
pub fn cluster(proto: &ProtoCluster, problems: &mut Problems) -> ClusterSpec {
    let scope = &mut problems.scope(format_args!("cluster {}", proto.name));
    refuse_unserved(proto, scope);
    let balance = balance(proto, scope);
    for (name, options) in &proto.typed_extension_protocol_options {
        protocol(name, options, scope);
    }
    let connect_timeout = proto.connect_timeout.as_ref();
    let connect_timeout = connect_timeout.map_or(CONNECT_TIMEOUT, |value| {
        duration(value, "connect_timeout", scope)
    });
    if connect_timeout.is_zero() {
        scope.refuse("connect_timeout", "is zero");
    }
    let (connections_max, waiting_max) = limits(proto);
    let discovery = discovery(proto, scope);
    ClusterSpec {
        name: proto.name.as_str().into(),
        discovery,
        connect_timeout,
        connections_max,
        waiting_max,
        balance,
    }
}

fn discovery(proto: &ProtoCluster, scope: &mut Scope<'_>) -> Discovery {
    let kind = match proto.cluster_discovery_type {
        None => Ok(DiscoveryType::Static),
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).map_err(|_| "type"),
        Some(ClusterDiscoveryType::ClusterType(_)) => Err("cluster_type"),
    };
    match kind {
        Ok(DiscoveryType::Eds) => {
            let service = proto
                .eds_cluster_config
                .as_ref()
                .map(|config| config.service_name.as_str());
            let name = service
                .filter(|name| !name.is_empty())
                .unwrap_or(&proto.name);
            Discovery::Endpoints(name.to_owned())
        }
        // Names are resolved at each connect, whatever the kind.
        Ok(DiscoveryType::Static | DiscoveryType::StrictDns | DiscoveryType::LogicalDns) => {
            let assignment = proto.load_assignment.as_ref();
            Discovery::Static(
                assignment
                    .map(|assignment| addresses(assignment, scope))
                    .unwrap_or_default(),
            )
        }
        Ok(DiscoveryType::OriginalDst) => {
            scope.unserved([("type ORIGINAL_DST", true)]);
            Discovery::Static(Vec::new())
        }
        Err(field) => {
            scope.unserved([(field, true)]);
            Discovery::Static(Vec::new())
        }
    }
}

fn balance(proto: &ProtoCluster, scope: &mut Scope<'_>) -> Balance {
    if let Some(policy) = &proto.load_balancing_policy {
        let first = policy
            .policies
            .first()
            .and_then(|policy| policy.typed_extension_config.as_ref());
        let url = first
            .and_then(|config| config.typed_config.as_ref())
            .map(|config| config.type_url.as_str());
        if url == Some(LeastRequest::type_url().as_str()) {
            return Balance::LeastRequest;
        }
        if url != Some(RoundRobin::type_url().as_str()) {
            let url = url.unwrap_or_default();
            scope.refuse(
                "load_balancing_policy",
                format_args!("{url:?} is neither round robin nor least request"),
            );
        }
        return Balance::RoundRobin;
    }
    match LbPolicy::try_from(proto.lb_policy) {
        Ok(LbPolicy::RoundRobin) => {}
        Ok(LbPolicy::LeastRequest) => return Balance::LeastRequest,
        _ => scope.refuse("lb_policy", "is neither ROUND_ROBIN nor LEAST_REQUEST"),
    }
    Balance::RoundRobin
}

fn protocol(name: &str, options: &Any, scope: &mut Scope<'_>) {
    if name != HTTP_OPTIONS {
        return scope.refuse(
            "typed_extension_protocol_options",
            format_args!("{name:?} is unknown"),
        );
    }
    let options = match HttpProtocolOptions::decode(options.value.as_slice()) {
        Ok(options) => options,
        Err(error) => {
            return scope.refuse(HTTP_OPTIONS, format_args!("cannot be decoded: {error}"));
        }
    };
    scope.unserved([
        ("http_filters", !options.http_filters.is_empty()),
        (
            "request_mirror_policies",
            !options.request_mirror_policies.is_empty(),
        ),
        ("hash_policy", !options.hash_policy.is_empty()),
        ("retry_policy", options.retry_policy.is_some()),
        ("outlier_detection", options.outlier_detection.is_some()),
    ]);
    let http1 = match options.upstream_protocol_options {
        None => true,
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) => {
            matches!(
                config.protocol_config,
                Some(ProtocolConfig::HttpProtocolOptions(_))
            )
        }
        Some(
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)
            | UpstreamProtocolOptions::AutoConfig(_),
        ) => false,
    };
    if !http1 {
        scope.refuse(
            "upstream_protocol_options",
            "ask for another protocol than HTTP/1.1, which is all that is spoken upstream",
        );
    }
}

fn limits(proto: &ProtoCluster) -> (Option<usize>, Option<usize>) {
    let thresholds = proto.circuit_breakers.as_ref().and_then(|breakers| {
        breakers
            .thresholds
            .iter()
            .find(|limits| limits.priority == RoutingPriority::Default as i32)
    });
    let number =
        |value: Option<UInt32Value>| value.and_then(|value| usize::try_from(value.value).ok());
    (
        thresholds.and_then(|limits| number(limits.max_connections)),
        thresholds.and_then(|limits| number(limits.max_pending_requests)),
    )
}

#[allow(deprecated)]
fn refuse_unserved(proto: &ProtoCluster, scope: &mut Scope<'_>) {
    scope.unserved([
        ("transport_socket", proto.transport_socket.is_some()),
        (
            "transport_socket_matches",
            !proto.transport_socket_matches.is_empty(),
        ),
        (
            "transport_socket_matcher",
            proto.transport_socket_matcher.is_some(),
        ),
        ("health_checks", !proto.health_checks.is_empty()),
        ("outlier_detection", proto.outlier_detection.is_some()),
        (
            "http2_protocol_options",
            proto.http2_protocol_options.is_some(),
        ),
        (
            "max_requests_per_connection",
            proto.max_requests_per_connection.is_some(),
        ),
        ("upstream_bind_config", proto.upstream_bind_config.is_some()),
        ("lb_subset_config", proto.lb_subset_config.is_some()),
        ("filters", !proto.filters.is_empty()),
        ("upstream_config", proto.upstream_config.is_some()),
    ]);
}
