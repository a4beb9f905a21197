//! Reading answers back.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration};
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::super::resources::Kind;

pub fn unpack<T: Message + Name + Default>(any: &Any) -> T {
    assert_eq!(any.type_url, T::type_url());
    T::decode(any.value.as_slice()).unwrap()
}

pub fn kind(response: &DiscoveryResponse) -> Kind {
    Kind::from_type_url(&response.type_url).unwrap()
}

/// The names of the clusters, or of the clusters whose endpoints these are.
pub fn names(response: &DiscoveryResponse) -> Vec<String> {
    let name = |any: &Any| match kind(response) {
        Kind::Cluster => unpack::<Cluster>(any).name,
        Kind::Endpoint => unpack::<ClusterLoadAssignment>(any).cluster_name,
        Kind::Listener | Kind::Route => panic!("not about clusters"),
    };
    response.resources.iter().map(name).collect()
}

/// The clusters that the routes point at.
pub fn referenced(response: &DiscoveryResponse) -> Vec<String> {
    let configuration: RouteConfiguration = unpack(&response.resources[0]);
    let routes = configuration
        .virtual_hosts
        .iter()
        .flat_map(|host| &host.routes);
    let mut names: Vec<_> = routes.flat_map(targets).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    names
}

/// The clusters of a route with their weights.
pub fn targets(route: &Route) -> Vec<(String, u32)> {
    match route.action.as_ref().unwrap() {
        Action::Route(action) => match action.cluster_specifier.as_ref().unwrap() {
            ClusterSpecifier::WeightedClusters(weighted) => {
                let target = |cluster: &envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight| {
                    (cluster.name.clone(), cluster.weight.unwrap().value)
                };
                weighted.clusters.iter().map(target).collect()
            }
            other => panic!("{other:?}"),
        },
        Action::DirectResponse(_) => Vec::new(),
        other => panic!("{other:?}"),
    }
}
