//! The section `[telemetry]`.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tracing_subscriber::filter::{ParseError, Targets};

use crate::config::{ConfigError, Secret, Validate, load};
use crate::error::Violations;

/// The commented defaults of what every process shares.
pub const DEFAULTS: &str = include_str!("../../../../deploy/config/platform.toml");

/// The section's name.
pub const SECTION: &str = "telemetry";

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

/// What is logged, traced and measured, and where it is sent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Directives such as `info,slipway_deployer=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: Format,
    /// The resource attribute `service.name`; empty for the program's name.
    pub service_name: String,
    /// The resource attribute `deployment.environment.name`; empty for none.
    pub environment: String,
    /// Export by OTLP.
    pub otlp: OtlpConfig,
    /// What must not leave the process.
    pub redaction: RedactionConfig,
}

/// Export by OTLP over gRPC.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// The collector; empty for no export.
    pub endpoint: String,
    /// Whether spans are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Whether log records are sent.
    pub logs: bool,
    /// `name=value` pairs with commas between them, sent with every export.
    pub headers: Secret,
    /// The longest that one export may take.
    pub timeout_ms: u64,
    /// The longest that the end of the process waits for the last exports.
    pub flush_ms: u64,
    /// The share of new traces that is recorded.
    pub sample_ratio: f64,
    /// Spans, and log records, that wait to be sent at most.
    pub queue_max: usize,
    /// Sent at once at most.
    pub batch_max: usize,
    /// How long spans and log records wait for others.
    pub delay_ms: u64,
    /// How often metrics are sent.
    pub metrics_period_ms: u64,
}

/// Attributes whose values are replaced before they leave the process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionConfig {
    /// Names in any case; `*` stands for any text.
    pub attributes: Vec<String>,
}

impl TelemetryConfig {
    /// The defaults, then the section of `file`, then `SLIPWAY__TELEMETRY__…` of `env`.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        load(DEFAULTS, Some(SECTION), file, env)
    }

    /// The defaults with another filter.
    pub fn with_filter(filter: impl Into<String>) -> Self {
        Self {
            filter: filter.into(),
            ..Self::default()
        }
    }
}

impl OtlpConfig {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn flush(&self) -> Duration {
        Duration::from_millis(self.flush_ms)
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    pub(super) fn metrics_period(&self) -> Duration {
        Duration::from_millis(self.metrics_period_ms)
    }

    /// The headers as gRPC metadata. The error never quotes them.
    pub(super) fn metadata(&self) -> Result<MetadataMap, String> {
        let mut metadata = MetadataMap::new();
        let pairs = self.headers.expose().split(',').map(str::trim);
        for (n, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
            let wrong = |what: &str| format!("pair {} {what}", n + 1);
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| wrong("must have the form name=value"))?;
            let name = MetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes())
                .map_err(|_| wrong("has a name that no header can have"))?;
            let mut value = MetadataValue::try_from(value.trim())
                .map_err(|_| wrong("has a value that no header can have"))?;
            value.set_sensitive(true);
            metadata.insert(name, value);
        }
        Ok(metadata)
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: Format::Text,
            service_name: String::new(),
            environment: String::new(),
            otlp: OtlpConfig::default(),
            redaction: RedactionConfig::default(),
        }
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            traces: true,
            metrics: true,
            logs: true,
            headers: Secret::default(),
            timeout_ms: 5_000,
            flush_ms: 3_000,
            sample_ratio: 1.0,
            queue_max: 4_096,
            batch_max: 512,
            delay_ms: 1_000,
            metrics_period_ms: 15_000,
        }
    }
}

impl Default for RedactionConfig {
    fn default() -> Self {
        let names = [
            "*password*",
            "*passwd*",
            "*secret*",
            "*token*",
            "*authorization*",
            "*credential*",
            "*api_key*",
            "*apikey*",
            "*cookie*",
        ];
        Self {
            attributes: names.map(str::to_owned).into(),
        }
    }
}

const NAME_CHARS_MAX: usize = 200;
const PATTERNS_MAX: usize = 1_000;

/// A level, and levels for parts, with commas between them.
pub(super) fn targets(filter: &str) -> Result<Targets, String> {
    let parts: Vec<&str> = filter
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if let Some(part) = parts.iter().find(|part| part.contains(['[', '{'])) {
        return Err(format!(
            "{part}: must name a part and a level, not a span or a field"
        ));
    }
    parts
        .join(",")
        .parse()
        .map_err(|error: ParseError| error.to_string())
}

