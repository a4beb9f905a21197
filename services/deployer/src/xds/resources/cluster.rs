//! CDS and EDS: a cluster per revision, and where it listens.
//!
//! A cluster's configuration never changes while it exists, so that an update of one does not make proxies
//! warm the others again. Proxies check and eject no hosts by themselves: whether a revision is fit is
//! judged from what it answers, and a proxy that hides failures would hide them from the judge too.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::wire;

/// A proxy's own limits of 1,024 would shed requests at the proxy, as local replies that nobody judges.
const PARALLEL_MAX: u32 = 1_000_000;

/// The cluster of this name. Its endpoints come through the same stream.
pub(super) fn cluster(name: &str, connect_timeout: Duration) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        connect_timeout: Some(wire::duration(connect_timeout)),
        lb_policy: LbPolicy::LeastRequest as i32,
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: Some(wire::uint32(PARALLEL_MAX)),
                max_pending_requests: Some(wire::uint32(PARALLEL_MAX)),
                max_requests: Some(wire::uint32(PARALLEL_MAX)),
                max_retries: Some(wire::uint32(PARALLEL_MAX)),
                ..Default::default()
            }],
            per_host_thresholds: Vec::new(),
        }),
        ..Default::default()
    }
}

/// The endpoints of the cluster of this name.
pub(super) fn load_assignment(name: &str, addresses: &[SocketAddr]) -> ClusterLoadAssignment {
    let lb_endpoints: Vec<_> = addresses
        .iter()
        .map(|address| lb_endpoint(*address))
        .collect();
    let endpoints = match lb_endpoints.is_empty() {
        true => Vec::new(),
        false => vec![LocalityLbEndpoints {
            lb_endpoints,
            ..Default::default()
        }],
    };
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints,
        ..Default::default()
    }
}

/// "Over the aggregated stream that this came by."
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

pub(super) fn address(address: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(address.port()))),
            ..Default::default()
        })),
    }
}

fn lb_endpoint(at: SocketAddr) -> LbEndpoint {
    let endpoint = Endpoint {
        address: Some(address(at)),
        ..Default::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}
