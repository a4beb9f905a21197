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
//! **Replicas.** Over one PostgreSQL any replica takes any log stream, and one judges an endpoint: the holder of the
//! lease `endpoint/{name}` ([`service`]). It reads from every live replica what that one's proxies report, numbered
//! and kept until it is stored ([`domain::books`]), and the state of that one's log streams ([`domain::logs`]); while
//! one live replica is not heard, nothing is measured. Calls that only the judge can answer are handed on to it. On a
//! SQLite database there is one process, and nothing of this happens.
//!
//! **Limits.** An Envoy does not number its log entries: what it drops itself cannot be seen here, only that its stream
//! broke. The ids of reported observations are remembered by the judge, in memory: after a restart or a change of the
//! judge an observation that is reported again counts again. Stable's history of the last minutes is in memory too.
//!
//! **Invariants.** "Cannot be seen", "not enough seen" and "seen to be bad" are never confused ([`domain::logs`],
//! [`domain::verdict`]). A candidate that is not worse is called degraded in a rollout with probability at most
//! alpha, however often it is looked at and however often the detector restarts: evidence is checkpointed every
//! second and resumed. A stored decision can be recomputed from its inputs. Secrets of channels are never shown.
//!
//! Rooms: [`domain`] decides, [`store`] keeps, [`service`] does both, `grpc` translates, `peers` speaks to the other
//! replicas, `tasks` run, `delivery` speaks HTTP.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
mod delivery;
pub mod domain;
mod grpc;
mod metrics;
mod peers;
pub mod service;
pub mod store;
mod tasks;

use std::{sync::Arc, time::Duration};

use slipway_platform::{
    Result,
    clock::SharedClock,
    events::{EventBus, outbox::RelayOptions},
    host::{self, HostOptions, Serving},
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
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs a detector on `listener` until `shutdown` is cancelled. A database that replicas do not share is its own.
///
/// Stops in this order: no new calls, calls and streams end, tasks end, the evidence is written a last time.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let options = HostOptions {
        name: "failure-detector",
        listener,
        shutdown,
        grpc: config.grpc.clone(),
        storage: config.storage.clone(),
        replicas: config.replicas.clone(),
        relay: RelayOptions::default(),
        bus: deps.bus,
        clock: deps.clock,
        migrations: &store::MIGRATIONS,
        stop_within: STOP_WITHIN,
    };
    host::run(options, |context| async move {
        let (db, clock, leases) = (context.db, context.clock, context.leases);
        let (detector, work) = service::FailureDetector::new(db, clock, config, leases);
        detector.resume().await?;
        tasks::spawn(&context.tasks, &detector, work)?;
        let last = detector.clone();
        Ok(Serving {
            consumers: tasks::consumers(&detector),
            routes: grpc::routes(detector),
            before_close: Some(Box::pin(async move { last.stop().await })),
            ..Serving::default()
        })
    })
    .await
}
