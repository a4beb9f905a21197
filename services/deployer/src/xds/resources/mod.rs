//! From a [`Snapshot`] to what goes over the wire: pure, made once per snapshot, shared by every stream.
//!
//! A resource that is as it was keeps its place in memory, and so does a whole set of them: whoever holds
//! the former one sees by the pointer that there is nothing to send.

mod cluster;
mod listener;
pub mod names;
mod route;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use slipway_platform::names::EndpointName;

use super::config::XdsConfig;
use super::snapshot::{EndpointRoutes, Snapshot};

/// The four types that are served, in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route];

    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Kind::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Kind::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    pub fn from_type_url(url: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Cluster => "clusters",
            Kind::Endpoint => "endpoints",
            Kind::Listener => "listener",
            Kind::Route => "routes",
        }
    }

    /// Whether a first request without names asks for all, and an answer without a resource removes it.
    pub fn is_wildcard(self) -> bool {
        matches!(self, Kind::Cluster | Kind::Listener)
    }
}

/// One encoded resource.
#[derive(Debug, PartialEq)]
pub struct Item {
    pub name: String,
    pub any: Any,
}

/// Every resource of one type.
#[derive(Debug)]
pub struct Resources {
    /// The snapshot in which it became what it is.
    pub version: u64,
    /// Sorted by name.
    pub items: Vec<Arc<Item>>,
}

impl Resources {
    fn new(
        version: u64,
        items: BTreeMap<String, Any>,
        before: Option<&Arc<Resources>>,
    ) -> Arc<Resources> {
        let items = items.into_iter().map(|(name, any)| Item { name, any });
        let items = items.map(
            |item| match before.and_then(|before| before.get(&item.name)) {
                Some(same) if **same == item => same.clone(),
                _ => Arc::new(item),
            },
        );
        let items: Vec<_> = items.collect();
        match before {
            Some(before) if before.is_same(&items) => before.clone(),
            _ => Arc::new(Resources { version, items }),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Item>> {
        let at = self
            .items
            .binary_search_by(|item| item.name.as_str().cmp(name))
            .ok()?;
        self.items.get(at)
    }

    /// Whether it has everything that `other` has, unchanged.
    pub fn covers(&self, other: &Resources) -> bool {
        std::ptr::eq(self, other)
            || other.items.iter().all(|item| {
                self.get(&item.name)
                    .is_some_and(|mine| Arc::ptr_eq(mine, item))
            })
    }

    /// Whether it has exactly what `other` has, unchanged.
    pub fn equals(&self, other: &Resources) -> bool {
        std::ptr::eq(self, other) || self.is_same(&other.items)
    }

    fn is_same(&self, items: &[Arc<Item>]) -> bool {
        self.items.len() == items.len()
            && self.items.iter().zip(items).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// With those of `others` that are missing here.
    fn with(&self, names: &BTreeSet<&str>, others: &[&Resources]) -> Resources {
        let mut items: BTreeMap<&str, &Arc<Item>> = BTreeMap::new();
        for resources in others.iter().copied().chain([self]) {
            let wanted = |item: &&Arc<Item>| {
                std::ptr::eq(resources, self) || names.contains(item.name.as_str())
            };
            items.extend(
                resources
                    .items
                    .iter()
                    .filter(wanted)
                    .map(|item| (item.name.as_str(), item)),
            );
        }
        Resources {
            version: self.version,
            items: items.into_values().cloned().collect(),
        }
    }
}

/// The generation of one endpoint's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub number: i64,
    /// The version of the routes that had this generation first.
    pub since: u64,
    /// The trace of the decision that it comes from.
    pub traceparent: Option<Arc<str>>,
}

/// The generation of every endpoint in one set of routes.
#[derive(Debug)]
pub struct Generations {
    pub version: u64,
    pub by_endpoint: HashMap<EndpointName, Generation>,
}

/// Clusters and their endpoints, which travel together.
#[derive(Debug, Clone)]
pub struct Backends {
    pub clusters: Arc<Resources>,
    pub endpoints: Arc<Resources>,
}

/// A snapshot as resources.
#[derive(Debug)]
pub struct Built {
    pub version: u64,
    pub backends: Backends,
    pub listeners: Arc<Resources>,
    pub routes: Arc<Resources>,
    pub generations: Arc<Generations>,
    /// The clusters that the routes point at.
    pub referenced: Arc<BTreeSet<String>>,
    transitions: Mutex<Vec<(Vec<u64>, Backends)>>,
}

/// Proxies are at most a few snapshots behind; what is further back is worked out again for each.
const TRANSITIONS_KEPT: usize = 16;

impl Built {
    /// The resources of a snapshot; what is as it was `before` is shared with it.
    pub fn new(snapshot: &Snapshot, config: &XdsConfig, before: Option<&Built>) -> Built {
        let version = snapshot.version;
        let mut endpoints: Vec<_> = snapshot.endpoints.iter().map(sound).collect();
        endpoints.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        endpoints.dedup_by(|a, b| a.endpoint == b.endpoint);

        let mut addresses: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        let mut referenced = BTreeSet::new();
        for routes in &endpoints {
            for cluster in &routes.clusters {
                addresses.insert(names::cluster(&cluster.revision), cluster.addresses.clone());
            }
            for split in &routes.splits {
                let name = names::cluster(&split.revision);
                addresses.entry(name.clone()).or_default();
                referenced.insert(name);
            }
        }
        let connect_timeout = Duration::from_millis(config.connect_timeout_millis);
        let clusters = addresses.keys().map(|name| {
            (
                name.clone(),
                pack_any(cluster::cluster(name, connect_timeout)),
            )
        });
        let assignments = addresses
            .iter()
            .map(|(name, at)| (name.clone(), pack_any(cluster::load_assignment(name, at))));
        let listener = pack_any(listener::listener(config));
        let borrowed: Vec<_> = endpoints.iter().collect();
        let routes = pack_any(route::configuration(&borrowed, config));

        let set = |items, before| Resources::new(version, items, before);
        let routes = set(
            BTreeMap::from([(names::ROUTE_CONFIGURATION.to_owned(), routes)]),
            before.map(|before| &before.routes),
        );
        let generations = match before {
            Some(before) if Arc::ptr_eq(&before.routes, &routes) => before.generations.clone(),
            before => Arc::new(generations(version, &endpoints, before)),
        };
        Built {
            version,
            backends: Backends {
                clusters: set(
                    clusters.collect(),
                    before.map(|before| &before.backends.clusters),
                ),
                endpoints: set(
                    assignments.collect(),
                    before.map(|before| &before.backends.endpoints),
                ),
            },
            listeners: set(
                BTreeMap::from([(names::LISTENER.to_owned(), listener)]),
                before.map(|before| &before.listeners),
            ),
            routes,
            generations,
            referenced: Arc::new(referenced),
            transitions: Mutex::default(),
        }
    }

    /// The clusters and endpoints for a proxy that may still be using the routes of `others`.
    pub fn backends_beside(&self, others: &[&Built]) -> Backends {
        let missing: BTreeSet<&str> = others
            .iter()
            .flat_map(|other| other.referenced.iter())
            .filter(|name| self.backends.clusters.get(name).is_none())
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return self.backends.clone();
        }
        let key: Vec<u64> = others.iter().map(|other| other.version).collect();
        let mut kept = self
            .transitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, backends)) = kept.iter().find(|(other, _)| *other == key) {
            return backends.clone();
        }
        let clusters: Vec<_> = others
            .iter()
            .map(|other| &*other.backends.clusters)
            .collect();
        let endpoints: Vec<_> = others
            .iter()
            .map(|other| &*other.backends.endpoints)
            .collect();
        let backends = Backends {
            clusters: Arc::new(self.backends.clusters.with(&missing, &clusters)),
            endpoints: Arc::new(self.backends.endpoints.with(&missing, &endpoints)),
        };
        if kept.len() == TRANSITIONS_KEPT {
            kept.remove(0);
        }
        kept.push((key, backends.clone()));
        backends
    }
}