impl Validate for TelemetryConfig {
    fn validate(&self, problems: &mut Violations) {
        if let Err(why) = targets(&self.filter) {
            problems.push("filter", why);
        }
        for (field, text) in [
            ("service_name", &self.service_name),
            ("environment", &self.environment),
        ] {
            problems.require(
                text.len() <= NAME_CHARS_MAX,
                field,
                "must have at most 200 characters",
            );
        }
        self.otlp.validate(problems);
        let patterns = &self.redaction.attributes;
        problems.require(
            patterns.len() <= PATTERNS_MAX
                && patterns
                    .iter()
                    .all(|p| (1..=NAME_CHARS_MAX).contains(&p.len())),
            "redaction.attributes",
            "must be at most 1,000 names of 1 to 200 characters",
        );
    }
}

impl Validate for OtlpConfig {
    fn validate(&self, problems: &mut Violations) {
        if let Err(problem) = endpoint_problem(&self.endpoint) {
            problems.push("otlp.endpoint", problem);
        }
        if let Err(problem) = self.metadata() {
            problems.push("otlp.headers", problem);
        }
        let minute = 60_000;
        problems.require(
            (1..=minute).contains(&self.timeout_ms),
            "otlp.timeout_ms",
            "must be 1 ms to 1 min",
        );
        problems.require(
            (1..=minute).contains(&self.flush_ms),
            "otlp.flush_ms",
            "must be 1 ms to 1 min",
        );
        problems.require(
            (0.0..=1.0).contains(&self.sample_ratio),
            "otlp.sample_ratio",
            "must be 0 to 1",
        );
        problems.require(
            (1..=1 << 20).contains(&self.queue_max),
            "otlp.queue_max",
            "must be 1 to 1048576",
        );
        problems.require(
            (1..=self.queue_max.max(1)).contains(&self.batch_max),
            "otlp.batch_max",
            "must be 1 to queue_max",
        );
        problems.require(
            (1..=minute).contains(&self.delay_ms),
            "otlp.delay_ms",
            "must be 1 ms to 1 min",
        );
        problems.require(
            (100..=60 * minute).contains(&self.metrics_period_ms),
            "otlp.metrics_period_ms",
            "must be 100 ms to 1 h",
        );
    }
}

fn endpoint_problem(endpoint: &str) -> Result<(), String> {
    if endpoint.is_empty() {
        return Ok(());
    }
    let uri: http::Uri = endpoint
        .parse()
        .map_err(|error| format!("is not a URL: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) => Ok(()),
        _ => Err(
            "must begin with http:// and name a host; for TLS let a collector on this machine pass it on"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(env: &[(&str, &str)]) -> Result<TelemetryConfig, ConfigError> {
        let env = env
            .iter()
            .map(|(k, v)| (format!("SLIPWAY__TELEMETRY__{k}"), (*v).to_owned()));
        TelemetryConfig::load(None, env)
    }

    #[test]
    fn the_file_says_what_the_code_says() {
        assert_eq!(with(&[]).unwrap(), TelemetryConfig::default());
    }

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (key, value, field) in [
            ("FILTER", "info,=,=x", "telemetry.filter"),
            (
                "OTLP__ENDPOINT",
                "https://collector:4317",
                "telemetry.otlp.endpoint",
            ),
            ("OTLP__ENDPOINT", "collector", "telemetry.otlp.endpoint"),
            ("OTLP__SAMPLE_RATIO", "1.5", "telemetry.otlp.sample_ratio"),
            ("OTLP__BATCH_MAX", "5000", "telemetry.otlp.batch_max"),
            ("OTLP__TIMEOUT_MS", "0", "telemetry.otlp.timeout_ms"),
            ("OTLP__SPELT_WRONG", "1", "unknown field `spelt_wrong`"),
            (
                "REDACTION__ATTRIBUTES",
                "[\"\"]",
                "telemetry.redaction.attributes",
            ),
        ] {
            let error = with(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(field), "{key}={value}: {error}");
        }
    }

    #[test]
    fn a_wrong_header_is_named_by_its_place_and_never_quoted() {
        let config = with(&[("OTLP__HEADERS", "x-tenant=a, Authorization=Bearer b=c")]).unwrap();
        let metadata = config.otlp.metadata().unwrap();
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer b=c");
        assert!(!format!("{config:?}").contains("Bearer"));
        let error = with(&[("OTLP__HEADERS", "x=a,hunter2")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("otlp.headers: pair 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
