//! The registry: what can be released.
//!
//! **Owns** models, immutable versions that the server numbers densely, artifacts by digest, aliases with
//! their whole history, and the quarantine of a version. **Does not** evaluate, deploy or decide anything
//! about a release: others read versions here and hear of them by events.
//!
//! **Main flow.** Artifacts are uploaded: staged, hashed while they arrive, and published under their
//! digest once they are whole. `CreateVersion` then names them by role; in one transaction the version
//! takes the next number, gets the digest over its manifest, `latest` moves to it, and `version.created`
//! enters the outbox.
//!
//! **Invariants.** A version never changes but for its tags and its state. Numbers are dense from 1 and
//! never reused. A row of an artifact has its bytes, whole; bytes that no longer match their digest end a
//! download with `DATA_LOSS`. An alias moves by compare-and-set, and its history is never rewritten. A
//! state change and its events are one transaction.
//!
//! Rooms: [`domain`] decides, [`store`] keeps, [`service`] does both in one transaction, `grpc` translates.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod config;
pub mod domain;
mod grpc;
pub mod service;
pub mod store;

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

/// What the registry is given rather than makes.
#[derive(Clone)]
pub struct Deps {
    /// Where events go.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
}

/// How long background tasks get to end.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// Runs a registry on `listener` until `shutdown` is cancelled; calls under way are finished.
///
/// Its database and its folder are its own: `Precondition` `STORAGE_IN_USE` when another process has the
/// database open.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let db = Db::open_exclusive(&config.storage_url, &store::MIGRATIONS).await?;
    let blobs = store::blobs::Blobs::open(&config.data_dir.join("artifacts")).await?;
    // A token of its own: the relay goes on until the last call is answered.
    let tasks = Tasks::new(CancellationToken::new());
    Relay::with_options(db.clone(), deps.bus, deps.clock.clone(), config.events).spawn(&tasks);
    let registry = service::Registry::new(
        db.clone(),
        blobs,
        deps.clock,
        config.limits,
        shutdown.clone(),
    );
    let options = ServeOptions {
        name: "registry",
        listener,
        config: config.grpc,
        shutdown,
        ready: tasks.readiness(),
    };
    let served = serve(options, grpc::routes(registry), None).await;
    tasks.join(TASKS_DEADLINE).await;
    db.close().await;
    served
}
