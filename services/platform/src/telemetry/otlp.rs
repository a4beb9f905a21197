//! Export by OTLP: the exporters, the thread that they run on, and the end with its last exports.
//!
//! Exports run on a runtime of one thread of their own, so that they neither wait for the service nor keep it
//! waiting, and so that the last ones can still be made while the service's runtime ends.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfig, BatchLogProcessor, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatchConfig, BatchSpanProcessor, Sampler, SdkTracerProvider,
    TracerProviderBuilder,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::config::{OtlpConfig, TelemetryConfig};
use super::export::{Export, Reach};
use super::redact::Redactor;
use crate::error::{Error, Result};

/// The thread that sends.
pub(super) struct Sender {
    handle: Handle,
    stop: CancellationToken,
    config: OtlpConfig,
    redactor: Redactor,
    reach: Arc<Reach>,
}

impl Sender {
    /// `None` when nothing is to be sent.
    pub(super) fn start(config: &TelemetryConfig) -> Result<Option<Self>> {
        if config.otlp.endpoint.is_empty() {
            return Ok(None);
        }
        let failed =
            |error: std::io::Error| Error::internal("start the export of telemetry", error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || runtime.block_on(stopped))
            .map_err(failed)?;
        Ok(Some(Self {
            handle,
            stop,
            config: config.otlp.clone(),
            redactor: Redactor::new(&config.redaction),
            reach: Arc::default(),
        }))
    }

    pub(super) fn spans(&self) -> Result<Option<BatchSpanProcessor>> {
        if !self.config.traces {
            return Ok(None);
        }
        let exporter = {
            let _entered = self.handle.enter();
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(&self.config.endpoint)
                .with_timeout(self.config.timeout())
                .with_metadata(self.metadata()?)
                .build()
                .map_err(|error| Error::internal("export traces", error))?
        };
        let config = SpanBatchConfig::default()
            .with_max_queue_size(self.config.queue_max)
            .with_max_export_batch_size(self.config.batch_max)
            .with_scheduled_delay(self.config.delay())
            .build();
        let processor = BatchSpanProcessor::builder(self.export(exporter, "traces"));
        Ok(Some(processor.with_batch_config(config).build()))
    }

    pub(super) fn logs(&self, resource: Resource) -> Result<Option<SdkLoggerProvider>> {
        if !self.config.logs {
            return Ok(None);
        }
        let exporter = {
            let _entered = self.handle.enter();
            LogExporter::builder()
                .with_tonic()
                .with_endpoint(&self.config.endpoint)
                .with_timeout(self.config.timeout())
                .with_metadata(self.metadata()?)
                .build()
                .map_err(|error| Error::internal("export logs", error))?
        };
        let config = LogBatchConfig::default()
            .with_max_queue_size(self.config.queue_max)
            .with_max_export_batch_size(self.config.batch_max)
            .with_scheduled_delay(self.config.delay())
            .build();
        let processor = BatchLogProcessor::builder(self.export(exporter, "logs"))
            .with_batch_config(config)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(processor);
        Ok(Some(provider.build()))
    }

    pub(super) fn metrics(&self) -> Result<Option<PeriodicReader<Export<MetricExporter>>>> {
        if !self.config.metrics {
            return Ok(None);
        }
        let exporter = {
            let _entered = self.handle.enter();
            MetricExporter::builder()
                .with_tonic()
                .with_endpoint(&self.config.endpoint)
                .with_timeout(self.config.timeout())
                .with_metadata(self.metadata()?)
                .build()
                .map_err(|error| Error::internal("export metrics", error))?
        };
        let reader = PeriodicReader::builder(self.export(exporter, "metrics"));
        Ok(Some(
            reader.with_interval(self.config.metrics_period()).build(),
        ))
    }

    fn export<E>(&self, exporter: E, signal: &'static str) -> Export<E> {
        Export::new(
            exporter,
            signal,
            &self.config.endpoint,
            self.handle.clone(),
            self.config.timeout(),
            self.redactor.clone(),
            self.reach.clone(),
        )
    }

    fn metadata(&self) -> Result<tonic::metadata::MetadataMap> {
        self.config
            .metadata()
            .map_err(|problem| Error::invalid("telemetry.otlp.headers", problem))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Traces with the choice of the caller, and for new ones by their id.
pub(super) fn tracer(config: &OtlpConfig, resource: Resource) -> TracerProviderBuilder {
    let new = Sampler::TraceIdRatioBased(config.sample_ratio);
    SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(new)))
}

/// What is flushed at the end.
pub(super) struct Providers {
    pub(super) tracer: SdkTracerProvider,
    pub(super) logger: Option<SdkLoggerProvider>,
    pub(super) meter: Option<SdkMeterProvider>,
}

impl Providers {
    /// Sends what waits and ends; returns at the latest after `limit`, whatever the collector does.
    pub(super) fn shutdown(self, limit: Duration) {
        let (done, ended) = mpsc::channel();
        let mut running = 0;
        let mut end = |work: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            let thread = std::thread::Builder::new().spawn(move || {
                work();
                let _ = done.send(());
            });
            running += usize::from(thread.is_ok());
        };
        let Self {
            tracer,
            logger,
            meter,
        } = self;
        end(Box::new(move || drop(tracer.shutdown_with_timeout(limit))));
        if let Some(logger) = logger {
            end(Box::new(move || drop(logger.shutdown_with_timeout(limit))));
        }
        if let Some(meter) = meter {
            end(Box::new(move || drop(meter.shutdown_with_timeout(limit))));
        }
        let deadline = Instant::now() + limit;
        for _ in 0..running {
            let left = deadline.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::{ids_from, set_parent, traceparent_of};
    use super::*;

    #[test]
    fn new_traces_are_sampled_by_the_ratio_and_others_as_they_began() {
        let config = OtlpConfig {
            sample_ratio: 0.0,
            ..OtlpConfig::default()
        };
        let provider = tracer(&config, Resource::builder_empty().build()).build();
        let subscriber = tracing_subscriber::registry().with(ids_from(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let flags = |span: &tracing::Span| traceparent_of(span).unwrap().split_off(53);
            assert_eq!(flags(&tracing::info_span!("new")), "00");
            for began in ["00", "01"] {
                let span = tracing::info_span!("goes on");
                let parent =
                    format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{began}");
                set_parent(&span, Some(&parent));
                assert_eq!(flags(&span), began);
            }
        });
    }
}
