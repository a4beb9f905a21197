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
mod metrics;
pub mod service;
pub mod store;

use std::{sync::Arc, time::Duration};

use slipway_platform::{
    Result,
    clock::SharedClock,
    events::EventBus,
    host::{self, Context, HostOptions, Serving},
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
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs a registry on `listener` until `shutdown` is cancelled; calls under way are finished.
///
/// Its folder is its own, and so is a database that replicas do not share: `Precondition` `STORAGE_IN_USE` when
/// another process has it open.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let options = HostOptions {
        name: "registry",
        listener,
        shutdown,
        grpc: config.grpc,
        storage: config.storage,
        replicas: config.replicas,
        relay: config.events,
        bus: deps.bus,
        clock: deps.clock,
        migrations: &store::MIGRATIONS,
        stop_within: STOP_WITHIN,
    };
    let (data_dir, limits) = (config.data_dir, config.limits);
    host::run(options, move |context| async move {
        let Context {
            db,
            clock,
            shutdown,
            ..
        } = context;
        let blobs = store::blobs::Blobs::open(&data_dir.join("artifacts"), db.is_shared()).await?;
        let registry = service::Registry::new(db, blobs, clock, limits, shutdown);
        Ok(Serving {
            routes: grpc::routes(registry),
            ..Serving::default()
        })
    })
    .await
}