/// The routes without what would make proxies refuse all of them, which one endpoint must not do to the rest.
fn sound(routes: &EndpointRoutes) -> EndpointRoutes {
    let mut routes = routes.clone();
    if let Some(header) = routes.sticky_header.take() {
        match http::HeaderName::from_bytes(header.as_bytes()) {
            Ok(name) => routes.sticky_header = Some(name.as_str().to_owned()),
            Err(_) => {
                tracing::warn!(endpoint = %routes.endpoint, header, "sticky header is left out: not a header name")
            }
        }
    }
    let sum: u64 = routes
        .splits
        .iter()
        .map(|split| u64::from(split.weight))
        .sum();
    if sum == 0 || sum > u64::from(u32::MAX) {
        if !routes.splits.is_empty() {
            tracing::error!(endpoint = %routes.endpoint, sum, "weights do not sum to 10,000: no traffic");
        }
        routes.splits.clear();
    }
    routes
}

fn generations(version: u64, endpoints: &[EndpointRoutes], before: Option<&Built>) -> Generations {
    let since = |routes: &EndpointRoutes| {
        let before = before.and_then(|before| before.generations.by_endpoint.get(&routes.endpoint));
        match before {
            Some(before) if before.number == routes.generation => before.since,
            _ => version,
        }
    };
    let of = |routes: &EndpointRoutes| Generation {
        number: routes.generation,
        since: since(routes),
        traceparent: routes.traceparent.as_deref().map(Arc::from),
    };
    let by_endpoint = endpoints
        .iter()
        .map(|routes| (routes.endpoint.clone(), of(routes)))
        .collect();
    Generations {
        version,
        by_endpoint,
    }
}
