//! Waits for a service that is starting.

use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::channel::{TracedChannel, channel};
use crate::error::{Error, Result};

/// The pause before a service that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until the service at `address` says that it serves. Bound it: a service that never comes is waited for
/// without end.
pub async fn serving(address: &str) -> Result<()> {
    let mut health = HealthClient::new(channel(address)?);
    loop {
        match watch(&mut health).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::trace!(address, %error, "does not serve yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn watch(health: &mut HealthClient<TracedChannel>) -> Result<()> {
    let watched = health.watch(HealthCheckRequest::default()).await?;
    let mut states = watched.into_inner();
    while let Some(state) = states.message().await? {
        if state.status() == ServingStatus::Serving {
            return Ok(());
        }
    }
    Err(Error::unavailable("the watch ended"))
}
