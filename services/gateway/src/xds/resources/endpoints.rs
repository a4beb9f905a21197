//! The addresses of clusters.

use envoy_types::pb::envoy::config::core::v3::{
    Address as ProtoAddress, HealthStatus, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
};

use super::Scope;
use crate::upstream::Address;

/// The addresses that may be used: those of the best priority that has a healthy one.
pub fn addresses(proto: &ClusterLoadAssignment, scope: &mut Scope<'_>) -> Vec<Address> {
    scope.unserved([(
        "policy.drop_overloads",
        proto
            .policy
            .as_ref()
            .is_some_and(|policy| !policy.drop_overloads.is_empty()),
    )]);
    refuse_weights(proto, scope);
    let mut localities: Vec<&LocalityLbEndpoints> = proto.endpoints.iter().collect();
    localities.sort_by_key(|locality| locality.priority);
    let mut best: Vec<Address> = Vec::new();
    let mut priority = None;
    for locality in localities {
        scope.unserved([("lb_config", locality.lb_config.is_some())]);
        let found: Vec<_> = locality
            .lb_endpoints
            .iter()
            .filter_map(|endpoint| usable(endpoint, scope))
            .collect();
        if best.is_empty() || priority == Some(locality.priority) {
            priority = Some(locality.priority);
            best.extend(found);
        }
    }
    best
}

/// All addresses get the same share, so other weights would be a lie.
fn refuse_weights(proto: &ClusterLoadAssignment, scope: &mut Scope<'_>) {
    let mut weights = proto
        .endpoints
        .iter()
        .flat_map(|locality| &locality.lb_endpoints)
        .map(|endpoint| {
            endpoint
                .load_balancing_weight
                .map_or(1, |weight| weight.value)
        });
    if let Some(first) = weights.next()
        && weights.any(|weight| weight != first)
    {
        scope.refuse(
            "load_balancing_weight",
            "differs between endpoints, which is not supported",
        );
    }
}

fn usable(endpoint: &LbEndpoint, scope: &mut Scope<'_>) -> Option<Address> {
    let address = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_ref(),
        Some(HostIdentifier::EndpointName(_)) => {
            scope.unserved([("endpoint_name", true)]);
            return None;
        }
        None => None,
    };
    let address = socket(address, scope)?;
    let healthy = matches!(
        HealthStatus::try_from(endpoint.health_status),
        Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded)
    );
    healthy.then_some(address)
}

fn socket(address: Option<&ProtoAddress>, scope: &mut Scope<'_>) -> Option<Address> {
    let Some(address::Address::SocketAddress(socket)) =
        address.and_then(|address| address.address.as_ref())
    else {
        scope.refuse("endpoint", "has no socket address");
        return None;
    };
    let port = match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => {
            u16::try_from(port).ok().filter(|port| *port != 0)
        }
        _ => None,
    };
    if socket.protocol != i32::from(socket_address::Protocol::Tcp)
        || socket.address.is_empty()
        || port.is_none()
    {
        scope.refuse(
            "endpoint",
            format_args!("{:?} is not a TCP host with a port", socket.address),
        );
    }
    Some(Address {
        host: socket.address.clone(),
        port: port?,
    })
}
