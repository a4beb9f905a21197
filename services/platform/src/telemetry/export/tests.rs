use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;

use super::super::config::RedactionConfig;
use super::*;

/// Keeps what it is given, as text.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Kept {
    fn keep(&self, text: String) -> OTelSdkResult {
        self.0.lock().unwrap().push(text);
        Ok(())
    }

    fn only(&self) -> String {
        let kept = self.0.lock().unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept[0].clone()
    }
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.keep(format!("{batch:?}"))
    }
}

impl LogExporter for Kept {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.keep(format!("{:?}", batch.iter().collect::<Vec<_>>()))
    }
}

fn export(kept: &Kept, runtime: &tokio::runtime::Runtime) -> Export<Kept> {
    Export::new(
        kept.clone(),
        "test",
        "http://127.0.0.1:1",
        runtime.handle().clone(),
        Duration::from_secs(5),
        Redactor::new(&RedactionConfig::default()),
        Arc::default(),
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn spans_and_their_events_are_exported_without_what_must_not_be_shown() {
    let (kept, runtime) = (Kept::default(), runtime());
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(export(&kept, &runtime))
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let span = tracing::info_span!("work", phase = "soaking", password = "hunter2");
        span.in_scope(|| {
            tracing::info!(api_key = "hunter2", rows = 3, "opened db://a:hunter2@h/d");
        });
    });
    let text = kept.only();
    assert!(
        text.contains("soaking") && text.contains("db://a:[redacted]@h/d"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn log_records_are_exported_without_what_must_not_be_shown() {
    let (kept, runtime) = (Kept::default(), runtime());
    let provider = SdkLoggerProvider::builder()
        .with_simple_exporter(export(&kept, &runtime))
        .build();
    let layer = OpenTelemetryTracingBridge::new(&provider);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::warn!(api_key = "hunter2", rows = 3, "opened db://a:hunter2@h/d");
    });
    let text = kept.only();
    for there in ["opened db://a:[redacted]@h/d", "rows", "WARN", "api_key"] {
        assert!(text.contains(there), "{there} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_signal_that_is_refused_for_good_does_not_hide_the_loss_of_another() {
    let lines = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(Mutex::new(lines.reopen().unwrap()))
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let reach = Reach::default();
        let refused = || Err(OTelSdkError::InternalFailure("refused".to_owned()));
        for (signal, outcome) in [
            ("logs", refused()),
            ("logs", refused()),
            ("traces", refused()),
            ("traces", refused()),
            ("traces", Ok(())),
            ("traces", Ok(())),
        ] {
            reach.note(signal, "http://127.0.0.1:1", &outcome);
        }
    });
    let text = std::fs::read_to_string(lines.path()).unwrap();
    let said: Vec<_> = text.lines().collect();
    let expected = [
        ["WARN", "does not take", "signal=\"logs\""],
        ["WARN", "does not take", "signal=\"traces\""],
        ["INFO", "takes telemetry again", "signal=\"traces\""],
    ];
    assert_eq!(said.len(), expected.len(), "{text}");
    for (line, parts) in said.iter().zip(expected) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert!(said[2].contains("lost=2"), "{text}");
}
