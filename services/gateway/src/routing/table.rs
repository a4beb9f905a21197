//! The table of virtual hosts, and the choice of host and route for a request.
//!
//! Domains are tried in Envoy's order: the whole name, `*.suffix` with the longest suffix first,
//! `prefix*` with the longest prefix first (which is how `name:*` stands for any port), then `*`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::index::RouteIndex;
use super::{Action, Mutations, RequestView, Route};

/// A host: the names it answers to and its routes in order.
#[derive(Debug, Clone)]
pub struct VirtualHost {
    /// Its name, for messages.
    pub name: String,
    /// The names it answers to.
    pub domains: Vec<String>,
    /// Its routes; the first that matches wins.
    pub routes: Vec<Route>,
    /// Header changes for all of them.
    pub mutations: Mutations,
}

/// The table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two hosts, or one twice, claim a domain.
    #[error("domain {0:?} is given twice")]
    Duplicate(String),
    /// A star in the middle, or an empty domain.
    #[error("domain {0:?} is not a name, *.suffix, prefix* or *")]
    Domain(String),
}

/// Every host and route; immutable.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    hosts: Vec<(VirtualHost, RouteIndex)>,
    exact: HashMap<String, usize>,
    suffixes: BTreeMap<Reverse<usize>, HashMap<String, usize>>,
    prefixes: BTreeMap<Reverse<usize>, HashMap<String, usize>>,
    any: Option<usize>,
    mutations: Mutations,
    ignore_port: bool,
    specific_wins: bool,
}

/// The route that a request takes, and the header changes on the way to it.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Route,
    host: &'a VirtualHost,
    table: &'a RouteTable,
}

impl RouteTable {
    /// A table of these hosts, with header changes for all of them.
    pub fn new(hosts: Vec<VirtualHost>, mutations: Mutations) -> Result<Self, TableError> {
        let mut table = Self {
            mutations,
            ..Self::default()
        };
        for host in hosts {
            for domain in &host.domains {
                table.claim(domain, table.hosts.len())?;
            }
            let index = RouteIndex::of(&host.routes);
            table.hosts.push((host, index));
        }
        Ok(table)
    }

    /// Whether the port in a request's host is ignored.
    pub fn ignoring_port(mut self, ignore: bool) -> Self {
        self.ignore_port = ignore;
        self
    }

    /// Whether header changes are applied from the table inwards, so that the most specific comes last.
    pub fn specific_mutations_win(mut self, wins: bool) -> Self {
        self.specific_wins = wins;
        self
    }

    /// The route for a request, or none.
    pub fn find(&self, request: &RequestView<'_>) -> Option<Found<'_>> {
        let (host, index) = &self.hosts[self.host(request.authority)?];
        let route = index
            .candidates(request.path)
            .map(|position| &host.routes[position])
            .find(|route| route.matches(request))?;
        Some(Found {
            route,
            host,
            table: self,
        })
    }

    /// Every cluster that some route names.
    pub fn clusters(&self) -> BTreeSet<Arc<str>> {
        let routes = self.hosts.iter().flat_map(|(host, _)| &host.routes);
        routes
            .filter_map(|route| match &route.action {
                Action::Forward(forward) => Some(forward.clusters().cloned()),
                Action::Reply { .. } => None,
            })
            .flatten()
            .collect()
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.hosts.iter().map(|(host, _)| host.routes.len()).sum()
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn claim(&mut self, domain: &str, host: usize) -> Result<(), TableError> {
        let domain = domain.to_ascii_lowercase();
        let bad = || TableError::Domain(domain.clone());
        let before = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            _ if domain == "*" => self.any.replace(host),
            (Some(suffix), None) => {
                refuse_star(suffix).ok_or_else(bad)?;
                self.suffixes
                    .entry(Reverse(suffix.len()))
                    .or_default()
                    .insert(suffix.to_owned(), host)
            }
            (None, Some(prefix)) => {
                refuse_star(prefix).ok_or_else(bad)?;
                self.prefixes
                    .entry(Reverse(prefix.len()))
                    .or_default()
                    .insert(prefix.to_owned(), host)
            }
            (None, None) => {
                refuse_star(&domain).ok_or_else(bad)?;
                self.exact.insert(domain.clone(), host)
            }
            (Some(_), Some(_)) => return Err(bad()),
        };
        before.map_or(Ok(()), |_| Err(TableError::Duplicate(domain)))
    }

    fn host(&self, authority: &str) -> Option<usize> {
        let name = if self.ignore_port {
            without_port(authority)
        } else {
            authority
        };
        let lowered;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lowered = name.to_ascii_lowercase();
            lowered.as_str()
        } else {
            name
        };
        let suffix = || {
            by_length(&self.suffixes, name, |length| {
                name.get(name.len() - length..)
            })
        };
        let prefix = || by_length(&self.prefixes, name, |length| name.get(..length));
        self.exact
            .get(name)
            .copied()
            .or_else(suffix)
            .or_else(prefix)
            .or(self.any)
    }
}

