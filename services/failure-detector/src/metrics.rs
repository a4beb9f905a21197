//! The detector's instruments. `docs/metrics.md` explains each.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use slipway_platform::metrics::{SECONDS, meter};

use crate::domain::verdict::{Code, Health};

struct Instruments {
    observations: Counter<u64>,
    log_streams: Gauge<u64>,
    lost_entries: Gauge<u64>,
    alerts: Gauge<i64>,
    decisions: Counter<u64>,
    forwarded: Counter<u64>,
    forward_dropped: Counter<u64>,
    forward_lag: Histogram<f64>,
    deliveries: Counter<u64>,
    endpoints: Gauge<u64>,
    unmeasurable: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = meter();
    Instruments {
        observations: meter
            .u64_counter("slipway.detector.observations")
            .with_unit("{observation}")
            .with_description("Observations that came in, by source.")
            .build(),
        log_streams: meter
            .u64_gauge("slipway.detector.log_streams")
            .with_unit("{stream}")
            .with_description("Access-log streams that are open at this replica.")
            .build(),
        lost_entries: meter
            .u64_gauge("slipway.detector.lost_entries")
            .with_unit("{entry}")
            .with_description("Access-log entries that are known to be lost, since the start.")
            .build(),
        alerts: meter
            .i64_gauge("slipway.detector.alerts")
            .with_unit("{alert}")
            .with_description("Alerts that are open; said by the replica that does the upkeep.")
            .build(),
        decisions: meter
            .u64_counter("slipway.detector.decisions")
            .with_unit("{decision}")
            .with_description("Decisions that a candidate is degraded, by reason.")
            .build(),
        forwarded: meter
            .u64_counter("slipway.detector.forwarded")
            .with_unit("{observation}")
            .with_description("Observations between replicas, by direction.")
            .build(),
        forward_dropped: meter
            .u64_counter("slipway.detector.forward_dropped")
            .with_unit("{observation}")
            .with_description("Observations for another replica that there was no room to keep.")
            .build(),
        forward_lag: meter
            .f64_histogram("slipway.detector.forward_lag")
            .with_unit("s")
            .with_description("Time from the log entry to the replica that judges it.")
            .with_boundaries(SECONDS.to_vec())
            .build(),
        deliveries: meter
            .u64_counter("slipway.detector.deliveries")
            .with_unit("{attempt}")
            .with_description("Attempts to deliver a notification, by result.")
            .build(),
        endpoints: meter
            .u64_gauge("slipway.detector.endpoints")
            .with_unit("{endpoint}")
            .with_description("Endpoints that this replica judges.")
            .build(),
        unmeasurable: meter
            .u64_gauge("slipway.detector.unmeasurable")
            .with_unit("{endpoint}")
            .with_description("Endpoints that this replica judges and cannot measure now.")
            .build(),
    }
});

fn whole(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Observations came in, by access log or by report.
pub(crate) fn observed(count: usize, source: &'static str) {
    INSTRUMENTS
        .observations
        .add(whole(count), &[KeyValue::new("source", source)]);
}

/// What this replica sees and holds now.
pub(crate) fn seen(log_streams: u32, lost: u64, endpoints: usize, unmeasurable: usize) {
    INSTRUMENTS.log_streams.record(u64::from(log_streams), &[]);
    INSTRUMENTS.lost_entries.record(lost, &[]);
    INSTRUMENTS.endpoints.record(whole(endpoints), &[]);
    INSTRUMENTS.unmeasurable.record(whole(unmeasurable), &[]);
}

/// Makes the counters that somebody may be paged for known before their first increment.
pub(crate) fn begin() {
    for code in Code::ALL {
        if code.health() == Health::Degraded {
            let code = [KeyValue::new("code", code.as_str())];
            INSTRUMENTS.decisions.add(0, &code);
        }
    }
    INSTRUMENTS.forward_dropped.add(0, &[]);
    for result in ["ok", "failed"] {
        let result = [KeyValue::new("result", result)];
        INSTRUMENTS.deliveries.add(0, &result);
    }
}

/// So many alerts are open.
pub(crate) fn alerts_open(count: i64) {
    INSTRUMENTS.alerts.record(count, &[]);
}

/// A decision was stored.
pub(crate) fn decided(code: Code) {
    INSTRUMENTS
        .decisions
        .add(1, &[KeyValue::new("code", code.as_str())]);
}

/// Observations were written down for another replica.
pub(crate) fn written_down(count: usize) {
    if count > 0 {
        let out = [KeyValue::new("direction", "out")];
        INSTRUMENTS.forwarded.add(whole(count), &out);
    }
}

/// Observations for another replica were dropped, for want of room.
pub(crate) fn dropped(count: u64) {
    if count > 0 {
        INSTRUMENTS.forward_dropped.add(count, &[]);
    }
}

/// Observations of another replica's proxies were counted, so long after its newest log entry.
pub(crate) fn taken_in(count: u64, lag: Option<Duration>) {
    if count > 0 {
        let r#in = [KeyValue::new("direction", "in")];
        INSTRUMENTS.forwarded.add(count, &r#in);
        if let Some(lag) = lag {
            INSTRUMENTS.forward_lag.record(lag.as_secs_f64(), &[]);
        }
    }
}

/// A notification was sent, or failed to be.
pub(crate) fn delivered(result: &'static str) {
    INSTRUMENTS
        .deliveries
        .add(1, &[KeyValue::new("result", result)]);
}
