//! An OTLP exporter with what every export needs: a runtime to run on, a limit, redaction, and one line of
//! log for a signal that the collector does not take instead of one for each attempt.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider};
use opentelemetry::metrics::Counter;
use opentelemetry::trace::Status;
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::redact::{REDACTED, Redactor};
use crate::metrics;

/// What lines about the export are logged under; they are never exported themselves.
pub(super) const TARGET: &str = "slipway_platform::telemetry::export";

/// An exporter of one signal.
pub(super) struct Export<E> {
    inner: E,
    signal: &'static str,
    endpoint: String,
    runtime: Handle,
    timeout: Duration,
    redactor: Redactor,
    /// Makes log records that are to be changed; they have no public constructor.
    records: SdkLogger,
    reach: Arc<Reach>,
}

/// Which signals the collector does not take, and how many exports of each were lost since it did. Each is by
/// itself: a collector may refuse one for good and take the others.
#[derive(Default)]
pub(super) struct Reach {
    failing: Mutex<BTreeMap<&'static str, u64>>,
}

impl Reach {
    /// Notes how an export ended, and says it when it is news: a signal's first failure, and that it is taken again.
    fn note(&self, signal: &'static str, endpoint: &str, outcome: &OTelSdkResult) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                if let Some(lost) = failing.remove(signal) {
                    tracing::info!(
                        target: TARGET, signal, endpoint, lost,
                        "the collector takes telemetry again; as many exports were lost"
                    );
                }
            }
            Err(error) => {
                let lost = failing.entry(signal).or_default();
                *lost += 1;
                if *lost == 1 {
                    tracing::warn!(
                        target: TARGET, signal, endpoint, %error,
                        "the collector does not take telemetry; it is lost until it does"
                    );
                }
            }
        }
    }
}

fn failures() -> &'static Counter<u64> {
    static FAILURES: OnceLock<Counter<u64>> = OnceLock::new();
    FAILURES.get_or_init(|| {
        metrics::meter()
            .u64_counter("slipway.telemetry.export.failures")
            .with_unit("{export}")
            .with_description("Exports that the collector did not take.")
            .build()
    })
}

impl<E> Debug for Export<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Export({})", self.signal)
    }
}

impl<E> Export<E> {
    pub(super) fn new(
        inner: E,
        signal: &'static str,
        endpoint: &str,
        runtime: Handle,
        timeout: Duration,
        redactor: Redactor,
        reach: Arc<Reach>,
    ) -> Self {
        let records = SdkLoggerProvider::builder().build().logger("redaction");
        Self {
            inner,
            signal,
            endpoint: endpoint.to_owned(),
            runtime,
            timeout,
            redactor,
            records,
            reach,
        }
    }

    /// The calling thread belongs to the SDK and has no runtime of its own.
    async fn run(&self, export: impl Future<Output = OTelSdkResult> + Send) -> OTelSdkResult {
        let limited = async {
            match tokio::time::timeout(self.timeout, export).await {
                Ok(outcome) => outcome,
                Err(_) => Err(OTelSdkError::Timeout(self.timeout)),
            }
        };
        let within = Within {
            runtime: self.runtime.clone(),
            inner: Box::pin(limited),
        };
        let outcome = within.await;
        if outcome.is_err() {
            failures().add(1, &[KeyValue::new("signal", self.signal)]);
        }
        self.reach.note(self.signal, &self.endpoint, &outcome);
        outcome
    }

    fn redact(&self, attributes: &mut [KeyValue]) {
        for attribute in attributes {
            let name = attribute.key.as_str();
            if self.redactor.hides(name) {
                attribute.value = Value::from(REDACTED);
                continue;
            }
            match &mut attribute.value {
                Value::String(text) => self.redact_text(text),
                Value::Array(Array::String(texts)) => {
                    texts.iter_mut().for_each(|text| self.redact_text(text));
                }
                _ => {}
            }
        }
    }

    fn redact_text(&self, text: &mut StringValue) {
        if let Cow::Owned(shown) = self.redactor.text(text.as_str()) {
            *text = shown.into();
        }
    }
}

impl<E: SpanExporter> SpanExporter for Export<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            self.redact(&mut span.attributes);
            for event in &mut span.events.events {
                self.redact(&mut event.attributes);
                if let Cow::Owned(shown) = self.redactor.text(&event.name) {
                    event.name = shown.into();
                }
            }
            if let Status::Error { description } = &mut span.status
                && let Cow::Owned(shown) = self.redactor.text(description)
            {
                *description = shown.into();
            }
        }
        self.run(self.inner.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Export<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let shown: Vec<(Cow<'_, SdkLogRecord>, &InstrumentationScope)> = batch
            .iter()
            .map(|(record, scope)| (self.redacted(record), scope))
            .collect();
        let shown: Vec<_> = shown
            .iter()
            .map(|(record, scope)| (record.as_ref(), *scope))
            .collect();
        self.run(self.inner.export(LogBatch::new(&shown))).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E> Export<E> {
    fn redacted<'r>(&self, record: &'r SdkLogRecord) -> Cow<'r, SdkLogRecord> {
        let body = record.body().and_then(|body| self.shown("", body));
        let attributes = || record.attributes_iter();
        if body.is_none() && !attributes().any(|(k, v)| self.shown(k.as_str(), v).is_some()) {
            return Cow::Borrowed(record);
        }
        let mut copy = self.records.create_log_record();
        if let Some(name) = record.event_name() {
            copy.set_event_name(name);
        }
        if let Some(target) = record.target() {
            copy.set_target(target.clone());
        }
        if let Some(time) = record.timestamp() {
            copy.set_timestamp(time);
        }
        if let Some(time) = record.observed_timestamp() {
            copy.set_observed_timestamp(time);
        }
        if let Some(text) = record.severity_text() {
            copy.set_severity_text(text);
        }
        if let Some(number) = record.severity_number() {
            copy.set_severity_number(number);
        }
        if let Some(trace) = record.trace_context() {
            copy.set_trace_context(trace.trace_id, trace.span_id, trace.trace_flags);
        }
        if let Some(body) = body.or_else(|| record.body().cloned()) {
            copy.set_body(body);
        }
        for (key, value) in attributes() {
            let shown = self.shown(key.as_str(), value);
            copy.add_attribute(key.clone(), shown.unwrap_or_else(|| value.clone()));
        }
        Cow::Owned(copy)
    }

    /// What stands in the place of the value; `None` when it may be shown as it is.
    fn shown(&self, name: &str, value: &AnyValue) -> Option<AnyValue> {
        if self.redactor.hides(name) {
            return Some(AnyValue::from(REDACTED));
        }
        match value {
            AnyValue::String(text) => match self.redactor.text(text.as_str()) {
                Cow::Owned(shown) => Some(AnyValue::from(shown)),
                Cow::Borrowed(_) => None,
            },
            _ => None,
        }
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Export<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.run(self.inner.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

/// A future that is polled on a foreign thread and finds its runtime there.
struct Within<F> {
    runtime: Handle,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.runtime.enter();
        this.inner.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests;
