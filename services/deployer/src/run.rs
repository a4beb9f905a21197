//! Puts the deployer together and runs it until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::SharedClock;
use slipway_platform::db::Db;
use slipway_platform::events::{EventBus, Relay, consumer};
use slipway_platform::grpc::{ServeOptions, serve};
use slipway_platform::tasks::{Nudge, Readiness, State, Tasks};
use slipway_platform::{Error, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::driver::{Driver, Drivers, ProcessDriver, RegistryArtifacts};
use crate::peers::Peers;
use crate::service::{Live, Service};
use crate::tasks::consumers::{Anomalies, Evaluations};
use crate::tasks::publisher::Publisher;
use crate::tasks::{Nudges, dispatch, lost, observer, timer, watcher, worker};
use crate::xds::{self, XdsHub};
use crate::{grpc, http, store};

/// How often the publisher looks at what is stored when nothing announces a change.
const PUBLISH_PERIOD: Duration = Duration::from_secs(1);
/// How often old explanations are looked for.
const COLLECT_PERIOD: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

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
/// Its database and its folder are its own: `Precondition` `STORAGE_IN_USE` when another process has the
/// database open.
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
    let db = Db::open_exclusive(&config.storage_url, &store::MIGRATIONS).await?;
    let hub = XdsHub::new(config.xds.clone(), deps.clock.clone());
    let service = Arc::new(Service {
        db: db.clone(),
        clock: deps.clock.clone(),
        peers: Peers::new(
            &config.registry,
            &config.evaluator,
            &config.failure_detector,
        )?,
        hub: hub.clone(),
        driver,
        live: Live::default(),
        proxies_known_at: deps.clock.now() + config.xds.proxy_lease(),
    });
    // A token of its own: loops go on until the last call is answered.
    let tasks = Tasks::new(CancellationToken::new());
    lost::adopt(&service).await?;
    observer::begin_anew(&service).await?;
    let publisher = Arc::new(Publisher::default());
    publisher.run_once(&service).await?;
    Relay::with_options(
        db.clone(),
        deps.bus.clone(),
        deps.clock.clone(),
        config.events.clone(),
    )
    .spawn(&tasks);
    spawn_loops(&tasks, &service, publisher, &config);
    spawn_consumers(&tasks, &service, &deps);
    let stop = shutdown.child_token();
    let mut routes = tonic::service::Routes::builder();
    routes
        .add_service(grpc::service(service.clone()))
        .add_service(xds::service(hub.clone()));
    let options = ServeOptions {
        name: "deployer",
        listener,
        config: config.grpc.clone(),
        shutdown: stop.clone(),
        ready: tasks.readiness(),
    };
    let serving = serve(options, routes.routes(), Some(http::router(service)));
    tokio::pin!(serving);
    // Without one of its loops a deployer misses deadlines or verdicts: it ends, and whoever runs it starts it anew.
    let served = tokio::select! {
        served = &mut serving => served,
        why = failed(tasks.readiness()) => {
            stop.cancel();
            serving.await?;
            Err(Error::internal("run the deployer", std::io::Error::other(why)))
        }
    };
    hub.close();
    tasks
        .join(Duration::from_secs(config.stop_within_seconds))
        .await;
    db.close().await;
    served
}

/// Waits until something that the deployer needs is lost, and says what.
async fn failed(readiness: Readiness) -> String {
    let mut states = readiness.subscribe();
    loop {
        if let State::Failed(why) = &*states.borrow_and_update() {
            return why.clone();
        }
        if states.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn spawn_loops(tasks: &Tasks, service: &Arc<Service>, publisher: Arc<Publisher>, config: &Config) {
    let nudges = Nudges::default();
    let token = tasks.token();
    tasks.spawn(
        "dispatch",
        dispatch::run(service.clone(), nudges.clone(), token.clone()),
    );
    let owner = service.clone();
    tasks.every(
        "publisher",
        PUBLISH_PERIOD,
        nudges.publisher.clone(),
        move || {
            let (publisher, service) = (publisher.clone(), owner.clone());
            async move { publisher.run_once(&service).await }
        },
    );
    tasks.spawn(
        "proxy follower",
        observer::follow(service.clone(), nudges.observer.clone(), token.clone()),
    );
    let owner = service.clone();
    tasks.every(
        "observer",
        observer::PERIOD,
        nudges.observer.clone(),
        move || {
            let service = owner.clone();
            async move { observer::run_once(&service).await }
        },
    );
    tasks.spawn(
        "timer",
        timer::run(service.clone(), nudges.timer.clone(), token.clone()),
    );
    let worker = worker::run(
        service.clone(),
        config.work_at_once,
        nudges.worker.clone(),
        token.clone(),
    );
    tasks.spawn("worker", worker);
    tasks.spawn(
        "verdict watcher",
        watcher::run(service.clone(), nudges.watcher.clone(), token.clone()),
    );
    tasks.spawn("lost revisions", lost::run(service.clone(), token));
    let (owner, retention) = (
        service.clone(),
        DAY * u32::try_from(config.explanation_retention_days).unwrap_or(90),
    );
    tasks.every(
        "explanation retention",
        COLLECT_PERIOD,
        Nudge::new(),
        move || {
            let service = owner.clone();
            async move {
                service
                    .collect_explanations(service.clock.now() - retention)
                    .await
            }
        },
    );
}

fn spawn_consumers(tasks: &Tasks, service: &Arc<Service>, deps: &Deps) {
    let evaluations = Arc::new(Evaluations(service.clone()));
    let anomalies = Arc::new(Anomalies(service.clone()));
    let (db, bus, clock) = (service.db.clone(), deps.bus.clone(), deps.clock.clone());
    tasks.spawn(
        "evaluations",
        consumer::run(db, bus, evaluations, clock, tasks.token()),
    );
    let (db, bus, clock) = (service.db.clone(), deps.bus.clone(), deps.clock.clone());
    tasks.spawn(
        "anomalies",
        consumer::run(db, bus, anomalies, clock, tasks.token()),
    );
}
