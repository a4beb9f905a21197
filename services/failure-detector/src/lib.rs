//! The failure-detector: what was served, judged.
//!
//! **Owns** monitors and their evidence, decisions, alerts, notification channels and the queue of what people are
//! told. **Does not** move traffic: a decision triggers, and the deployer decides what to do.
//!
//! **Main flow.** Proxies send their access logs by Envoy's gRPC Access Log Service; others report observations. The
//! task that reads them feeds the watches of the endpoint, one observation after the other, and each watch's tests
//! are anytime-valid: they may be looked at after every observation. When a candidate is shown to be worse than
//! allowed, the decision with everything that it rests on, the alert, `anomaly.detected` and the notifications are
//! one transaction; after its commit the `WatchVerdict` streams say DEGRADED, with the same decision id.
//!
//! **Invariants.** "Cannot be seen", "not enough seen" and "seen to be bad" are never confused ([`domain::logs`],
//! [`domain::verdict`]). A candidate that is not worse is called degraded in a rollout with probability at most
//! alpha, however often it is looked at and however often the detector restarts: evidence is checkpointed every
//! second and resumed. A stored decision can be recomputed from its inputs. Secrets of channels are never shown.
//!
//! Rooms: [`domain`] decides, [`store`] keeps, [`service`] does both, `grpc` translates, `tasks` run, `delivery`
//! speaks HTTP.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod delivery;
pub mod domain;
mod grpc;
pub mod service;
pub mod store;
mod tasks;

use std::{sync::Arc, time::Duration};

use slipway_platform::{
    Result,
    clock::SharedClock,
    db::Db,
    events::{EventBus, Relay},
    grpc::{ServeOptions, serve},
    tasks::Tasks,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, DEFAULTS};

/// What the detector is given rather than makes.
#[derive(Clone)]
pub struct Deps {
    /// Where events go, and where the deployer's come from.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
}

/// How long background tasks get to end.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// Runs a detector on `listener` until `shutdown` is cancelled. Its database is its own.
///
/// Stops in this order: no new calls, calls and streams end, tasks end, the evidence is written a last time.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let db = Db::open_exclusive(&config.storage_url, &store::MIGRATIONS).await?;
    // A token of its own: the tasks go on until the last call is answered.
    let background = Tasks::new(CancellationToken::new());
    Relay::new(db.clone(), deps.bus.clone(), deps.clock.clone()).spawn(&background);
    let grpc = config.grpc.clone();
    let (detector, work) = service::FailureDetector::new(db.clone(), deps.clock.clone(), config);
    detector.resume().await?;
    tasks::spawn(&background, &detector, work, deps.bus, deps.clock)?;
    let options = ServeOptions {
        name: "detector",
        listener,
        config: grpc,
        shutdown,
        ready: background.readiness(),
    };
    let served = serve(options, grpc::routes(detector.clone()), None).await;
    background.join(TASKS_DEADLINE).await;
    let stored = detector.checkpoint().await.map(drop);
    db.close().await;
    served.and(stored)
}
