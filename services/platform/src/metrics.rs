//! Metrics of this process: OpenTelemetry instruments, shown as Prometheus text and sent by OTLP.
//!
//! There is one meter provider in a process, made by [`crate::telemetry::init`], or with nothing but the
//! Prometheus reader at the first use of [`meter`]. A service makes its instruments from [`meter`] in its own
//! `metrics.rs`, with dotted OpenTelemetry names and units; the Prometheus name has underscores, the unit in
//! words and `_total` for counters (`slipway.event.lag` in `s` becomes `slipway_event_lag_seconds`).
//! `docs/metrics.md` has every one of them.
//!
//! Attributes must have few values: names of methods, groups and phases, never ids or anything that a
//! caller chooses. The SDK keeps at most 2,000 combinations for one instrument and folds the rest together.

use std::sync::OnceLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider, reader::MetricReader};
use prometheus::{Registry, TextEncoder};

use crate::error::{Error, Result};

/// Bounds for durations in seconds, from a millisecond to ten minutes.
pub const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0, 600.0,
];

/// Bounds for durations in milliseconds, from a quarter to half a minute.
pub const MILLISECONDS: &[f64] = &[
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0,
    10_000.0, 30_000.0,
];

/// The instrumentation scope of every Slipway instrument.
const SCOPE: &str = "slipway";

struct Installed {
    provider: SdkMeterProvider,
    registry: Registry,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Where instruments come from. Make each instrument once and keep it.
///
/// Instruments made before [`crate::telemetry::init`] would fix the provider without an OTLP reader, so
/// make them when the service starts and not before.
pub fn meter() -> Meter {
    installed().provider.meter(SCOPE)
}

/// `GET /metrics`: everything that was measured, in Prometheus's text format.
pub fn router() -> axum::Router {
    axum::Router::new().route("/metrics", get(show))
}

/// Everything that was measured, in Prometheus's text format.
pub fn text() -> Result<String> {
    TextEncoder::new()
        .encode_to_string(&installed().registry.gather())
        .map_err(|error| Error::internal("write metrics", error))
}

/// Makes the process's provider with a further reader. Refused when instruments were made before.
pub(crate) fn install<R: MetricReader>(
    resource: Resource,
    reader: Option<R>,
) -> Result<SdkMeterProvider> {
    let made = make(resource, reader)?;
    let provider = made.provider.clone();
    INSTALLED
        .set(made)
        .map_err(|_| Error::internal("install metrics", "instruments were made before"))?;
    Ok(provider)
}

/// Makes the process's provider unless there is one.
pub(crate) fn install_local(resource: Resource) {
    INSTALLED.get_or_init(|| local(resource));
}

fn installed() -> &'static Installed {
    INSTALLED.get_or_init(|| local(Resource::builder().with_service_name(SCOPE).build()))
}

fn local(resource: Resource) -> Installed {
    make(resource, None::<ManualReader>).expect("a new registry takes its first collector")
}

fn make<R: MetricReader>(resource: Resource, reader: Option<R>) -> Result<Installed> {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .map_err(|error| Error::internal("install metrics", error))?;
    let builder = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(exporter);
    let builder = match reader {
        Some(reader) => builder.with_reader(reader),
        None => builder,
    };
    Ok(Installed {
        provider: builder.build(),
        registry,
    })
}

async fn show() -> axum::response::Response {
    match text() {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be shown");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::*;

    #[test]
    fn instruments_are_shown_with_unit_and_attributes() {
        let waits = meter()
            .f64_histogram("slipway.test.wait")
            .with_unit("s")
            .with_description("How long tests wait.")
            .with_boundaries(SECONDS.to_vec())
            .build();
        waits.record(0.003, &[KeyValue::new("group", "a")]);
        waits.record(0.003, &[KeyValue::new("group", "b")]);
        let events = meter().u64_counter("slipway.test.events").build();
        events.add(2, &[]);
        let text = text().unwrap();
        for line in [
            "# HELP slipway_test_wait_seconds How long tests wait.",
            "slipway_test_wait_seconds_bucket{group=\"a\",le=\"0.0025\"} 0",
            "slipway_test_wait_seconds_bucket{group=\"b\",le=\"0.005\"} 1",
            "slipway_test_events_total 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let types = text.matches("# TYPE slipway_test_wait_seconds ").count();
        assert_eq!(types, 1, "one family for all attributes");
    }

    #[test]
    fn a_second_provider_is_refused() {
        meter();
        let none = None::<ManualReader>;
        assert!(install(Resource::builder_empty().build(), none).is_err());
    }
}
