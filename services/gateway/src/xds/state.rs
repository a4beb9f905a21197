//! What was accepted from the control plane, and what of it is in force.
//!
//! Clusters and addresses go in force at once. Routes go in force when every cluster that they name is
//! there with its addresses; until then the routes before them go on. A cluster that the control plane
//! took away is kept for as long as the routes in force name it. Both together make each change safe,
//! whatever the order in which its parts arrive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ProtoCluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener as ProtoListener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;

use super::resources::{self, Kind, Listener, Problems, Routes};
use crate::routing::RouteTable;
use crate::snapshot::{Current, Snapshot};
use crate::upstream::{Address, Cluster, ClusterSpec, Discovery, Pools};

/// Accepted resources, and the snapshot made of them.
#[derive(Debug)]
pub struct State {
    listener_name: String,
    pools: Arc<Pools>,
    current: Current,
    listener: Option<Listener>,
    specs: BTreeMap<String, ClusterSpec>,
    addresses: HashMap<String, Vec<Address>>,
    routes: HashMap<String, Prepared>,
    in_force: Option<Prepared>,
    clusters: HashMap<Arc<str>, Arc<Cluster>>,
    raw: BTreeMap<Kind, BTreeMap<String, Any>>,
}

/// Routes and the clusters that they name.
#[derive(Debug, Clone)]
struct Prepared {
    table: Arc<RouteTable>,
    clusters: Arc<BTreeSet<Arc<str>>>,
}

impl Prepared {
    fn new(table: RouteTable) -> Self {
        let clusters = Arc::new(table.clusters());
        Self {
            table: Arc::new(table),
            clusters,
        }
    }
}

impl State {
    /// Nothing accepted yet. Serves the listener of this name through `current`.
    pub fn new(listener_name: String, pools: Arc<Pools>, current: Current) -> Self {
        Self {
            listener_name,
            pools,
            current,
            listener: None,
            specs: BTreeMap::new(),
            addresses: HashMap::new(),
            routes: HashMap::new(),
            in_force: None,
            clusters: HashMap::new(),
            raw: BTreeMap::new(),
        }
    }

    /// Takes one response's resources, all of them or, with the reasons, none.
    pub fn accept(&mut self, kind: Kind, resources: &[Any]) -> Result<(), Problems> {
        let mut problems = Problems::new();
        let names = match kind {
            Kind::Cluster => self.accept_clusters(resources, problems)?,
            Kind::Endpoints => self.accept_endpoints(resources, problems)?,
            Kind::Listener => self.accept_listeners(resources, problems)?,
            Kind::Routes => {
                let protos = resources::decode(
                    resources,
                    |proto: &RouteConfiguration| &proto.name,
                    &mut problems,
                );
                let tables: Vec<_> = protos
                    .iter()
                    .map(|proto| resources::table(proto, &mut problems))
                    .collect();
                problems.into_result()?;
                let names: Vec<_> = protos.into_iter().map(|proto| proto.name).collect();
                self.routes.extend(
                    names
                        .iter()
                        .cloned()
                        .zip(tables.into_iter().flatten().map(Prepared::new)),
                );
                names
            }
        };
        let raw = self.raw.entry(kind).or_default();
        if kind.is_complete_in_each_response() {
            raw.clear();
        }
        raw.extend(names.into_iter().zip(resources.iter().cloned()));
        Ok(())
    }

    /// Puts in force what can be. Gives the clusters that the accepted routes still wait for; with
    /// `force` nothing waits, and requests for a missing cluster are answered with an error.
    pub fn settle(&mut self, force: bool) -> Vec<String> {
        self.forget_unused();
        let desired = self.desired();
        let mut waiting = Vec::new();
        if let Some(desired) = desired {
            let is_new = self
                .in_force
                .as_ref()
                .is_none_or(|in_force| !Arc::ptr_eq(&in_force.table, &desired.table));
            if is_new && !force {
                waiting = desired
                    .clusters
                    .iter()
                    .filter(|name| !self.is_ready(name))
                    .map(|name| name.to_string())
                    .collect();
            }
            if waiting.is_empty() {
                self.in_force = Some(desired);
            }
        }
        self.clusters = self.clusters_in_force();
        self.current.put(Snapshot {
            configured: self.listener.is_some() && self.in_force.is_some(),
            table: self
                .in_force
                .as_ref()
                .map(|routes| routes.table.clone())
                .unwrap_or_default(),
            clusters: self.clusters.clone(),
            idle_timeout: self
                .listener
                .as_ref()
                .and_then(|listener| listener.idle_timeout),
            normalize_path: self
                .listener
                .as_ref()
                .is_some_and(|listener| listener.normalize_path),
        });
        waiting
    }

    /// The names of the resources of this kind that are needed; empty for "all" where a kind is
    /// complete in each response.
    pub fn wanted(&self, kind: Kind) -> BTreeSet<String> {
        match kind {
            Kind::Cluster | Kind::Listener => BTreeSet::new(),
            Kind::Endpoints => self
                .specs
                .values()
                .filter_map(|spec| match &spec.discovery {
                    Discovery::Endpoints(name) => Some(name.clone()),
                    Discovery::Static(_) => None,
                })
                .collect(),
            Kind::Routes => match self.listener.as_ref().map(|listener| &listener.routes) {
                Some(Routes::Discovered(name)) => BTreeSet::from([name.clone()]),
                Some(Routes::Inline(_)) | None => BTreeSet::new(),
            },
        }
    }

