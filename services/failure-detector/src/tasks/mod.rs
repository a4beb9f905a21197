//! The detector's background tasks. Each does bounded work; the driver keeps them apart and reports them.

mod deliver;
mod deployment;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::{
    Result,
    events::Consumer,
    tasks::{Nudge, Tasks},
};
use tokio::sync::mpsc;

use crate::config::millis;
use crate::delivery::Sender;
use crate::metrics;
use crate::peers::links;
use crate::service::{FailureDetector, Work};

/// How often silences and idle watches are looked for.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How often old rows are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked who is alive, and whose work nobody does.
const REPLICAS_EVERY: Duration = Duration::from_millis(500);
const TAKE_OVER_EVERY: Duration = Duration::from_millis(500);
/// How often the queue of notifications is looked at without a nudge.
const DELIVER_EVERY: Duration = Duration::from_secs(1);

/// What it does on events.
pub fn consumers(detector: &FailureDetector) -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(deployment::DeploymentConsumer::new(
        detector.clone(),
    ))]
}

/// Starts them all.
pub fn spawn(tasks: &Tasks, detector: &FailureDetector, work: mpsc::Receiver<Work>) -> Result<()> {
    let settings = &detector.config().judgement;
    metrics::begin();
    tasks.spawn("decisions", detector.clone().work(work, tasks.token()));
    every(
        tasks,
        detector,
        "look",
        millis(settings.look_every_ms),
        |detector| async move {
            detector.look();
            Ok(())
        },
    );
    every(
        tasks,
        detector,
        "checkpoint",
        millis(settings.checkpoint_every_ms),
        |detector| async move { detector.checkpoint().await.map(drop) },
    );
    every(
        tasks,
        detector,
        "upkeep",
        UPKEEP_EVERY,
        |detector| async move { detector.upkeep().await },
    );
    let leases = detector.replicas().leases();
    let upkeep = leases.campaign("upkeep");
    let one = detector.clone();
    tasks.every_while(
        "upkeep of all",
        upkeep.clone(),
        UPKEEP_EVERY,
        Nudge::new(),
        move || {
            let detector = one.clone();
            async move { detector.upkeep_of_all().await }
        },
    );
    let one = detector.clone();
    tasks.every_while("collect", upkeep, COLLECT_EVERY, Nudge::new(), move || {
        let detector = one.clone();
        async move { detector.collect().await }
    });
    let deliverer = deliver::Deliverer::new(
        detector.clone(),
        Sender::new(&detector.config().notifications)?,
    );
    tasks.every_while(
        "notifications",
        leases.campaign("notifications"),
        DELIVER_EVERY,
        detector.deliveries_nudge(),
        move || {
            let deliverer = deliverer.clone();
            async move { deliverer.run_once().await }
        },
    );
    if detector.db().is_shared() {
        spawn_shared(tasks, detector);
    }
    Ok(())
}

/// What is done only where there may be other replicas.
fn spawn_shared(tasks: &Tasks, detector: &FailureDetector) {
    every(
        tasks,
        detector,
        "replicas",
        REPLICAS_EVERY,
        |detector| async move { detector.look_for_replicas().await },
    );
    tasks.spawn("links", links::run(detector.clone(), tasks.token()));
    every(
        tasks,
        detector,
        "take over",
        TAKE_OVER_EVERY,
        |detector| async move { detector.take_over().await.map(drop) },
    );
}

fn every<F>(
    tasks: &Tasks,
    detector: &FailureDetector,
    name: &'static str,
    period: Duration,
    work: impl Fn(FailureDetector) -> F + Send + 'static,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let detector = detector.clone();
    tasks.every(name, period, Nudge::new(), move || work(detector.clone()));
}
