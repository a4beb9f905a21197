//! RDS: one route configuration with a virtual host per endpoint, and one for requests that name the
//! endpoint in their path.
//!
//! The routes of an endpoint, in order: one per split for requests that ask for that revision by header;
//! one for those that carry the sticky header, where there is one; one for those that carry the cookie;
//! and one for the rest, which sets it. All but the first kind choose by hash among the same weighted
//! clusters. A proxy does not make the cookie by itself when clusters are chosen by hash, so the cookie's
//! value is the id of the request that had none: the first choice and the later ones then hash alike.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{DataSource, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::{
    Cookie, Header, PolicySpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HashPolicy};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{
    ClusterWeight, RandomValueSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration,
    RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};

use super::super::config::XdsConfig;
use super::super::snapshot::{EndpointRoutes, Split, WEIGHT_TOTAL};
use super::{names, wire};

/// Only what no byte was sent of may be sent again: a connection that was not made, or broke before the
/// request's head went out. The choice of the revision is kept.
const RETRY_ON: &str = "connect-failure,reset-before-request";
const RETRIES: u32 = 1;

const EMPTY_STATUS: u32 = 503;
const EMPTY_BODY: &str = "no revision serves this endpoint yet";

/// The route configuration for these endpoints. Hosts are unique in it: the first to claim one has it.
pub(super) fn configuration(
    endpoints: &[&EndpointRoutes],
    config: &XdsConfig,
) -> RouteConfiguration {
    let mut taken: BTreeSet<String> = BTreeSet::from(["*".to_owned()]);
    for routes in endpoints {
        taken.insert(default_host(routes));
    }
    let mut virtual_hosts: Vec<_> = endpoints
        .iter()
        .map(|routes| VirtualHost {
            name: format!(
                "{}/{}",
                routes.endpoint.environment().id(),
                routes.endpoint.id()
            ),
            domains: domains(routes, &mut taken),
            routes: endpoint_routes(routes, "/", config),
            ..Default::default()
        })
        .collect();
    let by_path = endpoints.iter().flat_map(|routes| {
        let prefix = format!(
            "/{}/{}/",
            routes.endpoint.environment().id(),
            routes.endpoint.id()
        );
        endpoint_routes(routes, &prefix, config)
    });
    virtual_hosts.push(VirtualHost {
        name: "*".to_owned(),
        domains: vec!["*".to_owned()],
        routes: by_path.collect(),
        ..Default::default()
    });
    RouteConfiguration {
        name: names::ROUTE_CONFIGURATION.to_owned(),
        virtual_hosts,
        ..Default::default()
    }
}

fn default_host(routes: &EndpointRoutes) -> String {
    format!(
        "{}.{}",
        routes.endpoint.id(),
        routes.endpoint.environment().id()
    )
}

/// Every host with and without a port. A host that is taken, or that would make proxies refuse the whole
/// configuration, is left out.
fn domains(routes: &EndpointRoutes, taken: &mut BTreeSet<String>) -> Vec<String> {
    let default = default_host(routes);
    let mut domains = vec![default.clone(), format!("{default}:*")];
    for host in &routes.hosts {
        let host = host.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(allowed) {
            tracing::warn!(endpoint = %routes.endpoint, host, "host is left out: not a host name");
        } else if !taken.insert(host.clone()) {
            tracing::warn!(endpoint = %routes.endpoint, host, "host is left out: another endpoint has it");
        } else {
            domains.push(host.clone());
            domains.push(format!("{host}:*"));
        }
    }
    domains
}

