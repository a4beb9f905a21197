//! What the detector does: it takes observations in, judges, stores decisions, keeps alerts, and tells people.
//!
//! [`engine`] holds every watch in memory and judges on arrival, without I/O. A decision that it reaches goes
//! through a bounded channel to [`decide`], which stores it with its alert, its event and its notifications in one
//! transaction, and only then lets the watch say it. The rest are use cases over the store.

mod alerts;
mod channels;
mod checkpoint;
mod decide;
mod deployment;
mod engine;
mod follow;
mod id_window;
mod notify;
mod queries;
mod report;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::{
    Result,
    clock::{SharedClock, Timestamp},
    db::Db,
    tasks::Nudge,
};
use tokio::sync::{broadcast, mpsc};

pub use alerts::{AlertChange, AlertQuery};
pub use channels::ChannelWish;
pub use decide::Work;
pub use deployment::DeploymentNews;
pub use engine::{Engine, Observation, Place, Reported};
pub use follow::{Follow, FollowRequest};
pub use queries::{MonitorView, Recomputed};
pub use report::Report;

use crate::config::Config;
use crate::domain::alert::Alert;

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
    changed_alerts: broadcast::Sender<Alert>,
    deliveries: Nudge,
}

/// Changes of alerts that a slow `WatchAlerts` may lag behind before it has to read them again.
const ALERTS_LAG_MAX: usize = 1024;

impl FailureDetector {
    /// A detector without watches, and the work that it will ask for.
    pub fn new(db: Db, clock: SharedClock, config: Config) -> (Self, mpsc::Receiver<Work>) {
        let (work, todo) = mpsc::channel(config.limits.decisions_max);
        let engine = Engine::new(config.judgement.clone(), work);
        let inner = Inner {
            db,
            clock,
            config,
            engine,
            changed_alerts: broadcast::channel(ALERTS_LAG_MAX).0,
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

    /// Goes on with the watches that were judging when the detector stopped.
    pub async fn resume(&self) -> Result<()> {
        let idle = Duration::from_millis(self.config().judgement.watch_idle_ms);
        let since = self.now() - idle;
        let limit = i64::try_from(self.config().judgement.endpoints_max).unwrap_or(i64::MAX);
        let mut reader = self.db().read().await?;
        let states = crate::store::watches::updated_after(&mut reader, since, limit).await?;
        drop(reader);
        let mut resumed = 0;
        for state in states {
            let key = state.subject.key();
            match self.engine().insert(state, self.now()) {
                Ok(()) => resumed += 1,
                Err(error) => tracing::error!(watch = %key, %error, "stored watch cannot go on"),
            }
        }
        if resumed > 0 {
            tracing::info!(watches = resumed, "went on with stored evidence");
        }
        Ok(())
    }
}