    /// The accepted resources as they came.
    pub fn resources(&self) -> Vec<(Kind, Vec<Any>)> {
        Kind::ALL
            .into_iter()
            .map(|kind| {
                (
                    kind,
                    self.raw
                        .get(&kind)
                        .into_iter()
                        .flat_map(BTreeMap::values)
                        .cloned()
                        .collect(),
                )
            })
            .collect()
    }

    /// How many routes are in force.
    pub fn routes_in_force(&self) -> usize {
        self.in_force
            .as_ref()
            .map_or(0, |routes| routes.table.len())
    }

    fn accept_clusters(
        &mut self,
        resources: &[Any],
        mut problems: Problems,
    ) -> Result<Vec<String>, Problems> {
        let protos =
            resources::decode(resources, |proto: &ProtoCluster| &proto.name, &mut problems);
        let specs: BTreeMap<_, _> = protos
            .iter()
            .map(|proto| (proto.name.clone(), resources::cluster(proto, &mut problems)))
            .collect();
        problems.into_result()?;
        self.specs = specs;
        Ok(protos.into_iter().map(|proto| proto.name).collect())
    }

    fn accept_endpoints(
        &mut self,
        resources: &[Any],
        mut problems: Problems,
    ) -> Result<Vec<String>, Problems> {
        let protos = resources::decode(
            resources,
            |proto: &ClusterLoadAssignment| &proto.cluster_name,
            &mut problems,
        );
        let mut addresses = Vec::with_capacity(protos.len());
        for proto in &protos {
            let mut scope = problems.scope(format_args!("endpoints {}", proto.cluster_name));
            addresses.push((
                proto.cluster_name.clone(),
                resources::addresses(proto, &mut scope),
            ));
        }
        problems.into_result()?;
        self.addresses.extend(addresses);
        Ok(protos.into_iter().map(|proto| proto.cluster_name).collect())
    }

    fn accept_listeners(
        &mut self,
        resources: &[Any],
        mut problems: Problems,
    ) -> Result<Vec<String>, Problems> {
        let protos = resources::decode(
            resources,
            |proto: &ProtoListener| &proto.name,
            &mut problems,
        );
        // Other listeners are for other proxies.
        let ours = protos.iter().find(|proto| proto.name == self.listener_name);
        let listener = ours.and_then(|proto| resources::listener(proto, &mut problems));
        let inline = match listener.as_ref().map(|listener| &listener.routes) {
            Some(Routes::Inline(routes)) => Some(resources::table(routes, &mut problems)),
            Some(Routes::Discovered(_)) | None => None,
        };
        problems.into_result()?;
        if let Some(table) = inline.flatten() {
            self.routes.insert(INLINE.to_owned(), Prepared::new(table));
        }
        self.listener = listener;
        Ok(protos.into_iter().map(|proto| proto.name).collect())
    }

    /// The routes that the control plane wants in force, once they have come.
    fn desired(&self) -> Option<Prepared> {
        match self.listener.as_ref().map(|listener| &listener.routes) {
            None => None,
            Some(Routes::Discovered(name)) => self.routes.get(name).cloned(),
            Some(Routes::Inline(_)) => self.routes.get(INLINE).cloned(),
        }
    }

    fn is_ready(&self, name: &str) -> bool {
        self.specs
            .get(name)
            .is_some_and(|spec| self.addresses_of(spec).is_some())
    }

    fn addresses_of<'a>(&'a self, spec: &'a ClusterSpec) -> Option<&'a [Address]> {
        match &spec.discovery {
            Discovery::Static(addresses) => Some(addresses),
            Discovery::Endpoints(name) => self.addresses.get(name).map(Vec::as_slice),
        }
    }

    fn clusters_in_force(&self) -> HashMap<Arc<str>, Arc<Cluster>> {
        let mut clusters = HashMap::with_capacity(self.specs.len());
        for spec in self.specs.values() {
            let before = self.clusters.get(&spec.name);
            let cluster = match (self.addresses_of(spec), before) {
                (Some(addresses), Some(before)) if is_same(before, spec, addresses) => {
                    before.clone()
                }
                (Some(addresses), _) => {
                    Arc::new(Cluster::new(spec.clone(), addresses, &self.pools))
                }
                (None, Some(before)) => before.clone(),
                (None, None) => continue,
            };
            clusters.insert(spec.name.clone(), cluster);
        }
        for name in self
            .in_force
            .iter()
            .flat_map(|routes| routes.clusters.iter())
        {
            if let (false, Some(before)) = (clusters.contains_key(name), self.clusters.get(name)) {
                clusters.insert(name.clone(), before.clone());
            }
        }
        clusters
    }

    fn forget_unused(&mut self) {
        let wanted = self.wanted(Kind::Endpoints);
        self.addresses.retain(|name, _| wanted.contains(name));
        let routes = self.wanted(Kind::Routes);
        self.routes
            .retain(|name, _| name == INLINE || routes.contains(name));
        for (kind, wanted) in [(Kind::Endpoints, wanted), (Kind::Routes, routes)] {
            if let Some(raw) = self.raw.get_mut(&kind) {
                raw.retain(|name, _| wanted.contains(name));
            }
        }
    }
}

/// The name under which a listener's own routes are kept; no resource can have it.
const INLINE: &str = "";

fn is_same(cluster: &Cluster, spec: &ClusterSpec, addresses: &[Address]) -> bool {
    cluster.spec() == spec && cluster.addresses().eq(addresses)
}
