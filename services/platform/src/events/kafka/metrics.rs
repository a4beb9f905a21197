//! What is measured of Kafka, under the names of OpenTelemetry's semantic conventions.
//!
//! The lag is what this program's members of a group have still to handle in the partitions that they hold
//! now; the sum over all programs is the group's.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};
use rdkafka::error::RDKafkaErrorCode;

use crate::metrics::meter;

const SYSTEM: &str = "messaging.system";
const DESTINATION: &str = "messaging.destination.name";
const GROUP: &str = "messaging.consumer.group.name";
const CLIENT: &str = "slipway.event.client";
const ERROR: &str = "error.type";

/// The instruments of one bus.
pub(super) struct Metrics {
    lag: Gauge<u64>,
    rebalances: Counter<u64>,
    errors: Counter<u64>,
    published: Counter<u64>,
    consumed: Counter<u64>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let meter = meter();
        Self {
            lag: meter
                .u64_gauge("slipway.event.lag")
                .with_unit("{event}")
                .with_description("Events that the consumer group has not handled yet")
                .build(),
            rebalances: meter
                .u64_counter("slipway.event.rebalances")
                .with_unit("{rebalance}")
                .with_description("Changes of the partitions that a member of the group holds")
                .build(),
            errors: meter
                .u64_counter("slipway.event.errors")
                .with_unit("{error}")
                .with_description(
                    "Errors of the event bus: its clients', and messages that are not events",
                )
                .build(),
            published: meter
                .u64_counter("slipway.event.published")
                .with_unit("{event}")
                .with_description("Events that the event bus has acknowledged")
                .build(),
            consumed: meter
                .u64_counter("slipway.event.consumed")
                .with_unit("{event}")
                .with_description(
                    "Events that were delivered to a consumer group, repeats included",
                )
                .build(),
        }
    }

    pub(super) fn lag(&self, group: &str, topic: &str, events: u64) {
        self.lag.record(events, &consumer(group, topic));
    }

    pub(super) fn rebalance(&self, group: &str) {
        let attributes = [KeyValue::new(SYSTEM, "kafka"), key(GROUP, group)];
        self.rebalances.add(1, &attributes);
    }

    /// An error of the library for this client, which is a `producer`, a `consumer` or the `admin`.
    pub(super) fn error(&self, client: &'static str, code: Option<RDKafkaErrorCode>) {
        let kind = code.map_or_else(|| "_OTHER".to_owned(), |code| format!("{code:?}"));
        let attributes = [
            KeyValue::new(SYSTEM, "kafka"),
            KeyValue::new(CLIENT, client),
            KeyValue::new(ERROR, kind),
        ];
        self.errors.add(1, &attributes);
    }

    /// A message that is not an event.
    pub(super) fn malformed(&self, group: &str, topic: &str) {
        let [system, group, topic] = consumer(group, topic);
        let kind = KeyValue::new(ERROR, "malformed");
        let client = KeyValue::new(CLIENT, "consumer");
        self.errors.add(1, &[system, group, topic, client, kind]);
    }

    pub(super) fn published(&self, topic: &str) {
        let attributes = [KeyValue::new(SYSTEM, "kafka"), key(DESTINATION, topic)];
        self.published.add(1, &attributes);
    }

    pub(super) fn consumed(&self, group: &str, topic: &str) {
        self.consumed.add(1, &consumer(group, topic));
    }
}

fn key(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

fn consumer(group: &str, topic: &str) -> [KeyValue; 3] {
    [
        KeyValue::new(SYSTEM, "kafka"),
        key(GROUP, group),
        key(DESTINATION, topic),
    ]
}
