//! What one replica does for all: deadlines, what proxies have accepted, verdicts, and what is forgotten.
//!
//! Who takes this over begins anew: what was judged before is not known to hold any more, so every rollout
//! waits for a new verdict before it moves on; what proxies have accepted is looked at before the first
//! deadline is. A DEGRADED that was said in between is said again, since verdict streams are opened anew.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use tokio_util::sync::CancellationToken;

use super::fleet::Keeper;
use super::{Nudges, observer, timer};
use crate::service::Service;

/// How often old explanations, and proxies that are long gone, are looked for.
const COLLECT_PERIOD: Duration = Duration::from_secs(60);
/// The pause before a beginning that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Decides until `token` is cancelled: the lease is lost, or the deployer stops.
pub async fn run(
    service: Arc<Service>,
    keeper: Arc<Keeper>,
    nudges: Nudges,
    explanation_retention: Duration,
    token: CancellationToken,
) {
    // A takeover that comes in between is another run of this.
    let epoch = service.duties.decisions().epoch();
    while let Err(error) = begin(&service, &keeper).await {
        tracing::warn!(%error, "decisions are not taken over yet; trying again");
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    tracing::info!(epoch, "this replica decides");
    service.duties.set_deciding(Some(epoch));
    tokio::join!(
        timer::run(service.clone(), nudges.timer.clone(), token.clone()),
        observer::run(service.clone(), nudges.observer.clone(), token.clone()),
        collect(service.clone(), explanation_retention, token.clone()),
    );
    service.duties.set_deciding(None);
    tracing::info!(epoch, "this replica decides no more");
}

/// Who decides knows the proxies of every replica first.
async fn begin(service: &Service, keeper: &Keeper) -> Result<()> {
    if service.db.is_shared() {
        keeper.learn(service).await?;
    }
    observer::begin_anew(service).await
}

async fn collect(service: Arc<Service>, retention: Duration, token: CancellationToken) {
    loop {
        if let Err(error) = collect_once(&service, retention).await {
            tracing::warn!(%error, "what is over was not forgotten; trying again");
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(COLLECT_PERIOD) => {}
        }
    }
}

async fn collect_once(service: &Service, retention: Duration) -> Result<()> {
    service
        .collect_explanations(service.clock.now() - retention)
        .await?;
    service.forget_lost_proxies().await
}
