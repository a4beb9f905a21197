//! After every commit: which of the loops has something to do? One cheap read, however the change came about.

use std::sync::Arc;

use slipway_platform::Result;
use slipway_platform::db::Db;
use tokio_util::sync::CancellationToken;

use super::Nudges;
use crate::service::Service;
use crate::store::signals::{self, Signals};

/// Wakes loops until the shutdown: after every commit, also of other replicas, and for a stream of a proxy that
/// waits for the newest stored routes. A failed read is made up for by the next commit, and by each loop's period.
pub async fn run(service: Arc<Service>, nudges: Nudges, shutdown: CancellationToken) {
    let mut commits = service.db.commits();
    let mut wanted = service.hub.wanted();
    let mut seen = Signals::default();
    loop {
        match read(&service.db).await {
            Ok(now) => {
                wake(&nudges, &seen, &now);
                seen = now;
            }
            Err(error) => {
                tracing::warn!(%error, "signals not read; the loops go on by their periods")
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = commits.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Ok(()) = wanted.changed() => nudges.publisher.notify(),
        }
    }
}

async fn read(db: &Db) -> Result<Signals> {
    let mut reader = db.read().await?;
    signals::read(&mut reader).await
}

fn wake(nudges: &Nudges, before: &Signals, now: &Signals) {
    if now.routes != before.routes {
        nudges.publisher.notify();
        nudges.observer.notify();
    }
    if now.proxies != before.proxies {
        nudges.fleet.notify();
    }
    if now.work != before.work {
        nudges.worker.notify();
    }
    if now.rollouts != before.rollouts {
        nudges.timer.notify();
        nudges.observer.notify();
        nudges.watcher.notify();
    }
}
