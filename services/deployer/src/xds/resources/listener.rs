//! LDS: the one listener, whose connection manager takes its routes from RDS and reports every request
//! to the access log service.

use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, access_log};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{ApiVersion, GrpcService};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use envoy_types::util::pack_any;

use super::super::config::XdsConfig;
use super::{cluster, names, wire};

/// A request is judged at most this long after it ended …
const LOG_FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// … or when this much has been gathered.
const LOG_BUFFER_BYTES: u32 = 16 * 1024;
/// Where a gRPC answer says how it went.
const GRPC_STATUS: &str = "grpc-status";

/// The listener.
pub(super) fn listener(config: &XdsConfig) -> Listener {
    let manager = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack_any(
            connection_manager(),
        ))),
    };
    Listener {
        name: names::LISTENER.to_owned(),
        address: Some(cluster::address(config.listener_address)),
        filter_chains: vec![FilterChain {
            filters: vec![manager],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The proxies are the edge: they take the sender's address from the connection, and make each request's
/// id themselves, so that nobody chooses the cookie's first value for a stranger.
fn connection_manager() -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: names::LISTENER.to_owned(),
        codec_type: CodecType::Auto as i32,
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(cluster::ads()),
            route_config_name: names::ROUTE_CONFIGURATION.to_owned(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(
                Router::default(),
            ))),
            ..Default::default()
        }],
        access_log: vec![access_log()],
        use_remote_address: Some(wire::boolean(true)),
        normalize_path: Some(wire::boolean(true)),
        ..Default::default()
    }
}

fn access_log() -> AccessLog {
    let service = EnvoyGrpc {
        cluster_name: names::ACCESS_LOG_CLUSTER.to_owned(),
        ..Default::default()
    };
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(CommonGrpcAccessLogConfig {
            log_name: names::ACCESS_LOG.to_owned(),
            grpc_service: Some(GrpcService {
                target_specifier: Some(TargetSpecifier::EnvoyGrpc(service)),
                ..Default::default()
            }),
            transport_api_version: ApiVersion::V3 as i32,
            buffer_flush_interval: Some(wire::duration(LOG_FLUSH_INTERVAL)),
            buffer_size_bytes: Some(wire::uint32(LOG_BUFFER_BYTES)),
            ..Default::default()
        }),
        // A gRPC call that failed is an HTTP 200: its status is in the trailers, or in the headers of an
        // answer without a body.
        additional_response_headers_to_log: vec![GRPC_STATUS.to_owned()],
        additional_response_trailers_to_log: vec![GRPC_STATUS.to_owned()],
        ..Default::default()
    };
    AccessLog {
        name: "envoy.access_loggers.http_grpc".to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(pack_any(config))),
    }
}
