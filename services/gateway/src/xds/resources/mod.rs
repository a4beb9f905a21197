//! Envoy's resources, read and checked.
//!
//! Whatever would make Envoy and this gateway serve a request differently is refused, with the resource,
//! the field and the reason in words; what only concerns Envoy's own operation (statistics, buffers,
//! tracing, socket options) is passed over. The listener's address and socket settings are the
//! gateway's own configuration.

mod action;
mod cluster;
mod endpoints;
mod listener;
mod mutations;
mod problems;
mod route;

use std::collections::HashSet;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ProtoCluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener as ProtoListener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration};
use prost::{Message, Name};

pub use cluster::cluster;
pub use endpoints::addresses;
pub use listener::{Listener, Routes, listener};
pub use problems::{Problems, Scope};
pub use route::table;

/// The kinds of resources that the gateway asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Clusters (CDS).
    Cluster,
    /// The addresses of clusters (EDS).
    Endpoints,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Routes,
}

impl Kind {
    /// All of them, in the order in which a new configuration is safe to take: what is referred to first.
    pub const ALL: [Kind; 4] = [Kind::Cluster, Kind::Endpoints, Kind::Listener, Kind::Routes];

    /// The type URL on the wire.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => ProtoCluster::type_url(),
            Self::Endpoints => ClusterLoadAssignment::type_url(),
            Self::Listener => ProtoListener::type_url(),
            Self::Routes => RouteConfiguration::type_url(),
        }
    }

    /// The kind of this type URL.
    pub fn of(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// Whether a response holds all resources of this kind, so that one that is missing is gone.
    pub fn is_complete_in_each_response(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

/// Decodes resources of one type, and refuses other types and names that come twice.
pub fn decode<M: Message + Name + Default>(
    resources: &[Any],
    name: impl Fn(&M) -> &str,
    problems: &mut Problems,
) -> Vec<M> {
    let expected = M::type_url();
    let mut names = HashSet::new();
    let mut decoded = Vec::with_capacity(resources.len());
    for (position, resource) in resources.iter().enumerate() {
        let place = || format!("resource {position}");
        if resource.type_url != expected {
            problems.push(
                place(),
                format!(
                    "has the type {:?} instead of {expected:?}",
                    resource.type_url
                ),
            );
            continue;
        }
        match M::decode(resource.value.as_slice()) {
            Err(error) => problems.push(place(), format!("cannot be decoded: {error}")),
            Ok(message) if name(&message).is_empty() => problems.push(place(), "has no name"),
            Ok(message) => {
                if !names.insert(name(&message).to_owned()) {
                    problems.push(
                        place(),
                        format!("is a second one with the name {:?}", name(&message)),
                    );
                }
                decoded.push(message);
            }
        }
    }
    decoded
}

/// The longest duration that protobuf allows, ten thousand years; a point in time can hold it.
const SECONDS_MAX: u64 = 315_576_000_000;

/// A duration that is not negative.
fn duration(value: &ProtoDuration, field: &str, scope: &mut Scope<'_>) -> Duration {
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds @ 0..=SECONDS_MAX), Ok(nanos)) if nanos < 1_000_000_000 => {
            Duration::new(seconds, nanos)
        }
        _ => {
            scope.refuse(field, "is negative, malformed or beyond ten thousand years");
            Duration::ZERO
        }
    }
}
