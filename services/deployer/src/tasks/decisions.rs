//! What one replica does for all: deadlines, what proxies have accepted, verdicts, and what is forgotten.
//!
//! Who takes this over acts on findings at once: a DEGRADED that was said in between is said again, since verdict
//! streams are opened anew. Everything else begins anew: what was judged before is not known to hold any more, so
//! every rollout waits for a new verdict before it moves on, and what proxies have accepted is looked at before the
//! first deadline is. A rollout that cannot be told so stays where it is, and is told again; the others go on.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::names::RolloutName;
use tokio_util::sync::CancellationToken;

use super::fleet::Keeper;
use super::{Nudges, observer, timer};
use crate::service::{Service, Untold};
use crate::store::rollouts;

/// How often old explanations are looked for.
const COLLECT_PERIOD: Duration = Duration::from_secs(60);
/// The first pause before what failed in the beginning is tried again; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(5);

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
    service.duties.set_deciding(Some(epoch));
    tracing::info!(epoch, "this replica decides");
    if let Some(untold) = begin(&service, &keeper, &token).await {
        tokio::join!(
            tell_again(&service, untold, &token),
            timer::run(service.clone(), nudges.timer.clone(), token.clone()),
            observer::run(service.clone(), nudges.observer.clone(), token.clone()),
            collect(service.clone(), explanation_retention, token.clone()),
        );
    }
    service.duties.set_deciding(None);
    tracing::info!(epoch, "this replica decides no more");
}

/// Learns what there is, and tells rollouts. Gives those that could not be told; `None`: `token` was cancelled.
async fn begin(
    service: &Service,
    keeper: &Keeper,
    token: &CancellationToken,
) -> Option<Vec<RolloutName>> {
    let mut pause = RETRY_MIN;
    let rollouts = loop {
        match learn(service, keeper).await {
            Ok(rollouts) => break rollouts,
            Err(error) => {
                tracing::warn!(%error, "only findings are acted on until it is known what there is; trying again")
            }
        }
        paused(&mut pause, token).await?;
    };
    let untold = service.tell_of_takeover(&rollouts).await;
    set_untold(service, &untold);
    if let Err(error) = observer::run_once(service).await {
        tracing::warn!(%error, "proxies not observed; trying again");
    }
    Some(untold)
}

/// The rollouts that are to be told. Who decides knows the proxies of every replica first.
async fn learn(service: &Service, keeper: &Keeper) -> Result<Vec<RolloutName>> {
    if service.db.is_shared() {
        keeper.learn_all(service).await?;
    }
    let rows = rollouts::with_traffic(&mut *service.db.read().await?).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

async fn tell_again(service: &Service, mut untold: Vec<RolloutName>, token: &CancellationToken) {
    let mut pause = RETRY_MIN;
    while !untold.is_empty() {
        if paused(&mut pause, token).await.is_none() {
            return;
        }
        untold = service.tell_of_takeover(&untold).await;
        set_untold(service, &untold);
    }
}

fn set_untold(service: &Service, untold: &[RolloutName]) {
    let untold = untold.iter().cloned().collect();
    service.duties.set_untold(Untold::These(untold));
}

/// Waits a little longer than the last time; `None`: cancelled meanwhile.
async fn paused(pause: &mut Duration, token: &CancellationToken) -> Option<()> {
    let now = *pause;
    *pause = (now * 2).min(RETRY_MAX);
    tokio::select! {
        () = token.cancelled() => None,
        () = tokio::time::sleep(now) => Some(()),
    }
}

async fn collect(service: Arc<Service>, retention: Duration, token: CancellationToken) {
    loop {
        let before = service.clock.now() - retention;
        if let Err(error) = service.collect_explanations(before).await {
            tracing::warn!(%error, "what is over was not forgotten; trying again");
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(COLLECT_PERIOD) => {}
        }
    }
}
