//! Telemetry of a whole process, whose standard error is read: each test runs itself again as a child.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use slipway_platform::metrics;
use slipway_platform::telemetry::{self, Format, TelemetryConfig};

const ENDPOINT: &str = "TELEMETRY_TEST_ENDPOINT";
/// Long enough for what happens at all on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOST: &str = "the collector does not take telemetry";

/// Runs the test `name` again in a process of its own, with this endpoint, and gives its standard error.
fn child(name: &str, endpoint: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ENDPOINT, endpoint)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

fn config(endpoint: &str) -> TelemetryConfig {
    let mut config = TelemetryConfig::with_filter("debug");
    config.otlp.endpoint = endpoint.to_owned();
    config.otlp.delay_ms = 10;
    config.otlp.metrics_period_ms = 100;
    config.otlp.timeout_ms = 200;
    config.otlp.flush_ms = 500;
    config
}

/// How many exports of a signal failed, from what `/metrics` shows.
fn failures(signal: &str) -> f64 {
    let text = metrics::text().unwrap();
    let wanted = format!("slipway_telemetry_export_failures_total{{signal=\"{signal}\"}}");
    let line = text.lines().find(|line| line.starts_with(&wanted));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

/// The body of the child: work goes on while nothing can be sent, and the end does not wait long.
fn work_without_a_collector(endpoint: &str) {
    let telemetry = telemetry::init(&config(endpoint)).unwrap();
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while ["traces", "logs", "metrics"]
        .iter()
        .any(|signal| failures(signal) < 3.0)
    {
        assert!(begun.elapsed() < PATIENCE, "{}", metrics::text().unwrap());
        let before = Instant::now();
        tracing::info_span!("work").in_scope(|| tracing::info!("done"));
        longest = longest.max(before.elapsed());
        std::thread::yield_now();
    }
    assert!(longest < PATIENCE / 4, "work waited for {longest:?}");
    let end = Instant::now();
    drop(telemetry);
    assert!(end.elapsed() < PATIENCE / 4, "{:?}", end.elapsed());
}

#[test]
fn a_collector_that_is_not_there_is_said_once_for_each_signal_and_keeps_nobody_waiting() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return work_without_a_collector(&endpoint);
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = child(
        "a_collector_that_is_not_there_is_said_once_for_each_signal_and_keeps_nobody_waiting",
        &format!("http://{address}"),
    );
    assert_said_once_for_each_signal(&text);
    assert!(text.contains(&address.to_string()), "{}", tail(&text));
}

#[test]
fn a_collector_that_never_answers_is_said_once_for_each_signal_and_keeps_nobody_waiting() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        return work_without_a_collector(&endpoint);
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = child(
        "a_collector_that_never_answers_is_said_once_for_each_signal_and_keeps_nobody_waiting",
        &format!("http://{}", silent.local_addr().unwrap()),
    );
    assert_said_once_for_each_signal(&text);
}

fn assert_said_once_for_each_signal(text: &str) {
    let said: Vec<_> = text.lines().filter(|line| line.contains(LOST)).collect();
    assert_eq!(said.len(), 3, "{}", tail(text));
    for signal in ["traces", "logs", "metrics"] {
        assert!(said.iter().any(|line| line.contains(signal)), "{said:?}");
    }
}

/// The lines that are not of the work.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("done")).collect();
    lines.join("\n")
}

#[test]
fn who_only_asks_whether_something_is_wanted_loses_nothing() {
    const NAME: &str = "who_only_asks_whether_something_is_wanted_loses_nothing";
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let mut config = config(&endpoint);
        config.filter = "info,chatty=debug".to_owned();
        let _telemetry = telemetry::init(&config).unwrap();
        for number in 0..3 {
            assert!(!log::log_enabled!(target: "quiet", log::Level::Debug));
            let _span = tracing::info_span!("work", number).entered();
            assert!(!log::log_enabled!(target: "quiet", log::Level::Debug));
            tracing::info!("work is done");
            assert!(log::log_enabled!(target: "chatty", log::Level::Debug));
            tracing::debug!(target: "chatty", "work is said");
        }
        return;
    }
    let text = child(NAME, "http://127.0.0.1:9");
    for number in 0..3 {
        for said in ["done", "said"] {
            let line = format!("work{{number={number}}}: work is {said}");
            assert!(text.contains(&line), "{text}");
        }
    }
}

#[test]
fn warnings_are_not_lost_where_only_they_are_wanted() {
    const NAME: &str = "warnings_are_not_lost_where_only_they_are_wanted";
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let mut config = config(&endpoint);
        config.filter = "warn".to_owned();
        let _telemetry = telemetry::init(&config).unwrap();
        for number in 0..3 {
            let _ = log::log_enabled!(target: "librdkafka", log::Level::Info);
            tracing::warn!(number, "work is late");
        }
        return;
    }
    let text = child(NAME, "http://127.0.0.1:9");
    for number in 0..3 {
        let line = format!("work is late number={number}");
        assert!(text.contains(&line), "{text}");
    }
}

#[test]
fn text_lines_hide_what_must_not_be_shown() {
    const NAME: &str = "text_lines_hide_what_must_not_be_shown";
    if std::env::var(ENDPOINT).is_ok() {
        return say(Format::Text);
    }
    let text = child(NAME, "");
    let line = text
        .lines()
        .find(|line| line.contains("connected"))
        .unwrap();
    assert!(
        line.contains("work{phase=1 password=[redacted] token=[redacted]}"),
        "{line}"
    );
    assert!(
        line.contains("connected to postgres://a:[redacted]@h/d api_key=[redacted] rows=3"),
        "{line}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn json_lines_hide_what_must_not_be_shown_and_name_their_trace() {
    const NAME: &str = "json_lines_hide_what_must_not_be_shown_and_name_their_trace";
    if std::env::var(ENDPOINT).is_ok() {
        return say(Format::Json);
    }
    let text = child(NAME, "");
    let line = text
        .lines()
        .find(|line| line.contains("connected"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(
        line["fields"]["message"],
        "connected to postgres://a:[redacted]@h/d"
    );
    assert_eq!(line["fields"]["api_key"], "[redacted]");
    assert_eq!(line["fields"]["rows"], 3);
    assert_eq!(line["spans"][0]["name"], "work");
    assert_eq!(line["spans"][0]["phase"], 1);
    assert_eq!(line["spans"][0]["password"], "[redacted]");
    assert_eq!(line["spans"][0]["token"], "[redacted]");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert!(!text.contains("hunter2"), "{text}");
}

fn say(format: Format) {
    let _telemetry = telemetry::init(&TelemetryConfig {
        format,
        ..TelemetryConfig::default()
    })
    .unwrap();
    let span = tracing::info_span!(
        "work",
        phase = 1,
        password = "hunter2",
        token = tracing::field::Empty
    );
    span.record("token", "hunter2");
    let url = "postgres://a:hunter2@h/d";
    span.in_scope(|| tracing::info!(api_key = "hunter2", rows = 3, "connected to {url}"));
}
