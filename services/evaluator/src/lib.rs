//! The evaluator: what must hold of a version, and what was found.
//!
//! **Owns** suites (what to measure and what must hold) and evaluations (one run of a suite on a version,
//! ending in PASS, FAIL, INCONCLUSIVE or ERROR with every reason). **Does not** decide what follows from a
//! verdict: it publishes it, and the deployer's rules and gates do.
//!
//! **Main flow.** `version.created` arrives ([`tasks`]); each suite that runs on the model gets a queued
//! evaluation. A worker claims it, reads the version's predictions from the registry in bounded memory
//! ([`predictions`]), beside those of the baseline if the suite compares, measures ([`measure`]), judges
//! ([`domain::judgement`]), and saves verdict, reasons and `evaluation.completed` in one transaction
//! ([`service`]).
//!
//! **Invariants.** "Could not measure" is ERROR, "measured and bad" is FAIL, "not enough evidence" is
//! INCONCLUSIVE, and they are never confused; nothing that is missing or undefined ever passes. A verdict
//! is bound to the digest of the version and of the predictions, and the stored measurements give it
//! again. Every evaluation ends: both its waiting states have deadlines, and one that a crash left running
//! is run again.
//!
//! Rooms: [`domain`] decides, [`predictions`] and [`measure`] read, [`store`] keeps, [`service`] joins
//! them, `grpc` translates, `tasks` drives.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod domain;
mod grpc;
pub mod measure;
mod metrics;
pub mod predictions;
pub mod service;
pub mod store;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::SharedClock;
use slipway_platform::events::EventBus;
use slipway_platform::events::outbox::RelayOptions;
use slipway_platform::host::{self, HostOptions, Serving};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, DEFAULTS};

/// What the evaluator is given rather than makes.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from and go to.
    pub bus: Arc<dyn EventBus>,
    /// What time it is.
    pub clock: SharedClock,
}

/// How long background tasks get to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Runs an evaluator on `listener` until `shutdown` is cancelled; calls under way are finished, and an
/// evaluation that is running goes back to the queue.
///
/// A database that replicas do not share is its own: `Precondition` `STORAGE_IN_USE` when another process has it
/// open. The registry need not be there yet: what needs it waits.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let registry = service::registry::Registry::new(&config.registry)?;
    let options = HostOptions {
        name: "evaluator",
        listener,
        shutdown,
        grpc: config.grpc,
        storage: config.storage,
        replicas: config.replicas,
        relay: RelayOptions::default(),
        bus: deps.bus,
        clock: deps.clock,
        migrations: &store::MIGRATIONS,
        stop_within: STOP_WITHIN,
    };
    let limits = config.limits;
    host::run(options, move |context| async move {
        let workers = limits.workers;
        let evaluator =
            service::Evaluator::new(context.db, registry, context.leases, context.clock, limits);
        tasks::start(&context.tasks, &evaluator, workers);
        Ok(Serving {
            consumers: tasks::consumers(&evaluator),
            routes: grpc::routes(evaluator),
            ..Serving::default()
        })
    })
    .await
}
