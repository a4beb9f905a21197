//! The listener: which routes it serves and how connections are managed.

use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog as ProtoAccessLog, access_log};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener as ProtoListener, filter};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::HttpGrpcAccessLogConfig;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    RouteSpecifier, StripPortMode,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use prost::{Message, Name};

use super::{Problems, Scope, duration};

/// What the listener's connection manager asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The routes that it serves.
    pub routes: Routes,
    /// The longest time without a byte in either direction; zero for no limit.
    pub idle_timeout: Option<Duration>,
    /// Whether `.` and `..` segments are resolved before routing.
    pub normalize_path: bool,
}

/// Where the listener's routes come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Routes {
    /// Route discovery under this name.
    Discovered(String),
    /// They are part of the listener.
    Inline(Box<RouteConfiguration>),
}

/// Reads a listener.
pub fn listener(proto: &ProtoListener, problems: &mut Problems) -> Option<Listener> {
    let scope = &mut problems.scope(format_args!("listener {}", proto.name));
    scope.unserved([
        ("filter_chain_matcher", proto.filter_chain_matcher.is_some()),
        ("fcds_config", proto.fcds_config.is_some()),
        ("listener_filters", !proto.listener_filters.is_empty()),
        ("udp_listener_config", proto.udp_listener_config.is_some()),
        ("api_listener", proto.api_listener.is_some()),
        ("access_log", !proto.access_log.is_empty()),
    ]);
    let chain = match (proto.filter_chains.as_slice(), &proto.default_filter_chain) {
        ([chain], None) => chain,
        ([], Some(chain)) => chain,
        _ => {
            scope.refuse("filter_chains", "must be exactly one");
            return None;
        }
    };
    let manager = connection_manager(chain, scope)?;
    refuse_unserved(&manager, scope);
    http_filters(&manager.http_filters, scope);
    for log in &manager.access_log {
        access_log(log, scope);
    }
    let idle_timeout = manager.stream_idle_timeout.as_ref();
    let idle_timeout = idle_timeout.map(|value| duration(value, "stream_idle_timeout", scope));
    let routes = match manager.route_specifier {
        Some(RouteSpecifier::Rds(rds)) if !rds.route_config_name.is_empty() => {
            Routes::Discovered(rds.route_config_name)
        }
        Some(RouteSpecifier::RouteConfig(routes)) => Routes::Inline(Box::new(routes)),
        _ => {
            scope.refuse(
                "route_specifier",
                "must be rds with a name, or route_config",
            );
            return None;
        }
    };
    Some(Listener {
        name: proto.name.clone(),
        routes,
        idle_timeout,
        normalize_path: manager
            .normalize_path
            .is_some_and(|normalize| normalize.value),
    })
}

#[allow(deprecated)]
fn connection_manager(chain: &FilterChain, scope: &mut Scope<'_>) -> Option<HttpConnectionManager> {
    scope.unserved([
        ("transport_socket", chain.transport_socket.is_some()),
        (
            "use_proxy_proto",
            chain.use_proxy_proto.is_some_and(|proxied| proxied.value),
        ),
        (
            "filter_chain_match",
            chain
                .filter_chain_match
                .as_ref()
                .is_some_and(|rules| *rules != Default::default()),
        ),
    ]);
    let [only] = chain.filters.as_slice() else {
        scope.refuse(
            "filters",
            "must be exactly one, the HTTP connection manager",
        );
        return None;
    };
    let config = match &only.config_type {
        Some(filter::ConfigType::TypedConfig(config))
            if config.type_url == HttpConnectionManager::type_url() =>
        {
            config
        }
        _ => {
            scope.refuse(
                "filters",
                format_args!("{:?} is not the HTTP connection manager", only.name),
            );
            return None;
        }
    };
    HttpConnectionManager::decode(config.value.as_slice())
        .inspect_err(|error| scope.refuse("filters", format_args!("cannot be decoded: {error}")))
        .ok()
}

fn http_filters(filters: &[HttpFilter], scope: &mut Scope<'_>) {
    for filter in filters
        .iter()
        .filter(|filter| !filter.disabled && !filter.is_optional)
    {
        let is_router = match &filter.config_type {
            Some(http_filter::ConfigType::TypedConfig(config)) => {
                config.type_url == Router::type_url()
            }
            Some(http_filter::ConfigType::ConfigDiscovery(_)) => false,
            None => filter.name == "envoy.filters.http.router",
        };
        if !is_router {
            scope.refuse(
                "http_filters",
                format_args!("{:?} is not supported; only the router is", filter.name),
            );
        }
    }
}

fn access_log(log: &ProtoAccessLog, scope: &mut Scope<'_>) {
    let Some(access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
        return scope.refuse(
            "access_log",
            format_args!("{:?} has no configuration", log.name),
        );
    };
    if config.type_url != HttpGrpcAccessLogConfig::type_url() {
        scope.refuse(
            "access_log",
            format_args!(
                "{:?} is not the gRPC access log, the only one that is served",
                log.name
            ),
        );
    }
    if log.filter.is_some() {
        scope.refuse("access_log", "has a filter, and every request is reported");
    }
}

#[allow(deprecated)]
fn refuse_unserved(manager: &HttpConnectionManager, scope: &mut Scope<'_>) {
    scope.unserved([
        ("upgrade_configs", !manager.upgrade_configs.is_empty()),
        ("local_reply_config", manager.local_reply_config.is_some()),
        ("merge_slashes", manager.merge_slashes),
        ("strip_matching_host_port", manager.strip_matching_host_port),
        (
            "strip_any_host_port",
            matches!(
                manager.strip_port_mode,
                Some(StripPortMode::StripAnyHostPort(true))
            ),
        ),
        ("strip_trailing_host_dot", manager.strip_trailing_host_dot),
        (
            "early_header_mutation_extensions",
            !manager.early_header_mutation_extensions.is_empty(),
        ),
        (
            "original_ip_detection_extensions",
            !manager.original_ip_detection_extensions.is_empty(),
        ),
        (
            "request_id_extension",
            manager.request_id_extension.is_some(),
        ),
        (
            "path_normalization_options",
            manager.path_normalization_options.is_some(),
        ),
        (
            "forward_proto_config",
            manager.forward_proto_config.is_some(),
        ),
        (
            "request_timeout",
            manager
                .request_timeout
                .as_ref()
                .is_some_and(|timeout| timeout.seconds != 0 || timeout.nanos != 0),
        ),
        ("skip_xff_append", manager.skip_xff_append),
    ]);
}
