//! Tracing to the terminal, and the W3C trace context that ties services together.
//!
//! Spans get OpenTelemetry ids, so that a `traceparent` can be taken from the current span
//! ([`current_traceparent`]) and given to a new one ([`set_parent`]); spans are not exported yet. The
//! context travels in gRPC metadata, in events and in outbox rows.

use std::io::IsTerminal;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Validate;
use crate::error::{Error, Result, Violations};

/// The header and attribute that carries the trace context.
pub const TRACEPARENT: &str = "traceparent";

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line of text for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Directives such as `info,slipway_deployer=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: Format,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Text,
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self, problems: &mut Violations) {
        if let Err(error) = EnvFilter::builder().parse(&self.filter) {
            problems.push("filter", error.to_string());
        }
    }
}

/// Installs tracing for this process, writing to standard error. Call once, in `main`.
pub fn init(config: &TelemetryConfig) -> Result<()> {
    let filter = EnvFilter::builder()
        .parse(&config.filter)
        .map_err(|error| Error::invalid("telemetry.filter", error.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        Format::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .boxed(),
        Format::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(ids().with_filter(LevelFilter::INFO))
        .try_init()
        .map_err(|error| Error::internal("install tracing", error))
}

/// The layer that gives every span its OpenTelemetry ids.
pub fn ids<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let tracer = SdkTracerProvider::builder().build().tracer("slipway");
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
}

/// The `traceparent` of the current span; `None` outside of a span that is traced.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier::default();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.traceparent
}

/// Makes `span` a child of the remote span that `traceparent` names. A malformed one is ignored.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else {
        return;
    };
    let carrier = Carrier {
        traceparent: Some(traceparent.to_owned()),
    };
    let context = TraceContextPropagator::new()
        .extract_with_context(&opentelemetry::Context::new(), &carrier);
    if context.span().span_context().is_valid() && span.set_parent(context).is_err() {
        tracing::trace!("span is not traced, so it has no parent");
    }
}

#[derive(Default)]
struct Carrier {
    traceparent: Option<String>,
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.traceparent = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.traceparent.as_deref().filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn trace_id(traceparent: &str) -> &str {
        &traceparent[3..35]
    }

    #[test]
    fn a_span_continues_the_trace_it_was_given() {
        let subscriber = tracing_subscriber::registry().with(ids());
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(current_traceparent(), None);
            let span = tracing::info_span!("work");
            set_parent(&span, Some(PARENT));
            let traceparent = span.in_scope(current_traceparent).unwrap();
            assert_eq!(trace_id(&traceparent), trace_id(PARENT));
            assert_ne!(traceparent, PARENT, "the span has an id of its own");
        });
    }

    #[test]
    fn a_malformed_parent_starts_a_new_trace() {
        let subscriber = tracing_subscriber::registry().with(ids());
        tracing::subscriber::with_default(subscriber, || {
            for bad in [
                "",
                "x",
                "00-0-0-0",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            ] {
                let span = tracing::info_span!("work");
                set_parent(&span, Some(bad));
                assert!(span.in_scope(current_traceparent).is_some(), "{bad}");
            }
        });
    }

    #[test]
    fn without_tracing_there_is_no_context() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert_eq!(
                tracing::info_span!("work").in_scope(current_traceparent),
                None
            );
        });
    }

    #[test]
    fn a_broken_filter_is_a_problem() {
        let mut problems = Violations::new();
        TelemetryConfig {
            filter: "info,=,=x".into(),
            ..Default::default()
        }
        .validate(&mut problems);
        assert_eq!(problems.0.len(), 1);
        let mut problems = Violations::new();
        TelemetryConfig::default().validate(&mut problems);
        assert!(problems.is_empty());
    }
}
