//! Envoy resources made by hand, as the deployer's naming has them.

use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{
    Address, ConfigSource, DataSource, HeaderValue, HeaderValueOption, SocketAddress, address, data_source, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{Cookie, Header, PolicySpecifier};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
    WeightedCluster,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use prost::{Message, Name};

use super::ads::FakeAds;
use super::backend::Backend;

/// The host that the routes below answer to, and the prefix under `*`.
pub const HOST: &str = "tumor.production";
pub const PREFIX: &str = "/production/tumor";

pub fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub fn url<M: Name>() -> String {
    M::type_url()
}

pub fn cluster_name(revision: &str) -> String {
    format!("production/tumor/{revision}")
}

pub fn cluster(revision: &str) -> Cluster {
    Cluster {
        name: cluster_name(revision),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource::default()),
            ..Default::default()
        }),
        connect_timeout: Some(Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..Cluster::default()
    }
}

pub fn endpoints(revision: &str, ports: &[u16]) -> ClusterLoadAssignment {
    let endpoint = |port: &u16| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: "127.0.0.1".into(),
                    port_specifier: Some(socket_address::PortSpecifier::PortValue((*port).into())),
                    ..SocketAddress::default()
                })),
            }),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: ports.iter().map(endpoint).collect(),
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster_name(revision),
        endpoints: vec![locality],
        ..Default::default()
    }
}

pub fn listener() -> Listener {
    let manager = HttpConnectionManager {
        stat_prefix: "slipway".into(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ConfigSource::default()),
            route_config_name: "slipway".into(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(
                any(&Router::default()),
            )),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
    };
    Listener {
        name: "slipway".into(),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..FilterChain::default()
        }],
        ..Listener::default()
    }
}

pub fn add_header(name: &str, value: &str, append_action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.into(),
            value: value.into(),
            ..HeaderValue::default()
        }),
        append_action: append_action.into(),
        ..HeaderValueOption::default()
    }
}

fn share((revision, weight): &(&str, u32)) -> ClusterWeight {
    ClusterWeight {
        name: cluster_name(revision),
        weight: Some(UInt32Value { value: *weight }),
        response_headers_to_add: vec![add_header(
            "x-slipway-revision",
            revision,
            HeaderAppendAction::OverwriteIfExistsOrAdd,
        )],
        ..ClusterWeight::default()
    }
}

fn forward(shares: &[(&str, u32)], timeout: Option<Duration>) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: shares.iter().map(share).collect(),
            random_value_specifier: Some(RandomValueSpecifier::UseHashPolicy(BoolValue {
                value: true,
            })),
            ..WeightedCluster::default()
        })),
        hash_policy: vec![
            HashPolicy {
                terminal: true,
                policy_specifier: Some(PolicySpecifier::Cookie(Cookie {
                    name: "slipway-id".into(),
                    ..Cookie::default()
                })),
            },
            HashPolicy {
                terminal: false,
                policy_specifier: Some(PolicySpecifier::Header(Header {
                    header_name: "x-request-id".into(),
                    ..Header::default()
                })),
            },
        ],
        timeout,
        ..RouteAction::default()
    }
}

/// The routes of one endpoint: a pin per revision, then with and without the cookie.
pub struct Split<'a> {
    pub generation: u64,
    pub shares: &'a [(&'a str, u32)],
    pub timeout: Option<Duration>,
}

impl Split<'_> {
    pub fn of<'a>(generation: u64, shares: &'a [(&'a str, u32)]) -> Split<'a> {
        Split {
            generation,
            shares,
            timeout: None,
        }
    }

    pub fn routes(&self) -> RouteConfiguration {
        let host = |name: &str, domains: &[&str], prefix: &str| VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            routes: self.host_routes(prefix),
            ..VirtualHost::default()
        };
        RouteConfiguration {
            name: "slipway".into(),
            virtual_hosts: vec![
                host("production/tumor", &[HOST, "tumor.production:*"], "/"),
                host("any", &["*"], "/production/tumor/"),
            ],
            ..RouteConfiguration::default()
        }
    }

    fn host_routes(&self, prefix: &str) -> Vec<Route> {
        let route =
            |action: RouteAction, headers: Vec<HeaderMatcher>, cookies: Vec<CookieMatcher>| Route {
                name: format!("production/tumor@{}", self.generation),
                r#match: Some(RouteMatch {
                    path_specifier: Some(PathSpecifier::Prefix(prefix.into())),
                    headers,
                    cookies,
                    ..RouteMatch::default()
                }),
                action: Some(Action::Route(RouteAction {
                    prefix_rewrite: if prefix == "/" {
                        String::new()
                    } else {
                        "/".into()
                    },
                    ..action
                })),
                ..Route::default()
            };
        let mut routes: Vec<Route> = self
            .shares
            .iter()
            .map(|(revision, _)| {
                let pin = HeaderMatcher {
                    name: "x-slipway-revision".into(),
                    header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(
                        StringMatcher {
                            match_pattern: Some(MatchPattern::Exact((*revision).into())),
                            ..StringMatcher::default()
                        },
                    )),
                    ..HeaderMatcher::default()
                };
                route(
                    forward(&[(revision, 1)], self.timeout),
                    vec![pin],
                    Vec::new(),
                )
            })
            .collect();
        let any_value = RegexMatcher {
            regex: ".+".into(),
            ..RegexMatcher::default()
        };
        let present = CookieMatcher {
            name: "slipway-id".into(),
            string_match: Some(StringMatcher {
                match_pattern: Some(MatchPattern::SafeRegex(any_value)),
                ..StringMatcher::default()
            }),
            invert_match: false,
        };
        routes.push(route(
            forward(self.shares, self.timeout),
            Vec::new(),
            vec![present],
        ));
        let mut without = route(forward(self.shares, self.timeout), Vec::new(), Vec::new());
        without.response_headers_to_add = vec![add_header(
            "set-cookie",
            "slipway-id=%REQ(x-request-id)%; Path=/",
            HeaderAppendAction::AppendIfExistsOrAdd,
        )];
        routes.push(without);
        routes
    }
}

/// The routes of an endpoint without traffic.
pub fn no_revision() -> RouteConfiguration {
    let route = Route {
        name: "production/tumor@0".into(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        }),
        action: Some(Action::DirectResponse(DirectResponseAction {
            status: 503,
            body: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(
                    "no revision serves this endpoint yet".into(),
                )),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    };
    let host = VirtualHost {
        name: "any".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    RouteConfiguration {
        name: "slipway".into(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    }
}

/// Sends a whole configuration: each revision on its backends, and the split. Waits until it is in force.
pub async fn configure(ads: &FakeAds, revisions: &[(&str, &[&Backend])], split: Split<'_>) {
    ads.set(
        revisions
            .iter()
            .map(|(revision, _)| any(&cluster(revision)))
            .collect(),
    );
    let assignments = revisions.iter().map(|(revision, backends)| {
        let ports: Vec<u16> = backends.iter().map(|backend| backend.port()).collect();
        any(&endpoints(revision, &ports))
    });
    ads.set(assignments.collect());
    ads.set(vec![any(&listener())]);
    let version = ads.set(vec![any(&split.routes())]);
    ads.acknowledged(&url::<RouteConfiguration>(), version)
        .await;
}
