//! Turns deadlines into events: ticks of rollouts, and the end of pins.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::Result;
use slipway_platform::clock::Timestamp;
use slipway_platform::tasks::Nudge;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::store::{endpoints, rollouts};

/// Deadlines that one run acts on; the rest waits for the next run, which follows at once.
const BATCH: i64 = 256;
/// The longest wait: a clock that was set is noticed after it.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The shortest wait: a deadline that cannot be acted on now is not tried without a pause.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// The pause before a deadline that could not be acted on is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Acts on deadlines until the shutdown: at each of them, and when a nearer one may have come.
pub async fn run(service: Arc<Service>, nudge: Nudge, shutdown: CancellationToken) {
    loop {
        let wait = match run_once(&service).await {
            Ok(next) => next.map_or(WAIT_MAX, |next| next - service.clock.now()),
            Err(error) => {
                tracing::warn!(%error, "deadlines not acted on; trying again");
                WAIT_MAX
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = nudge.nudged() => {}
            () = tokio::time::sleep(wait.clamp(WAIT_MIN, WAIT_MAX)) => {}
        }
    }
}

/// Acts on what is due, and says when the next deadline is.
pub async fn run_once(service: &Service) -> Result<Option<Timestamp>> {
    let now = service.clock.now();
    let (due, pins) = {
        let mut reader = service.db.read().await?;
        (
            rollouts::due(&mut reader, now, BATCH).await?,
            endpoints::expired_pins(&mut reader, now, BATCH).await?,
        )
    };
    // One that cannot be acted on holds up no other.
    let mut earliest = None;
    for rollout in due {
        if !service.duties.moves_on(&rollout) {
            earliest = Some(now + RETRY);
            continue;
        }
        if let Err(error) = service.tick(&rollout).await {
            tracing::warn!(%rollout, %error, "deadline not acted on; trying again");
            earliest = Some(now + RETRY);
        }
    }
    for endpoint in pins {
        if let Err(error) = service.expire_pin(&endpoint).await {
            tracing::warn!(%endpoint, %error, "pin not removed; trying again");
            earliest = Some(now + RETRY);
        }
    }
    let mut reader = service.db.read().await?;
    let ticks = rollouts::next_due(&mut reader).await?;
    let pins = endpoints::next_pin_expiry(&mut reader).await?;
    let next = ticks.into_iter().chain(pins).min();
    Ok(next.max(earliest))
}
