//! Route configurations: virtual hosts, routes and what they match.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::envoy::config::route::v3::{
    CookieMatcher, HeaderMatcher, Route as ProtoRoute, RouteConfiguration, RouteMatch,
    VirtualHost as ProtoHost,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use regex::{Regex, RegexBuilder};

use super::action::{action, refuse_unserved_retries};
use super::mutations::{Lists, mutations};
use super::{Problems, Scope};
use crate::routing::{
    CookieMatch, HeaderMatch, PathMatch, Route, RouteTable, Subject, TextMatch, TextPattern,
    ValueMatch, VirtualHost,
};

/// Largest compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Compiled regular expressions that are kept. One more, and all are forgotten.
const REGEXES_MAX: usize = 64;

/// Regular expressions by their text. The routes of every endpoint have the same one twice, and so has the next
/// configuration. Compiling takes some 0.1 ms, and a new split of one endpoint brings the routes of all.
static REGEXES: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());

/// Reads a route configuration; none when problems were found.
pub fn table(proto: &RouteConfiguration, problems: &mut Problems) -> Option<RouteTable> {
    let mut scope = problems.scope(format_args!("routes {}", proto.name));
    scope.unserved([
        ("vhds", proto.vhds.is_some()),
        (
            "cluster_specifier_plugins",
            !proto.cluster_specifier_plugins.is_empty(),
        ),
        (
            "request_mirror_policies",
            !proto.request_mirror_policies.is_empty(),
        ),
        (
            "internal_only_headers",
            !proto.internal_only_headers.is_empty(),
        ),
        ("vhost_header", !proto.vhost_header.is_empty()),
        ("route_specifiers", !proto.route_specifiers.is_empty()),
        (
            "typed_per_filter_config",
            !proto.typed_per_filter_config.is_empty(),
        ),
        (
            "ignore_path_parameters_in_path_matching",
            proto.ignore_path_parameters_in_path_matching,
        ),
    ]);
    let lists = Lists {
        request_add: &proto.request_headers_to_add,
        request_remove: &proto.request_headers_to_remove,
        response_add: &proto.response_headers_to_add,
        response_remove: &proto.response_headers_to_remove,
    };
    let all = mutations(lists, &mut scope);
    let hosts = proto
        .virtual_hosts
        .iter()
        .map(|host| virtual_host(host, &mut scope))
        .collect();
    let built = RouteTable::new(hosts, all)
        .map_err(|error| scope.refuse("virtual_hosts", error))
        .ok()?;
    problems.is_empty().then(|| {
        built
            .ignoring_port(proto.ignore_port_in_host_matching)
            .specific_mutations_win(proto.most_specific_header_mutations_wins)
    })
}

#[allow(deprecated)]
fn virtual_host(proto: &ProtoHost, scope: &mut Scope<'_>) -> VirtualHost {
    let mut scope = scope.inner(format_args!("host {}", proto.name));
    scope.unserved([
        (
            "require_tls",
            proto.require_tls != i32::from(TlsRequirementType::None),
        ),
        ("matcher", proto.matcher.is_some()),
        ("rate_limits", !proto.rate_limits.is_empty()),
        ("cors", proto.cors.is_some()),
        ("hedge_policy", proto.hedge_policy.is_some()),
        (
            "typed_per_filter_config",
            !proto.typed_per_filter_config.is_empty(),
        ),
        (
            "request_mirror_policies",
            !proto.request_mirror_policies.is_empty(),
        ),
        (
            "include_request_attempt_count",
            proto.include_request_attempt_count,
        ),
        (
            "include_attempt_count_in_response",
            proto.include_attempt_count_in_response,
        ),
        (
            "retry_policy_typed_config",
            proto.retry_policy_typed_config.is_some(),
        ),
        ("route_specifiers", !proto.route_specifiers.is_empty()),
    ]);
    refuse_unserved_retries(proto.retry_policy.as_ref(), &mut scope);
    let lists = Lists {
        request_add: &proto.request_headers_to_add,
        request_remove: &proto.request_headers_to_remove,
        response_add: &proto.response_headers_to_add,
        response_remove: &proto.response_headers_to_remove,
    };
    VirtualHost {
        name: proto.name.clone(),
        domains: proto.domains.clone(),
        mutations: mutations(lists, &mut scope),
        routes: proto
            .routes
            .iter()
            .filter_map(|proto| route(proto, &mut scope))
            .collect(),
    }
}

fn route(proto: &ProtoRoute, scope: &mut Scope<'_>) -> Option<Route> {
    let mut scope = scope.inner(format_args!("route {}", proto.name));
    scope.unserved([
        (
            "typed_per_filter_config",
            !proto.typed_per_filter_config.is_empty(),
        ),
        ("route_specifiers", !proto.route_specifiers.is_empty()),
    ]);
    let Some(rules) = &proto.r#match else {
        scope.refuse("match", "is missing");
        return None;
    };
    let path = path(rules, &mut scope);
    let headers: Vec<_> = rules
        .headers
        .iter()
        .map(|proto| header(proto, &mut scope))
        .collect();
    let cookies: Vec<_> = rules
        .cookies
        .iter()
        .map(|proto| cookie(proto, &mut scope))
        .collect();
    let lists = Lists {
        request_add: &proto.request_headers_to_add,
        request_remove: &proto.request_headers_to_remove,
        response_add: &proto.response_headers_to_add,
        response_remove: &proto.response_headers_to_remove,
    };
    let mutations = mutations(lists, &mut scope);
    let action = action(proto, path.as_ref(), &mut scope);
    Some(Route {
        name: proto.name.as_str().into(),
        path: path?,
        headers: headers.into_iter().collect::<Option<_>>()?,
        cookies: cookies.into_iter().collect::<Option<_>>()?,
        action: action?,
        mutations,
    })
}

