//! The resources of a snapshot.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost,
};
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::HttpGrpcAccessLogConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::super::XdsConfig;
use super::super::resources::Built;
use super::wire::{targets, unpack};
use super::{endpoint, routes, snapshot};
use crate::xds::EndpointRoutes;

fn build(endpoints: &[EndpointRoutes]) -> Built {
    Built::new(&snapshot(1, endpoints), &XdsConfig::default(), None)
}

fn configuration(endpoints: &[EndpointRoutes]) -> RouteConfiguration {
    unpack(&build(endpoints).routes.items[0].any)
}

fn host<'a>(configuration: &'a RouteConfiguration, name: &str) -> &'a VirtualHost {
    configuration
        .virtual_hosts
        .iter()
        .find(|host| host.name == name)
        .unwrap()
}

fn action(route: &Route) -> &RouteAction {
    match route.action.as_ref().unwrap() {
        Action::Route(action) => action,
        other => panic!("{other:?}"),
    }
}

/// The route's conditions on headers, in short.
fn conditions(route: &Route) -> Vec<String> {
    let matchers = route.r#match.as_ref().unwrap().headers.iter();
    let short = matchers.map(
        |matcher| match matcher.header_match_specifier.as_ref().unwrap() {
            HeaderMatchSpecifier::PresentMatch(true) => format!("{} present", matcher.name),
            HeaderMatchSpecifier::StringMatch(text) => match text.match_pattern.as_ref().unwrap() {
                MatchPattern::Exact(value) => format!("{} = {value}", matcher.name),
                MatchPattern::SafeRegex(regex) => format!("{} ~ {}", matcher.name, regex.regex),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
    );
    short.collect()
}

fn added(route: &Route) -> Vec<String> {
    let headers = route
        .response_headers_to_add
        .iter()
        .map(|option| option.header.as_ref().unwrap());
    headers
        .map(|header| format!("{}: {}", header.key, header.value))
        .collect()
}

#[test]
fn an_endpoint_has_its_names_and_a_place_below_the_common_host() {
    let configuration = configuration(&[routes("tumor", 7, &[(2, 1_000), (1, 9_000)])]);
    assert_eq!(configuration.name, "slipway");
    let own = host(&configuration, "production/tumor");
    assert_eq!(own.domains, ["tumor.production", "tumor.production:*"]);
    let common = host(&configuration, "*");
    assert_eq!(common.domains, ["*"]);
    assert_eq!(own.routes.len(), common.routes.len());
    for (route, prefix, rewrite) in [
        (&own.routes[0], "/", ""),
        (&common.routes[0], "/production/tumor/", "/"),
    ] {
        let path = route.r#match.as_ref().unwrap().path_specifier.clone();
        assert_eq!(path, Some(PathSpecifier::Prefix(prefix.to_owned())));
        assert_eq!(action(route).prefix_rewrite, rewrite);
        assert_eq!(route.name, "production/tumor@7");
    }
}

#[test]
fn a_split_is_weighted_by_hash_candidate_first() {
    let configuration = configuration(&[routes("tumor", 7, &[(2, 1_000), (1, 9_000)])]);
    let own = &host(&configuration, "production/tumor").routes;
    let split = vec![
        ("production/tumor/tumor-00002".to_owned(), 1_000),
        ("production/tumor/tumor-00001".to_owned(), 9_000),
    ];
    let [pinned_2, pinned_1, with_cookie, without] = own.as_slice() else {
        panic!("{} routes", own.len())
    };
    assert_eq!(conditions(pinned_2), ["x-slipway-revision = tumor-00002"]);
    assert_eq!(
        targets(pinned_2),
        [("production/tumor/tumor-00002".to_owned(), 10_000)]
    );
    assert_eq!(conditions(pinned_1), ["x-slipway-revision = tumor-00001"]);
    assert_eq!(
        conditions(with_cookie),
        [r"cookie ~ (.*;\s*)?slipway-id=[^;\s].*"]
    );
    assert_eq!(conditions(without), Vec::<String>::new());
    for route in [with_cookie, without] {
        assert_eq!(targets(route), split);
        let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action(route).cluster_specifier
        else {
            panic!()
        };
        assert!(
            matches!(&weighted.random_value_specifier, Some(RandomValueSpecifier::UseHashPolicy(on)) if on.value)
        );
        let answered = weighted.clusters[0].response_headers_to_add[0]
            .header
            .as_ref()
            .unwrap();
        assert_eq!(
            (answered.key.as_str(), answered.value.as_str()),
            ("x-slipway-revision", "tumor-00002")
        );
    }
    assert_eq!(added(with_cookie), Vec::<String>::new());
    assert_eq!(
        added(without),
        ["set-cookie: slipway-id=%REQ(x-request-id)%; Path=/; HttpOnly; Max-Age=604800"]
    );
}

#[test]
fn the_hash_is_of_the_sticky_header_then_the_cookie_then_the_request_id() {
    let sticky = EndpointRoutes {
        sticky_header: Some("X-User".to_owned()),
        ..routes("tumor", 1, &[(1, 10_000)])
    };
    let configuration = configuration(&[sticky]);
    let own = &host(&configuration, "production/tumor").routes;
    let by_header = own
        .iter()
        .find(|route| conditions(route) == ["x-user present"])
        .unwrap();
    assert_eq!(added(by_header), Vec::<String>::new());
    let policies = action(by_header).hash_policy.iter().map(|policy| {
        match policy.policy_specifier.as_ref().unwrap() {
            PolicySpecifier::Header(header) => (header.header_name.as_str(), policy.terminal),
            PolicySpecifier::Cookie(cookie) => {
                assert_eq!(cookie.ttl, None, "the proxy is not to make the cookie");
                (cookie.name.as_str(), policy.terminal)
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(
        policies.collect::<Vec<_>>(),
        [
            ("x-user", true),
            ("slipway-id", true),
            ("x-request-id", false)
        ]
    );
}

#[test]
fn an_endpoint_without_traffic_says_so() {
    let empty = EndpointRoutes {
        splits: Vec::new(),
        ..routes("tumor", 3, &[(1, 10_000)])
    };
    let built = build(&[empty]);
    let configuration: RouteConfiguration = unpack(&built.routes.items[0].any);
    let [only] = host(&configuration, "production/tumor").routes.as_slice() else {
        panic!()
    };
    assert_eq!(only.name, "production/tumor@3");
    let Some(Action::DirectResponse(answer)) = &only.action else {
        panic!()
    };
    assert_eq!(answer.status, 503);
    assert!(built.referenced.is_empty());
    assert_eq!(
        built.backends.clusters.items.len(),
        1,
        "what is being warmed is there"
    );
}

#[test]
fn only_connections_that_were_not_made_are_tried_again() {
    let configuration = configuration(&[routes("tumor", 1, &[(1, 10_000)])]);
    for route in configuration
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes)
    {
        let retry = action(route).retry_policy.as_ref().unwrap();
        assert_eq!(retry.retry_on, "connect-failure,reset-before-request");
        assert_eq!(retry.num_retries.unwrap().value, 1);
        assert_eq!(action(route).timeout.unwrap().seconds, 60);
    }
}

#[test]
fn clusters_take_their_endpoints_from_the_same_stream() {
    let built = build(&[routes("tumor", 1, &[(2, 0), (1, 10_000)])]);
    let cluster: Cluster = unpack(
        &built
            .backends
            .clusters
            .get("production/tumor/tumor-00001")
            .unwrap()
            .any,
    );
    let config = cluster.eds_cluster_config.unwrap().eds_config.unwrap();
    assert!(format!("{:?}", config.config_source_specifier).contains("Ads"));
    assert!(cluster.health_checks.is_empty() && cluster.outlier_detection.is_none());
    assert_eq!(
        cluster.circuit_breakers.unwrap().thresholds[0]
            .max_requests
            .unwrap()
            .value,
        1_000_000
    );
    let assignment: ClusterLoadAssignment = unpack(
        &built
            .backends
            .endpoints
            .get("production/tumor/tumor-00002")
            .unwrap()
            .any,
    );
    assert!(format!("{assignment:?}").contains("PortValue(9002)"));
}

#[test]
fn every_request_is_reported() {
    let listener: Listener = unpack(&build(&[]).listeners.items[0].any);
    assert_eq!(listener.name, "slipway");
    let Some(filter::ConfigType::TypedConfig(any)) =
        &listener.filter_chains[0].filters[0].config_type
    else {
        panic!()
    };
    let manager: HttpConnectionManager = unpack(any);
    let log = manager.access_log[0].config_type.clone().unwrap();
    let envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType::TypedConfig(any) =
        log;
    let common = unpack::<HttpGrpcAccessLogConfig>(&any)
        .common_config
        .unwrap();
    assert_eq!(common.log_name, "slipway");
    assert_eq!(common.buffer_flush_interval.unwrap().nanos, 100_000_000);
    assert_eq!(common.buffer_size_bytes.unwrap().value, 16_384);
    assert!(format!("{:?}", common.grpc_service).contains("slipway-als"));
}

#[test]
fn one_endpoint_cannot_make_proxies_refuse_the_others() {
    let greedy = EndpointRoutes {
        hosts: [
            "*",
            "b.production",
            "shop.example",
            "Shop.Example",
            "no host",
            "",
        ]
        .map(str::to_owned)
        .to_vec(),
        sticky_header: Some("not a header".to_owned()),
        splits: routes("a", 1, &[(1, 0), (2, 0)]).splits,
        ..routes("a", 1, &[])
    };
    let modest = EndpointRoutes {
        hosts: vec!["shop.example".to_owned()],
        ..routes("b", 1, &[(1, 10_000)])
    };
    let configuration = configuration(&[modest, greedy]);
    let mut domains: Vec<_> = configuration
        .virtual_hosts
        .iter()
        .flat_map(|host| host.domains.clone())
        .collect();
    let count = domains.len();
    domains.sort();
    domains.dedup();
    assert_eq!(
        domains.len(),
        count,
        "proxies refuse a domain that is there twice"
    );
    assert!(
        host(&configuration, "production/a")
            .domains
            .contains(&"shop.example".to_owned())
    );
    assert!(matches!(
        host(&configuration, "production/a").routes[0].action,
        Some(Action::DirectResponse(_))
    ));
}

#[test]
fn what_did_not_change_is_the_same_in_memory_and_keeps_its_version() {
    let config = XdsConfig::default();
    let one = routes("a", 1, &[(1, 10_000)]);
    let first = Built::new(&snapshot(1, std::slice::from_ref(&one)), &config, None);
    let second = Built::new(
        &snapshot(2, std::slice::from_ref(&one)),
        &config,
        Some(&first),
    );
    assert!(
        Arc::ptr_eq(&first.routes, &second.routes)
            && Arc::ptr_eq(&first.generations, &second.generations)
    );
    assert!(Arc::ptr_eq(
        &first.backends.clusters,
        &second.backends.clusters
    ));
    assert!(Arc::ptr_eq(&first.listeners, &second.listeners));

    let shifted = routes("a", 2, &[(2, 500), (1, 9_500)]);
    let third = Built::new(
        &snapshot(3, &[shifted, routes("b", 1, &[])]),
        &config,
        Some(&second),
    );
    assert_eq!(
        (
            third.routes.version,
            third.backends.clusters.version,
            third.listeners.version
        ),
        (3, 3, 1)
    );
    let kept = "production/a/a-00001";
    assert!(Arc::ptr_eq(
        first.backends.endpoints.get(kept).unwrap(),
        third.backends.endpoints.get(kept).unwrap()
    ));
    let generation = &third.generations.by_endpoint[&endpoint("a")];
    assert_eq!((generation.number, generation.since), (2, 3));
}
