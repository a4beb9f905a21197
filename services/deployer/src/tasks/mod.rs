//! Loops. Each looks at what is stored and does what follows from it, on a change and on a period, so that a
//! crash anywhere loses nothing: the next run sees the same rows.
//!
//! | loop | runs in | looks at | does |
//! | --- | --- | --- | --- |
//! | [`dispatch`] | every replica | the signals, after every commit | wakes the loops below that have something to do |
//! | [`publisher`] | every replica | endpoints whose routes changed | gives its proxies a new snapshot |
//! | [`fleet`] | every replica of several | its proxies, and those of the others | stores what they have accepted, and learns it |
//! | [`worker`] | every replica | the queue of work | asks the gate, starts, checks and stops revisions, moves aliases |
//! | [`watcher`] | every replica | what has traffic | holds a verdict stream for each; the one that decides acts on its word |
//! | [`node`] | one for each node | what runs here, and the driver's announcements | tells rollouts of revisions that died, and has them started again |
//! | [`decisions`] | one | | runs the next two, and forgets what is over |
//! | [`observer`] | one | what proxies have accepted | tells rollouts that their traffic is applied, or not |
//! | [`timer`] | one | deadlines of rollouts and pins | ticks |
//! | [`consumers`] | every replica | events | applies rules |

pub mod consumers;
pub mod decisions;
pub mod dispatch;
pub mod fleet;
pub mod node;
pub mod observer;
pub mod publisher;
pub mod timer;
pub mod watcher;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::tasks::{Nudge, Tasks};

use crate::config::Config;
use crate::metrics;
use crate::service::Service;
use publisher::Publisher;

/// How often the publisher looks at what is stored when nothing announces a change.
const PUBLISH_PERIOD: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Wakes each loop.
#[derive(Debug, Clone, Default)]
pub struct Nudges {
    /// Routes have changed.
    pub publisher: Nudge,
    /// What is waited for may have changed.
    pub observer: Nudge,
    /// A deadline may have become nearer.
    pub timer: Nudge,
    /// There is work.
    pub worker: Nudge,
    /// What is to be watched may have changed.
    pub watcher: Nudge,
    /// Other replicas have stored something of their proxies.
    pub fleet: Nudge,
}

/// Starts every loop.
pub fn spawn(tasks: &Tasks, service: &Arc<Service>, publisher: Arc<Publisher>, config: &Config) {
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
    let owner = service.clone();
    tasks.spawn_while("node", service.duties.node_lease().clone(), move |token| {
        node::run(owner.clone(), token)
    });
    let (owner, retention) = (
        service.clone(),
        DAY * u32::try_from(config.explanation_retention_days).unwrap_or(90),
    );
    let (deciding, keeper) = (nudges.clone(), Arc::new(fleet::Keeper::default()));
    let known = keeper.clone();
    tasks.spawn_while(
        "decisions",
        service.duties.decisions().clone(),
        move |token| {
            let (service, keeper) = (owner.clone(), known.clone());
            decisions::run(service, keeper, deciding.clone(), retention, token)
        },
    );
    let owner = service.clone();
    tasks.every("metrics", metrics::PERIOD, Nudge::new(), move || {
        let service = owner.clone();
        async move { metrics::read(&service).await }
    });
    if service.db.is_shared() {
        spawn_shared(tasks, service, keeper, nudges);
    }
}

/// Those that only replicas need.
fn spawn_shared(tasks: &Tasks, service: &Arc<Service>, keeper: Arc<fleet::Keeper>, nudges: Nudges) {
    tasks.spawn(
        "node waited for",
        node::say_who_has_it(service.clone(), tasks.token()),
    );
    tasks.spawn(
        "proxies stored",
        keeper.clone().store(service.clone(), tasks.token()),
    );
    let owner = service.clone();
    tasks.every("proxies learnt", fleet::PERIOD, nudges.fleet, move || {
        let (keeper, service) = (keeper.clone(), owner.clone());
        async move { keeper.learn(&service).await }
    });
    let owner = service.clone();
    let period = service.duties.renew_every();
    tasks.every("work claims", period, Nudge::new(), move || {
        let service = owner.clone();
        async move { worker::renew(&service).await }
    });
}