/// The routes of one endpoint for paths that begin with `prefix`, which is replaced by `/`.
fn endpoint_routes(routes: &EndpointRoutes, prefix: &str, config: &XdsConfig) -> Vec<Route> {
    let name = names::route(&routes.endpoint, routes.generation);
    let route = |headers: Vec<HeaderMatcher>, action: Action| Route {
        name: name.clone(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
            headers,
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    };
    if routes.splits.is_empty() {
        return vec![route(Vec::new(), empty())];
    }
    let forward = |splits: &[Split]| {
        Action::Route(forward(
            splits,
            routes.sticky_header.as_deref(),
            prefix,
            config,
        ))
    };
    let mut all = Vec::new();
    for split in &routes.splits {
        let pinned = exactly(names::REVISION_HEADER, &split.revision.id());
        let whole = Split {
            revision: split.revision.clone(),
            weight: WEIGHT_TOTAL,
        };
        all.push(route(vec![pinned], forward(&[whole])));
    }
    if let Some(header) = &routes.sticky_header {
        all.push(route(vec![present(header)], forward(&routes.splits)));
    }
    all.push(route(vec![cookie_present()], forward(&routes.splits)));
    let set_cookie = format!(
        "{}=%REQ({})%; Path=/; HttpOnly; Max-Age={}",
        names::COOKIE,
        names::REQUEST_ID_HEADER,
        config.cookie_max_age_seconds
    );
    all.push(Route {
        response_headers_to_add: vec![header(
            "set-cookie",
            &set_cookie,
            HeaderAppendAction::AppendIfExistsOrAdd,
        )],
        ..route(Vec::new(), forward(&routes.splits))
    });
    all
}

/// To one of the splits, chosen by hash: by the sticky header, else the cookie, else the request's id.
fn forward(
    splits: &[Split],
    sticky_header: Option<&str>,
    prefix: &str,
    config: &XdsConfig,
) -> RouteAction {
    let clusters = splits.iter().map(|split| ClusterWeight {
        name: names::cluster(&split.revision),
        weight: Some(wire::uint32(split.weight)),
        response_headers_to_add: vec![header(
            names::REVISION_HEADER,
            &split.revision.id(),
            HeaderAppendAction::OverwriteIfExistsOrAdd,
        )],
        ..Default::default()
    });
    let mut hash_policy: Vec<_> = sticky_header
        .map(|name| hash_by_header(name, true))
        .into_iter()
        .collect();
    hash_policy.push(HashPolicy {
        terminal: true,
        policy_specifier: Some(PolicySpecifier::Cookie(Cookie {
            name: names::COOKIE.to_owned(),
            ..Default::default()
        })),
    });
    hash_policy.push(hash_by_header(names::REQUEST_ID_HEADER, false));
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
            random_value_specifier: Some(RandomValueSpecifier::UseHashPolicy(wire::boolean(true))),
            ..Default::default()
        })),
        hash_policy,
        prefix_rewrite: if prefix == "/" {
            String::new()
        } else {
            "/".to_owned()
        },
        timeout: Some(wire::duration(Duration::from_secs(
            config.route_timeout_seconds,
        ))),
        retry_policy: Some(RetryPolicy {
            retry_on: RETRY_ON.to_owned(),
            num_retries: Some(wire::uint32(RETRIES)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn empty() -> Action {
    Action::DirectResponse(DirectResponseAction {
        status: EMPTY_STATUS,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(EMPTY_BODY.to_owned())),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn hash_by_header(name: &str, terminal: bool) -> HashPolicy {
    let header = Header {
        header_name: name.to_owned(),
        regex_rewrite: None,
    };
    HashPolicy {
        terminal,
        policy_specifier: Some(PolicySpecifier::Header(header)),
    }
}

fn header(key: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        append_action: action as i32,
        ..Default::default()
    }
}

fn exactly(name: &str, value: &str) -> HeaderMatcher {
    string_match(name, MatchPattern::Exact(value.to_owned()))
}

fn present(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..Default::default()
    }
}

/// The cookie with a value, anywhere in the list of cookies. An empty one does not count, as it does not
/// for the hash policy.
fn cookie_present() -> HeaderMatcher {
    let regex = format!("(.*;\\s*)?{}=[^;\\s].*", names::COOKIE);
    string_match(
        "cookie",
        MatchPattern::SafeRegex(RegexMatcher {
            regex,
            engine_type: None,
        }),
    )
}

fn string_match(name: &str, pattern: MatchPattern) -> HeaderMatcher {
    let matcher = StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: false,
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
        ..Default::default()
    }
}
