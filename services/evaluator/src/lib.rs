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
pub mod predictions;
pub mod service;
pub mod store;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::SharedClock;
use slipway_platform::db::Db;
use slipway_platform::events::EventBus;
use slipway_platform::grpc::{ServeOptions, serve};
use slipway_platform::tasks::Tasks;
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
const TASKS_DEADLINE: Duration = Duration::from_secs(5);

/// Runs an evaluator on `listener` until `shutdown` is cancelled; calls under way are finished, and an
/// evaluation that is running goes back to the queue.
///
/// Its database is its own: `Precondition` `STORAGE_IN_USE` when another process has it open. The registry
/// need not be there yet: what needs it waits.
pub async fn run(
    config: Config,
    deps: Deps,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<()> {
    let db = Db::open_exclusive(&config.storage_url, &store::MIGRATIONS).await?;
    let registry = service::registry::Registry::new(&config.registry)?;
    let workers = config.limits.workers;
    let evaluator = service::Evaluator::new(db.clone(), registry, deps.clock, config.limits);
    evaluator.recover().await?;
    // A token of its own: the relay goes on until the last call is answered.
    let tasks = Tasks::new(CancellationToken::new());
    tasks::start(&tasks, &evaluator, deps.bus, workers);
    let options = ServeOptions {
        name: "evaluator",
        listener,
        config: config.grpc,
        shutdown,
        ready: tasks.readiness(),
    };
    let served = serve(options, grpc::routes(evaluator), None).await;
    tasks.join(TASKS_DEADLINE).await;
    db.close().await;
    served
}
