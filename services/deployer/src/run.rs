//! Puts the deployer together and runs it until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::SharedClock;
use slipway_platform::events::EventBus;
use slipway_platform::host::{self, Context, HostOptions, Serving};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::driver::{Driver, Drivers, ProcessDriver, RegistryArtifacts};
use crate::peers::Peers;
use crate::service::{Duties, Live, Service};
use crate::tasks::consumers::{Anomalies, Evaluations};
use crate::tasks::publisher::Publisher;
use crate::xds::{self, XdsHub};
use crate::{grpc, http, store, tasks};

/// What the deployer is given rather than makes.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from and go to.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
}

/// Runs a deployer on `listener` until `shutdown` is cancelled; calls under way are finished. Processes that
/// it has started go on running, and are adopted by the next run.
///
/// Its folder is its own, and so is a database that replicas do not share: `Precondition` `STORAGE_IN_USE` when
/// another process has it open.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let peers = Peers::new(
        &config.registry,
        &config.evaluator,
        &config.failure_detector,
    )?;
    let artifacts = Arc::new(RegistryArtifacts::new(peers.registry_channel()));
    let process = ProcessDriver::new(config.process.clone(), config.data_dir.clone(), artifacts);
    let driver = Arc::new(Drivers::new(Arc::new(process)));
    run_with_driver(config, deps, driver, listener, shutdown).await
}

/// The same with another driver.
pub async fn run_with_driver(
    config: Config,
    deps: Deps,
    driver: Arc<dyn Driver>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let options = HostOptions {
        name: "deployer",
        listener,
        shutdown,
        grpc: config.grpc.clone(),
        storage: config.storage.clone(),
        replicas: config.replicas.clone(),
        relay: config.events.clone(),
        bus: deps.bus,
        clock: deps.clock,
        migrations: &store::MIGRATIONS,
        stop_within: Duration::from_secs(config.stop_within_seconds),
    };
    host::run(options, |context| build(config, driver, context)).await
}

/// Makes the deployer of what is stored, before it takes its first call.
async fn build(config: Config, driver: Arc<dyn Driver>, context: Context) -> Result<Serving> {
    let (tasks, shutdown) = (context.tasks.clone(), context.shutdown.clone());
    let service = Arc::new(make(&config, driver, context)?);
    let publisher = Arc::new(Publisher::default());
    match publisher.run_once(&service).await {
        // Another replica is there meanwhile, and the task that publishes tries again.
        Err(error) if service.db.is_shared() && error.is_transient() => {
            tracing::warn!(%error, "what proxies are to be told is not known yet; trying again");
        }
        published => published?,
    }
    tasks::spawn(&tasks, &service, publisher, &config);
    let hub = service.hub.clone();
    let (closing, token) = (hub.clone(), tasks.token());
    tasks.spawn("proxies let go", async move {
        // At once, and not when calls have ended: proxies go to another replica meanwhile.
        shutdown.cancelled().await;
        closing.close();
        token.cancelled().await;
    });
    let mut routes = tonic::service::Routes::builder();
    routes
        .add_service(grpc::service(service.clone()))
        .add_service(xds::service(hub));
    Ok(Serving {
        routes: routes.routes(),
        http: Some(http::router(service.clone())),
        consumers: vec![
            Arc::new(Evaluations(service.clone())),
            Arc::new(Anomalies(service)),
        ],
        before_close: None,
    })
}

/// Puts the use cases together.
fn make(config: &Config, driver: Arc<dyn Driver>, context: Context) -> Result<Service> {
    let Context {
        db, clock, leases, ..
    } = context;
    let xds = config.xds.clone();
    let hub = match db.is_shared() {
        true => XdsHub::of_replica(xds, clock.clone(), &leases.instance().id),
        false => XdsHub::new(xds, clock.clone()),
    };
    let takeover = Duration::from_millis(config.replicas.takeover_ms);
    Ok(Service {
        db,
        proxies_known_at: clock.now() + config.xds.proxy_lease(),
        clock,
        peers: Peers::new(
            &config.registry,
            &config.evaluator,
            &config.failure_detector,
        )?,
        hub,
        driver,
        duties: Duties::new(leases, &config.process.node, takeover),
        live: Live::default(),
    })
}
