//! Gives proxies what is stored: after a change, the endpoints that changed are read again, and a snapshot of
//! all goes out under the version that the change was stored with.
//!
//! Versions only rise, and proxies take nothing older than they have. When what is stored is older than what was
//! told, or another commit has the version by now that was told last, an earlier state of the database was restored,
//! or a failover has lost commits: what is stored goes out all the same, under a newer version.

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_platform::names::EndpointName;
use slipway_platform::{Error, Result};
use tokio::sync::Mutex;

use crate::service::Service;
use crate::store::routes::{self, Routed, Routing};
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
    stamp: String,
    endpoints: BTreeMap<EndpointName, EndpointRoutes>,
}

impl Publisher {
    /// Publishes what has changed since the last time; nothing, if nothing has.
    pub async fn run_once(&self, service: &Arc<Service>) -> Result<()> {
        let mut told = self.told.lock().await;
        // Streams that began before this reading get nothing older than what it finds.
        let wanted = *service.hub.wanted().borrow();
        let mut routing = read(service, told.version).await?;
        let has_gone_back = routing.version < told.version || is_another_commit(&told, &routing);
        let is_another_history = told.version > 0 && routing.history != told.history;
        if has_gone_back {
            let (had, found) = (told.version, routing.version);
            tracing::error!(
                had,
                found,
                "what is stored is not what proxies were told, or older: the database was restored, or has lost \
                 commits; proxies are given what is stored now"
            );
        } else if is_another_history {
            tracing::warn!(
                "another deployer found the database restored; all routes are read again"
            );
        }
        if has_gone_back || is_another_history {
            // Also when another deployer was first: it may have told less than this one.
            let mut tx = service.db.begin().await?;
            routes::outrun(&mut tx, told.version, told.history).await?;
            tx.commit().await?;
            routing = read(service, 0).await?;
        }
        if routing.version != told.version {
            tell(service, &mut told, routing)?;
        }
        service.hub.confirm(wanted);
        Ok(())
    }
}

/// Whether the version that was told last is stored by another commit than then.
fn is_another_commit(told: &Told, routing: &Routing) -> bool {
    let (then, now) = (&told.stamp, &routing.stamp_then);
    !then.is_empty() && !now.is_empty() && then != now
}

async fn read(service: &Service, since: i64) -> Result<Routing> {
    routes::since(&mut *service.db.read().await?, since).await
}

fn tell(service: &Service, told: &mut Told, routing: Routing) -> Result<()> {
    let is_another_history = told.version > 0 && routing.history != told.history;
    if is_another_history {
        told.endpoints.clear();
    }
    for routed in routing.routed {
        let name = routed.endpoint.name.clone();
        match routes_of(routed) {
            Ok(routes) => {
                told.endpoints.insert(name, routes);
            }
            Err(error) => {
                tracing::error!(endpoint = %name, %error, "routes not made; the former ones stay")
            }
        }
    }
    (told.version, told.history) = (routing.version, routing.history);
    told.stamp = routing.stamp;
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

fn routes_of(routed: Routed) -> Result<EndpointRoutes> {
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
