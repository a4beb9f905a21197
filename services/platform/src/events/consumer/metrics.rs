//! What consumers measure.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};

use crate::{clock::Timestamp, events::Event, metrics};

/// The instruments of one consumer group.
pub(super) struct Instruments {
    retries: Counter<u64>,
    dead_letters: Counter<u64>,
    stale: Counter<u64>,
    delay: Histogram<f64>,
    group: KeyValue,
}

impl Instruments {
    pub(super) fn new(group: &'static str) -> Self {
        let meter = metrics::meter();
        let made = Self {
            retries: meter
                .u64_counter("slipway.event.retries")
                .with_unit("{attempt}")
                .with_description(
                    "Failed attempts on events that are tried again; growing on and on: one is stuck",
                )
                .build(),
            dead_letters: meter
                .u64_counter("slipway.event.dead_letters")
                .with_unit("{event}")
                .with_description("Events and malformed messages that became dead letters")
                .build(),
            stale: meter
                .u64_counter("slipway.event.stale")
                .with_unit("{event}")
                .with_description("Events that were dropped because a newer one of their key was seen")
                .build(),
            delay: meter
                .f64_histogram("slipway.event.delay")
                .with_unit("s")
                .with_description("From when an event happened to when it had its effect")
                .with_boundaries(metrics::SECONDS.to_vec())
                .build(),
            group: KeyValue::new("messaging.consumer.group.name", group),
        };
        // From 0, so that whoever looks at increases sees the first one.
        made.retries.add(0, std::slice::from_ref(&made.group));
        made.dead_letters.add(0, std::slice::from_ref(&made.group));
        made.stale.add(0, std::slice::from_ref(&made.group));
        made
    }

    /// An attempt failed, and another one follows.
    pub(super) fn retried(&self) {
        self.retries.add(1, std::slice::from_ref(&self.group));
    }

    /// Something became a dead letter.
    pub(super) fn buried(&self) {
        self.dead_letters.add(1, std::slice::from_ref(&self.group));
    }

    /// An event was older than one seen, and dropped.
    pub(super) fn stale(&self) {
        self.stale.add(1, std::slice::from_ref(&self.group));
    }

    /// An event had its effect.
    pub(super) fn handled(&self, event: &Event, now: Timestamp) {
        let delay = now.since(event.time).as_secs_f64();
        self.delay.record(delay, std::slice::from_ref(&self.group));
    }
}
