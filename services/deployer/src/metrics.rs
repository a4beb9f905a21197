//! What the deployer measures of itself. Gauges of what is stored are the same on every replica: take the
//! greatest, not the sum.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use slipway_platform::Result;
use slipway_platform::metrics::{SECONDS, meter};

use crate::service::Service;
use crate::store::{rollouts, work};

/// How often gauges are read from what is stored.
pub const PERIOD: Duration = Duration::from_secs(5);

struct Instruments {
    rollouts: Gauge<u64>,
    /// Where and in which phases there were rollouts, to say when there are none any more.
    seen: Mutex<BTreeSet<(String, String)>>,
    ended: Counter<u64>,
    anomaly_to_applied: Histogram<f64>,
    proxies: Gauge<u64>,
    nacks: Counter<u64>,
    work: Gauge<u64>,
    work_age: Gauge<f64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = meter();
        let instruments = Instruments {
            rollouts: meter
                .u64_gauge("slipway.deployer.rollouts")
                .with_description("Rollouts that have not ended, by phase and environment")
                .build(),
            seen: Mutex::default(),
            ended: meter
                .u64_counter("slipway.deployer.rollouts_ended")
                .with_description("Rollouts that have ended, by outcome")
                .build(),
            anomaly_to_applied: meter
                .f64_histogram("slipway.deployer.anomaly_to_applied")
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .with_description(
                    "From the decision on an anomaly until every proxy had accepted it",
                )
                .build(),
            proxies: meter
                .u64_gauge("slipway.deployer.proxies")
                .with_description("Proxies that have a stream to this replica")
                .build(),
            nacks: meter
                .u64_counter("slipway.deployer.proxy_nacks")
                .with_description("Configurations that proxies have refused")
                .build(),
            work: meter
                .u64_gauge("slipway.deployer.work")
                .with_description("Work that is due and not done")
                .build(),
            work_age: meter
                .f64_gauge("slipway.deployer.work_oldest_age")
                .with_unit("s")
                .with_description("How long the oldest work that is not done has been due")
                .build(),
        };
        // The first increment is seen as one only after a zero.
        instruments.nacks.add(0, &[]);
        for outcome in ["succeeded", "rolled_back", "failed"] {
            instruments
                .ended
                .add(0, &[KeyValue::new("outcome", outcome)]);
        }
        instruments
    })
}

/// A rollout has ended in this phase.
pub fn rollout_ended(outcome: &'static str) {
    let outcome = outcome.to_lowercase();
    instruments()
        .ended
        .add(1, &[KeyValue::new("outcome", outcome)]);
}

/// A rollback that an anomaly led to is in force at every proxy.
pub fn anomaly_applied(took: Duration) {
    instruments()
        .anomaly_to_applied
        .record(took.as_secs_f64(), &[]);
}

/// A proxy has refused something.
pub fn proxy_refused() {
    instruments().nacks.add(1, &[]);
}

/// Reads the gauges.
pub async fn read(service: &Service) -> Result<()> {
    let instruments = instruments();
    let connected = u64::try_from(service.hub.connected()).unwrap_or(u64::MAX);
    instruments.proxies.record(connected, &[]);
    let now = service.clock.now();
    let (counts, (waiting, oldest)) = {
        let mut reader = service.db.read().await?;
        let counts = rollouts::count_by_phase(&mut reader).await?;
        (counts, work::waiting(&mut reader, now).await?)
    };
    instruments
        .work
        .record(u64::try_from(waiting).unwrap_or(0), &[]);
    let age = oldest.map_or(Duration::ZERO, |oldest| now - oldest);
    instruments.work_age.record(age.as_secs_f64(), &[]);
    let mut seen = instruments
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    seen.extend(counts.keys().cloned());
    for key in seen.iter() {
        let count = counts.get(key).copied().unwrap_or(0);
        let (environment, phase) = key.clone();
        let attributes = [
            KeyValue::new("environment", environment),
            KeyValue::new("phase", phase.to_lowercase()),
        ];
        instruments.rollouts.record(count, &attributes);
    }
    Ok(())
}