fn path(rules: &RouteMatch, scope: &mut Scope<'_>) -> Option<PathMatch> {
    scope.unserved([
        ("match.runtime_fraction", rules.runtime_fraction.is_some()),
        ("match.query_parameters", !rules.query_parameters.is_empty()),
        ("match.grpc", rules.grpc.is_some()),
        ("match.tls_context", rules.tls_context.is_some()),
        ("match.dynamic_metadata", !rules.dynamic_metadata.is_empty()),
        ("match.filter_state", !rules.filter_state.is_empty()),
    ]);
    let ignore_case = rules
        .case_sensitive
        .is_some_and(|sensitive| !sensitive.value);
    let specifier = rules.path_specifier.clone();
    let text = |pattern| Some(PathMatch::Text(TextMatch::new(pattern, true)));
    match specifier {
        Some(PathSpecifier::Prefix(prefix)) if ignore_case => text(TextPattern::Prefix(prefix)),
        Some(PathSpecifier::Prefix(prefix)) => Some(PathMatch::Prefix(prefix)),
        Some(PathSpecifier::Path(exact)) if ignore_case => text(TextPattern::Exact(exact)),
        Some(PathSpecifier::Path(exact)) => Some(PathMatch::Exact(exact)),
        Some(PathSpecifier::PathSeparatedPrefix(prefix))
            if !ignore_case && !prefix.ends_with('/') =>
        {
            Some(PathMatch::Segments(prefix))
        }
        Some(PathSpecifier::SafeRegex(matcher)) => {
            let regex = regex(&matcher, "match.safe_regex", scope)?;
            Some(PathMatch::Text(TextMatch::new(
                TextPattern::Regex(regex),
                false,
            )))
        }
        _ => {
            scope.refuse("match", "has no path condition that is supported (prefix, path, path_separated_prefix or safe_regex)");
            None
        }
    }
}

#[allow(deprecated)]
fn header(proto: &HeaderMatcher, scope: &mut Scope<'_>) -> Option<HeaderMatch> {
    let mut scope = scope.inner(format_args!("header {:?}", proto.name));
    let plain = |pattern| Some(ValueMatch::Text(TextMatch::new(pattern, false)));
    let value = match proto.header_match_specifier.clone() {
        None => Some(ValueMatch::Present(true)),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => Some(ValueMatch::Present(present)),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            Some(ValueMatch::Range(range.start, range.end))
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            text(&matcher, &mut scope).map(ValueMatch::Text)
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => plain(TextPattern::Exact(text)),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => plain(TextPattern::Prefix(text)),
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => plain(TextPattern::Suffix(text)),
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => plain(TextPattern::Contains(text)),
        Some(HeaderMatchSpecifier::SafeRegexMatch(matcher)) => {
            regex(&matcher, "safe_regex_match", &mut scope)
                .and_then(|regex| plain(TextPattern::Regex(regex)))
        }
    };
    let Some(subject) = Subject::parse(&proto.name) else {
        scope.refuse("name", "is not a header that can be matched");
        return None;
    };
    Some(HeaderMatch {
        subject,
        value: value?,
        invert: proto.invert_match,
        missing_is_empty: proto.treat_missing_header_as_empty,
    })
}

fn cookie(proto: &CookieMatcher, scope: &mut Scope<'_>) -> Option<CookieMatch> {
    let mut scope = scope.inner(format_args!("cookie {:?}", proto.name));
    if proto.name.is_empty() || proto.string_match.is_none() {
        scope.refuse("match", "needs a name and a string_match");
    }
    let value = text(proto.string_match.as_ref()?, &mut scope)?;
    Some(CookieMatch {
        name: proto.name.clone(),
        value,
        invert: proto.invert_match,
    })
}

fn text(proto: &StringMatcher, scope: &mut Scope<'_>) -> Option<TextMatch> {
    let pattern = match proto.match_pattern.clone() {
        Some(MatchPattern::Exact(text)) => TextPattern::Exact(text),
        Some(MatchPattern::Prefix(text)) => TextPattern::Prefix(text),
        Some(MatchPattern::Suffix(text)) => TextPattern::Suffix(text),
        Some(MatchPattern::Contains(text)) => TextPattern::Contains(text),
        Some(MatchPattern::SafeRegex(matcher)) => {
            TextPattern::Regex(regex(&matcher, "safe_regex", scope)?)
        }
        Some(MatchPattern::Custom(_)) | None => {
            scope.refuse("string_match", "is of no kind that is supported");
            return None;
        }
    };
    Some(TextMatch::new(pattern, proto.ignore_case))
}

fn regex(proto: &RegexMatcher, field: &str, scope: &mut Scope<'_>) -> Option<Regex> {
    compiled(&format!("^(?:{})$", proto.regex))
        .inspect_err(|error| {
            scope.refuse(field, format_args!("{:?} is refused: {error}", proto.regex))
        })
        .ok()
}

/// Compiles a regular expression, unless it is kept.
fn compiled(text: &str) -> Result<Regex, regex::Error> {
    let mut kept = REGEXES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = kept.get(text) {
        return Ok(regex.clone());
    }
    let regex = RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .build()?;
    if kept.len() >= REGEXES_MAX {
        kept.clear();
    }
    kept.insert(text.to_owned(), regex.clone());
    Ok(regex)
}
