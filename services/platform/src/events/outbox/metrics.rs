//! What the relay measures.

use opentelemetry::{KeyValue, metrics::Gauge};

use crate::{Result, clock::Timestamp, db::Db, events::outbox::batch, metrics};

/// A backlog is counted to this many rows; more are a fire either way.
const COUNTED_MAX: i64 = 100_000;

/// What waits in one outbox. Replicas say the same of theirs, whichever of them publishes it.
#[derive(Clone)]
pub(super) struct Backlog {
    waiting: Gauge<u64>,
    age: Gauge<f64>,
    service: KeyValue,
}

impl Backlog {
    /// The instruments of `source`'s outbox.
    pub(super) fn new(source: &str) -> Self {
        let meter = metrics::meter();
        let service = source.rsplit('/').next().unwrap_or(source).to_owned();
        Self {
            waiting: meter
                .u64_gauge("slipway.outbox.waiting")
                .with_unit("{event}")
                .with_description("Events in the outbox that are not published yet")
                .build(),
            age: meter
                .f64_gauge("slipway.outbox.age")
                .with_unit("s")
                .with_description("How long the oldest event has waited for its publication")
                .build(),
            service: KeyValue::new("slipway.service", service),
        }
    }

    /// Counts what waits.
    pub(super) async fn measure(&self, db: &Db, now: Timestamp) -> Result<()> {
        let (waiting, oldest) = batch::backlog(db, COUNTED_MAX).await?;
        let age = oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        let attributes = std::slice::from_ref(&self.service);
        self.waiting
            .record(u64::try_from(waiting).unwrap_or(0), attributes);
        self.age.record(age, attributes);
        Ok(())
    }
}
