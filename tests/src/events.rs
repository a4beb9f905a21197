//! The event log of a control plane that is stopped: read, and written to as a careless relay might.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use slipway_platform::clock::SystemClock;
use slipway_platform::events::catalog::{
    ANOMALY_TOPIC, DEPLOYMENT_TOPIC, EVALUATION_TOPIC, REGISTRY_TOPIC,
};
use slipway_platform::events::log::DEFAULT_RETENTION;
use slipway_platform::events::{EmbeddedLog, Event, EventBus};

/// Everything that services publish on.
const TOPICS: [&str; 4] = [
    REGISTRY_TOPIC,
    EVALUATION_TOPIC,
    DEPLOYMENT_TOPIC,
    ANOMALY_TOPIC,
];
/// Nothing more comes out of a log that nobody writes to.
const QUIET: Duration = Duration::from_millis(200);

/// Publishes every event of the log a second time, newest first, and gives how many there are.
///
/// The log belongs to one process, so the control plane must be stopped.
pub async fn deliver_again_backwards(data_dir: &Path) -> Result<Vec<Event>> {
    let log = EmbeddedLog::open(
        &data_dir.join("events.db"),
        SystemClock::shared(),
        DEFAULT_RETENTION,
    )
    .await?;
    let mut reader = log.subscribe("story-reader", &TOPICS).await?;
    let mut events = Vec::new();
    while let Ok(delivery) = tokio::time::timeout(QUIET, reader.next()).await {
        events.push(delivery?.into_event()?);
    }
    let backwards: Vec<Event> = events.iter().rev().cloned().collect();
    log.publish(&backwards).await?;
    Ok(events)
}
