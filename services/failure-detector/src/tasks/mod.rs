//! The detector's background tasks. Each does bounded work; the driver keeps them apart and reports them.

mod deliver;
mod deployment;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::{
    Result,
    clock::SharedClock,
    events::{EventBus, consumer},
    tasks::{Nudge, Tasks},
};
use tokio::sync::mpsc;

use crate::config::millis;
use crate::delivery::Sender;
use crate::service::{FailureDetector, Work};

/// How often silences and idle watches are looked for.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How often old rows are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// How often the queue of notifications is looked at without a nudge.
const DELIVER_EVERY: Duration = Duration::from_secs(1);

/// Starts them all.
pub fn spawn(
    tasks: &Tasks,
    detector: &FailureDetector,
    work: mpsc::Receiver<Work>,
    bus: Arc<dyn EventBus>,
    clock: SharedClock,
) -> Result<()> {
    let settings = &detector.config().judgement;
    tasks.spawn("decisions", detector.clone().work(work, tasks.token()));
    every(
        tasks,
        detector,
        "look",
        millis(settings.look_every_ms),
        |detector| async move {
            detector.engine().look(detector.now());
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
    every(
        tasks,
        detector,
        "collect",
        COLLECT_EVERY,
        |detector| async move { detector.collect().await },
    );
    let deliverer = deliver::Deliverer::new(
        detector.clone(),
        Sender::new(&detector.config().notifications)?,
    );
    tasks.every(
        "notifications",
        DELIVER_EVERY,
        detector.deliveries_nudge(),
        move || {
            let deliverer = deliverer.clone();
            async move { deliverer.run_once().await }
        },
    );
    let news = Arc::new(deployment::DeploymentConsumer::new(detector.clone()));
    tasks.spawn(
        "deployment news",
        consumer::run(detector.db().clone(), bus, news, clock, tasks.token()),
    );
    Ok(())
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
