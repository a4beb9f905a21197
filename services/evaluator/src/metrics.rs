//! What the evaluator measures of itself.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use slipway_platform::metrics::{SECONDS, meter};

use crate::domain::Verdict;

struct Instruments {
    evaluations: Counter<u64>,
    duration: Histogram<f64>,
    rows: Counter<u64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = meter();
        Instruments {
            evaluations: meter
                .u64_counter("slipway.evaluator.evaluations")
                .with_description("Evaluations that have ended, by verdict")
                .build(),
            duration: meter
                .f64_histogram("slipway.evaluator.duration")
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .with_description("From being asked for to the verdict")
                .build(),
            rows: meter
                .u64_counter("slipway.evaluator.rows")
                .with_description("Rows of predictions that were measured")
                .build(),
        }
    })
}

/// An evaluation has ended, `after` it was asked for, with so many rows measured.
pub fn ended(verdict: Verdict, after: Duration, rows: u64) {
    let of = instruments();
    let verdict = [KeyValue::new("verdict", verdict.name())];
    of.evaluations.add(1, &verdict);
    of.duration.record(after.as_secs_f64(), &verdict);
    of.rows.add(rows, &[]);
}
