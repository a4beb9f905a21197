//! Logs, traces and metrics of this process, and the W3C trace context that ties services together.
//!
//! [`init`] installs everything once: lines on standard error, OpenTelemetry ids for every span, and with
//! `[telemetry.otlp] endpoint` the export of traces, logs and metrics. What it returns sends the rest when it
//! is dropped. A collector that cannot be reached costs what could not be sent and one line of log: nothing
//! waits for it.
//!
//! A `traceparent` is taken from the current span ([`current_traceparent`]) and given to a new one
//! ([`set_parent`]); it travels in gRPC metadata, in events, in outbox rows, and in rows of work that is done
//! later. Spans have the names of OpenTelemetry's semantic conventions.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `config` | the section `[telemetry]` |
//! | `context` | from spans to `traceparent` and back |
//! | `lines` | log lines as text or JSON |
//! | `redact` | which values are not shown |
//! | `otlp`, `export` | the exporters, their thread, and the end |

mod config;
mod context;
mod export;
mod lines;
mod otlp;
mod redact;
mod resource;

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{
    FilterExt, FilterFn, LevelFilter, Targets, dynamic_filter_fn, filter_fn,
};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, Result};
use crate::metrics;
pub use config::{DEFAULTS, Format, OtlpConfig, RedactionConfig, SECTION, TelemetryConfig};
pub use context::{
    TRACEPARENT, add_link, current_traceparent, is_traceparent, set_parent, traceparent_of,
};
pub use resource::instance_id;

use lines::{JsonLines, TextFields};
use otlp::{Providers, Sender};
use redact::Redactor;

/// The telemetry of this process. Dropping it sends what waits to be sent, in bounded time; keep it until
/// everything else has ended.
#[must_use = "telemetry ends when this is dropped"]
pub struct Telemetry {
    providers: Option<Providers>,
    // After the providers: the last exports run on it.
    sender: Option<Sender>,
    flush: Duration,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Without an export there is nothing to wait for, and /metrics may still be asked for.
        if let (Some(providers), Some(sender)) = (self.providers.take(), self.sender.take()) {
            providers.shutdown(self.flush);
            drop(sender);
        }
    }
}

/// Installs telemetry for this process. Call once, in `main`, before any service starts.
pub fn init(config: &TelemetryConfig) -> Result<Telemetry> {
    let resource = resource::of(config);
    let redactor = Redactor::new(&config.redaction);
    let sender = Sender::start(config)?;
    let mut tracer = otlp::tracer(&config.otlp, resource.clone());
    let mut logger = None;
    let mut meter = None;
    if let Some(sender) = &sender {
        if let Some(processor) = sender.spans()? {
            tracer = tracer.with_span_processor(processor);
        }
        logger = sender.logs(resource.clone())?;
        if let Some(reader) = sender.metrics()? {
            meter = Some(metrics::install(resource.clone(), Some(reader))?);
        }
    }
    if meter.is_none() {
        metrics::install_local(resource);
    }
    let tracer = tracer.build();
    let records = match &logger {
        Some(logger) => {
            let bridge = OpenTelemetryTracingBridge::new(logger);
            Some(bridge.with_filter(filter(config)?.and(filter_fn(is_exported as IsShown))))
        }
        None => None,
    };
    tracing_subscriber::registry()
        .with(ids_from(&tracer))
        .with(lines(config, redactor)?)
        .with(records)
        .with(wanted_by_any(filter(config)?))
        .try_init()
        .map_err(|error| Error::internal("install tracing", error))?;
    Ok(Telemetry {
        providers: Some(Providers {
            tracer,
            logger,
            meter,
        }),
        sender,
        flush: config.otlp.flush(),
    })
}

/// The layer that gives every span its OpenTelemetry ids, without any export.
pub fn ids<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    ids_from(&SdkTracerProvider::builder().build())
}

type IsShown = fn(&Metadata<'_>) -> bool;

fn ids_from<S>(tracer: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let traced: FilterFn<IsShown> = filter_fn(is_traced);
    tracing_opentelemetry::layer()
        .with_tracer(tracer.tracer("slipway"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(LevelFilter::INFO.and(traced))
}

fn lines<S>(config: &TelemetryConfig, redactor: Redactor) -> Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        Format::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(TextFields(redactor))
            .boxed(),
        Format::Json => lines
            .fmt_fields(JsonLines(redactor.clone()))
            .event_format(JsonLines(redactor))
            .boxed(),
    };
    let said: FilterFn<IsShown> = filter_fn(is_said);
    Ok(lines.with_filter(filter(config)?.and(said)).boxed())
}

fn filter(config: &TelemetryConfig) -> Result<Targets> {
    config::targets(&config.filter).map_err(|why| Error::invalid("telemetry.filter", why))
}

/// What some layer wants, asked first and each time. Who only asks whether something is wanted, as sqlx does for each
/// statement and librdkafka's binding for each client, and then says nothing, leaves the "no" of the layers' own filters
/// behind in its thread. The next line or span there, whatever it is, would be lost if nobody asked them again.
fn wanted_by_any<S>(filter: Targets) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let spans_and_more = LevelFilter::INFO;
    let most = filter
        .iter()
        .map(|(_, level)| level)
        .chain(filter.default_level())
        .fold(spans_and_more, LevelFilter::max);
    dynamic_filter_fn(move |metadata, _| {
        *metadata.level() <= spans_and_more
            || filter.would_enable(metadata.target(), metadata.level())
    })
    .with_max_level_hint(most)
}

/// The SDK reports every failed export, which [`export`] does once; that its queue is full only it can say.
fn is_said(metadata: &Metadata<'_>) -> bool {
    !metadata.target().starts_with("opentelemetry") || metadata.name().contains("Dropp")
}

/// The target of spans that name something on log lines and belong to no trace.
pub const UNTRACED: &str = "slipway_platform::untraced";

fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.target() != UNTRACED && is_exported(metadata)
}

/// What the export itself causes is not exported: it would go round for ever.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    const EXPORT_ITSELF: &[&str] = &[
        "opentelemetry",
        "tonic",
        "h2",
        "hyper",
        "tower",
        export::TARGET,
    ];
    let target = metadata.target();
    !EXPORT_ITSELF.iter().any(|own| target.starts_with(own))
}
