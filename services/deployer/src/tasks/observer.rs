//! Observes what proxies have accepted, those of every replica, and tells the rollouts that wait for it. Runs
//! when a proxy comes, goes, accepts or refuses, when something new is waited for, and each second, since the
//! end of a proxy's lease announces itself by nothing.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::tasks::Nudge;
use tokio_util::sync::CancellationToken;

use crate::domain::rollout::Phase;
use crate::service::{Cause, Service, observed};
use crate::store::{rollouts, traffic};
use crate::xds::Applied;

/// How often it looks when nothing announces itself.
const PERIOD: Duration = Duration::from_secs(1);

/// Passes on the hub's changes until the shutdown.
pub async fn follow(service: Arc<Service>, nudge: Nudge, shutdown: CancellationToken) {
    let mut changes = service.hub.changed();
    loop {
        nudge.notify();
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Observes until `token` is cancelled.
pub async fn run(service: Arc<Service>, nudge: Nudge, token: CancellationToken) {
    loop {
        if let Err(error) = run_once(&service).await {
            tracing::warn!(%error, "proxies not observed; trying again");
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = nudge.nudged() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Looks at every rollout and every endpoint that waits for proxies.
pub async fn run_once(service: &Service) -> Result<()> {
    let (rows, unapplied) = {
        let mut reader = service.db.read().await?;
        (
            rollouts::with_traffic(&mut reader).await?,
            traffic::awaited(&mut reader).await?,
        )
    };
    for row in rows {
        let Some(generation) = row.rollout.awaited_generation() else {
            continue;
        };
        let going_back = matches!(row.rollout.phase, Phase::RollingBack(_));
        if !going_back && !service.duties.moves_on(&row.name) {
            continue;
        }
        let applied = service.hub.applied(row.endpoint(), generation);
        if let Some(event) = observed(&row.rollout, generation, applied) {
            let told = service.tell(&row.name, &event, &Cause::deployer()).await;
            if let Err(error) = told {
                tracing::warn!(rollout = %row.name, %error, "a rollout was not told what proxies have; trying again");
            }
        }
    }
    for (endpoint, generation) in unapplied {
        if let Applied::Applied { at } = service.hub.applied(&endpoint, generation) {
            let mut tx = service.db.begin().await?;
            traffic::mark_applied(&mut tx, &endpoint, generation, at).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}
