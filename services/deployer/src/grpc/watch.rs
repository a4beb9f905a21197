//! Streams: at once, and on every change.

use std::sync::Arc;
use std::time::Duration;

use slipway_platform::error::Result;
use slipway_platform::names::{EndpointName, RolloutName};
use slipway_proto::deployer::v1::{
    EndpointStatus, GetEndpointStatusRequest, WatchRolloutRequest, WatchRolloutResponse,
};
use tokio::sync::watch;

use super::{Streamed, fields, rollout_message, status_message};
use crate::service::Service;

/// Changes that follow each other more quickly are seen as one.
const SETTLE: Duration = Duration::from_millis(20);
/// What no change announces, such as the end of a proxy's lease, is seen after this.
const PERIOD: Duration = Duration::from_secs(1);

/// Anything that a watched resource may have changed by.
struct Changes {
    commits: watch::Receiver<u64>,
    verdicts: watch::Receiver<u64>,
    proxies: watch::Receiver<u64>,
}

impl Changes {
    fn of(service: &Service) -> Self {
        Self {
            commits: service.db.commits(),
            verdicts: service.live.changed(),
            proxies: service.hub.changed(),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.commits.changed() => {}
            _ = self.verdicts.changed() => {}
            _ = self.proxies.changed() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// The rollout at once, on every change, and at its end; then the stream ends.
pub async fn rollout(
    service: &Arc<Service>,
    request: WatchRolloutRequest,
) -> Result<Streamed<WatchRolloutResponse>> {
    let name: RolloutName = fields::name("name", &request.name)?;
    let mut changes = Changes::of(service);
    // An unknown name is an answer, not the end of a stream.
    service.rollout(&name).await?;
    let service = service.clone();
    Ok(Box::pin(async_stream::try_stream! {
        let mut shown = None;
        loop {
            let row = service.rollout(&name).await?;
            let message = rollout_message::write(&row)?;
            if shown.as_ref() != Some(&message) {
                shown = Some(message.clone());
                yield WatchRolloutResponse { rollout: Some(message) };
            }
            if row.rollout.ended() {
                return;
            }
            changes.next().await;
        }
    }))
}

/// The status at once, and on every change but that of the time.
pub async fn endpoint_status(
    service: &Arc<Service>,
    request: GetEndpointStatusRequest,
) -> Result<Streamed<EndpointStatus>> {
    let name: EndpointName = fields::name("name", &request.name)?;
    let mut changes = Changes::of(service);
    service.endpoint(&name).await?;
    let service = service.clone();
    Ok(Box::pin(async_stream::try_stream! {
        let mut shown = None;
        loop {
            let message = status_message::write(&service.status(&name).await?)?;
            let timeless = EndpointStatus {
                canary_elapsed_minutes: 0.0,
                promotion_countdown_seconds: 0.0,
                ..message.clone()
            };
            if shown.as_ref() != Some(&timeless) {
                shown = Some(timeless);
                yield message;
            }
            changes.next().await;
        }
    }))
}
