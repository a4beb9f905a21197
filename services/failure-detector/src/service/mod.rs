//! What the detector does: it takes observations in, judges, stores decisions, keeps alerts, and tells people.
//!
//! [`engine`] holds every watch in memory and judges on arrival, without I/O. A decision that it reaches goes
//! through a bounded channel to [`decide`], which stores it with its alert, its event and its notifications in one
//! transaction, and only then lets the watch say it. The rest are use cases over the store.
//!
//! Where several replicas share the database, [`judges`] decides which one judges an endpoint, and [`readers`] gives
//! it what the proxies of the others report.

mod alerts;
mod cell;
mod channels;
mod checkpoint;
mod decide;
mod deployment;
mod engine;
mod follow;
mod id_window;
mod judges;
mod notify;
mod queries;
mod readers;
mod replicas;
mod report;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::{
    Result,
    clock::{SharedClock, Timestamp},
    db::Db,
    lease::Leases,
    tasks::Nudge,
};
use tokio::sync::mpsc;

pub use alerts::{AlertChange, AlertFeed, AlertQuery};
pub use channels::ChannelWish;
pub use decide::Work;
pub use deployment::DeploymentNews;
pub use engine::{Engine, Observation, Place, Reported};
pub use follow::{Follow, FollowRequest};
pub use judges::Judge;
pub use queries::{MonitorView, Recomputed};
pub use readers::{BookNews, BookReader};
pub use replicas::{LinkNews, Replicas};
pub use report::Report;

use crate::config::Config;
use crate::metrics;

/// The detector's use cases; cheap to clone.
#[derive(Clone)]
pub struct FailureDetector {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    clock: SharedClock,
    config: Config,
    engine: Engine,
    replicas: Replicas,
    deliveries: Nudge,
}

impl FailureDetector {
    /// A detector without watches, and the work that it will ask for.
    pub fn new(
        db: Db,
        clock: SharedClock,
        config: Config,
        leases: Leases,
    ) -> (Self, mpsc::Receiver<Work>) {
        let (work, todo) = mpsc::channel(config.limits.decisions_max);
        let books = db.is_shared().then_some(config.limits.forward_runs_max);
        let engine = Engine::new(config.judgement.clone(), work, books);
        let replicas = Replicas::new(leases, db.is_shared());
        let inner = Inner {
            db,
            clock,
            config,
            engine,
            replicas,
            deliveries: Nudge::new(),
        };
        (
            Self {
                inner: Arc::new(inner),
            },
            todo,
        )
    }

    /// What judges.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// What is known of the other replicas.
    pub fn replicas(&self) -> &Replicas {
        &self.inner.replicas
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Notified when a notification was queued.
    pub fn deliveries_nudge(&self) -> Nudge {
        self.inner.deliveries.clone()
    }

    /// Looks for what only time, the log streams or the leases have changed.
    pub fn look(&self) {
        self.leave_lost();
        self.engine().look(self.now());
        let (streams, lost) = {
            let mut logs = self.engine().logs();
            (logs.own().streams(), logs.lost())
        };
        let cells = self.engine().all();
        let unmeasurable = cells.iter().filter(|cell| cell.lock().is_unmeasurable());
        metrics::seen(streams, lost, cells.len(), unmeasurable.count());
    }

    /// Goes on with the watches that were judging when the detector stopped, and that no other replica judges now.
    /// Where there are other replicas, a database that is away for a moment is no reason not to start: what is not
    /// taken up now is taken up by the task that looks for it.
    pub async fn resume(&self) -> Result<()> {
        if self.db().is_shared() {
            if let Err(error) = self.take_over().await {
                tracing::warn!(%error, "what is to be judged is not known yet; trying again");
            }
            return Ok(());
        }
        let limit = i64::try_from(self.config().judgement.endpoints_max).unwrap_or(i64::MAX);
        let mut reader = self.db().read().await?;
        let since = self.idle_since();
        let states = crate::store::watches::updated_after(&mut reader, since, limit).await?;
        drop(reader);
        let mut resumed = 0;
        for state in states {
            let key = state.subject.key();
            let cell = self.engine().cell(&state.subject.endpoint);
            match cell.and_then(|cell| self.engine().insert(&cell, state, self.now())) {
                Ok(()) => resumed += 1,
                Err(error) => tracing::error!(watch = %key, %error, "stored watch cannot go on"),
            }
        }
        if resumed > 0 {
            tracing::info!(watches = resumed, "went on with stored evidence");
        }
        Ok(())
    }

    /// A watch that was written before then rests.
    fn idle_since(&self) -> Timestamp {
        self.now() - Duration::from_millis(self.config().judgement.watch_idle_ms)
    }
}
