//! Gives proxies what is stored: after a change, the endpoints that changed are read again, and a snapshot of
//! all goes out under the version that the change was stored with.
//!
//! Versions only rise, and proxies take nothing older than they have. When what is stored is older than what was
//! told, an earlier state of the database was restored: it goes out all the same, under a newer version.

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_platform::names::EndpointName;
use slipway_platform::{Error, Result};
use tokio::sync::Mutex;

use crate::service::Service;
use crate::store::endpoints::{self, Routed, Routing};
use crate::xds::{ClusterEndpoint, EndpointRoutes, Snapshot, Split};

/// A share of 100 is this many of the total weight of 10,000.
const WEIGHT_PER_PERCENT: u32 = 100;

/// What proxies were told last.
#[derive(Debug, Default)]
pub struct Publisher {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    version: i64,
    history: i64,
    endpoints: BTreeMap<EndpointName, EndpointRoutes>,
}

impl Publisher {
    /// Publishes what has changed since the last time; nothing, if nothing has.
    pub async fn run_once(&self, service: &Arc<Service>) -> Result<()> {
        let mut told = self.told.lock().await;
        // Streams that began before this reading get nothing older than what it finds.
        let wanted = *service.hub.wanted().borrow();
        let mut routing = read(service, told.version).await?;
        if routing.version < told.version {
            let (had, found) = (told.version, routing.version);
            tracing::error!(
                had,
                found,
                "what is stored is older than what proxies were told: the database was restored, or has lost \
                 commits; proxies are given what is stored now"
            );
            let mut tx = service.db.begin().await?;
            endpoints::outrun_routes(&mut tx, told.version).await?;
            tx.commit().await?;
            routing = read(service, 0).await?;
        } else if told.version > 0 && routing.history != told.history {
            tracing::warn!(
                "another deployer found the database restored; all routes are read again"
            );
            routing = read(service, 0).await?;
        }
        if routing.version != told.version {
            tell(service, &mut told, routing)?;
        }
        service.hub.confirm(wanted);
        Ok(())
    }
}

async fn read(service: &Service, since: i64) -> Result<Routing> {
    endpoints::routes_since(&mut *service.db.read().await?, since).await
}

fn tell(service: &Service, told: &mut Told, routing: Routing) -> Result<()> {
    let is_another_history = told.version > 0 && routing.history != told.history;
    if is_another_history {
        told.endpoints.clear();
    }
    for routed in routing.routed {
        let name = routed.endpoint.name.clone();
        match routes(routed) {
            Ok(routes) => {
                told.endpoints.insert(name, routes);
            }
            Err(error) => {
                tracing::error!(endpoint = %name, %error, "routes not made; the former ones stay")
            }
        }
    }
    (told.version, told.history) = (routing.version, routing.history);
    if is_another_history {
        let generations = told.endpoints.values();
        let generations = generations.map(|routes| (routes.endpoint.clone(), routes.generation));
        service.hub.forget_newer(&generations.collect());
    }
    let version = u64::try_from(routing.version)
        .map_err(|error| Error::internal("snapshot version", error))?;
    service.hub.publish(Snapshot {
        version,
        endpoints: told.endpoints.values().cloned().collect(),
    });
    Ok(())
}

fn routes(routed: Routed) -> Result<EndpointRoutes> {
    let Routed {
        endpoint: row,
        addresses,
        traceparent,
    } = routed;
    let named = |number: u32| {
        slipway_platform::names::RevisionName::new(&row.name, number)
            .map_err(|error| Error::internal("name a revision", error))
    };
    let mut splits = Vec::new();
    for target in row.serving.traffic.targets() {
        let weight = u32::from(target.percent) * WEIGHT_PER_PERCENT;
        splits.push(Split {
            revision: named(target.revision.0)?,
            weight,
        });
    }
    let mut clusters: Vec<ClusterEndpoint> = addresses
        .into_iter()
        .map(|(revision, addresses)| ClusterEndpoint {
            revision,
            addresses,
        })
        .collect();
    // What carries traffic has a cluster even while nobody knows where it listens, so that routes stay valid.
    for split in &splits {
        if !clusters
            .iter()
            .any(|cluster| cluster.revision == split.revision)
        {
            clusters.push(ClusterEndpoint {
                revision: split.revision.clone(),
                addresses: Vec::new(),
            });
        }
    }
    Ok(EndpointRoutes {
        endpoint: row.name.clone(),
        generation: row.serving.generation,
        hosts: row.settings.hosts.clone(),
        sticky_header: row.settings.sticky_header.clone(),
        splits,
        clusters,
        traceparent: (!traceparent.is_empty()).then_some(traceparent),
    })
}
