//! What the proxies are told, and what is known of them.

mod client;
mod model;
mod proxies;
mod resources;
mod streams;
mod wire;

use slipway_platform::names::{EndpointName, RevisionName};

use super::{ClusterEndpoint, EndpointRoutes, Snapshot, Split};

fn endpoint(id: &str) -> EndpointName {
    format!("environments/production/endpoints/{id}")
        .parse()
        .unwrap()
}

fn revision(endpoint: &EndpointName, number: u32) -> RevisionName {
    RevisionName::new(endpoint, number).unwrap()
}

/// An endpoint with these revisions and weights, each listening on a port of its number.
fn routes(id: &str, generation: i64, splits: &[(u32, u32)]) -> EndpointRoutes {
    let name = endpoint(id);
    let cluster = |number: u32| ClusterEndpoint {
        revision: revision(&name, number),
        addresses: vec![format!("127.0.0.1:{}", 9000 + number).parse().unwrap()],
    };
    EndpointRoutes {
        endpoint: name.clone(),
        generation,
        hosts: Vec::new(),
        sticky_header: None,
        splits: splits
            .iter()
            .map(|(number, weight)| Split {
                revision: revision(&name, *number),
                weight: *weight,
            })
            .collect(),
        clusters: splits.iter().map(|(number, _)| cluster(*number)).collect(),
        traceparent: None,
    }
}

fn snapshot(version: u64, endpoints: &[EndpointRoutes]) -> Snapshot {
    Snapshot {
        version,
        endpoints: endpoints.to_vec(),
    }
}