impl<'a> Found<'a> {
    /// The levels of header changes in the order of application. `share` belongs to the picked cluster.
    pub fn mutations(self, share: Option<&'a Mutations>) -> impl Iterator<Item = &'a Mutations> {
        let inner_first = [
            share,
            Some(&self.route.mutations),
            Some(&self.host.mutations),
            Some(&self.table.mutations),
        ];
        let mut levels = inner_first;
        if self.table.specific_wins {
            levels.reverse();
        }
        levels.into_iter().flatten()
    }
}

fn refuse_star(text: &str) -> Option<()> {
    (!text.is_empty() && !text.contains('*')).then_some(())
}

fn by_length<'a>(
    lists: &BTreeMap<Reverse<usize>, HashMap<String, usize>>,
    name: &str,
    part: impl Fn(usize) -> Option<&'a str>,
) -> Option<usize> {
    lists
        .iter()
        .filter(|(Reverse(length), _)| *length < name.len())
        .find_map(|(Reverse(length), hosts)| hosts.get(part(*length)?).copied())
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, StatusCode};

    use super::*;
    use crate::routing::PathMatch;

    fn host(name: &str, domains: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            routes: vec![Route {
                name: name.into(),
                path: PathMatch::Prefix("/".into()),
                headers: Vec::new(),
                cookies: Vec::new(),
                action: Action::Reply {
                    status: StatusCode::OK,
                    body: Default::default(),
                },
                mutations: Mutations::default(),
            }],
            mutations: Mutations::default(),
        }
    }

    fn found(table: &RouteTable, authority: &str) -> Option<String> {
        let request = RequestView {
            authority,
            path: "/",
            method: &Method::GET,
            headers: &HeaderMap::new(),
            source: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        table
            .find(&request)
            .map(|found| found.route.name.to_string())
    }

    #[test]
    fn domains_are_tried_from_the_most_to_the_least_specific() {
        let table = RouteTable::new(
            vec![
                host("any", &["*"]),
                host(
                    "tumor",
                    &[
                        "tumor.production",
                        "tumor.production:*",
                        "Tumor.Example.com",
                    ],
                ),
                host("suffix", &["*.example.com"]),
                host("longer", &["*.eu.example.com"]),
            ],
            Mutations::default(),
        )
        .unwrap();
        for (authority, expected) in [
            ("tumor.production", "tumor"),
            ("TUMOR.production:7400", "tumor"),
            ("tumor.production:", "any"),
            ("tumor.example.com", "tumor"),
            ("chat.example.com", "suffix"),
            ("chat.eu.example.com", "longer"),
            (".example.com", "any"),
            ("other", "any"),
            ("", "any"),
        ] {
            assert_eq!(
                found(&table, authority).as_deref(),
                Some(expected),
                "{authority}"
            );
        }
    }

    #[test]
    fn no_host_is_no_route() {
        let table = RouteTable::new(vec![host("a", &["a"])], Mutations::default()).unwrap();
        assert_eq!(found(&table, "b"), None);
        assert_eq!(
            found(&table.ignoring_port(true), "a:80").as_deref(),
            Some("a")
        );
        assert_eq!(found(&RouteTable::default(), "a"), None);
    }

    #[test]
    fn a_domain_belongs_to_one_host_and_has_one_star_at_most() {
        let table =
            |domains: &[&str]| RouteTable::new(vec![host("a", domains)], Mutations::default());
        assert_eq!(
            table(&["a", "A"]).unwrap_err(),
            TableError::Duplicate("a".into())
        );
        assert_eq!(
            table(&["a.*.b"]).unwrap_err(),
            TableError::Domain("a.*.b".into())
        );
        assert_eq!(table(&[""]).unwrap_err(), TableError::Domain(String::new()));
        assert_eq!(
            table(&["*a*"]).unwrap_err(),
            TableError::Domain("*a*".into())
        );
    }
}
