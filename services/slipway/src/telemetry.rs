//! What is logged and traced, by the programs that stay and by commands for people.

use std::path::Path;

use slipway_platform::telemetry::{self, Telemetry, TelemetryConfig};
use tracing::Span;

use crate::failure::Failure;

/// Overrides the filter of every program and command.
const FILTER_VARIABLE: &str = "SLIPWAY_LOG";
/// The trace that a command belongs to, where a pipeline has one.
const PARENT_VARIABLE: &str = "TRACEPARENT";

/// For a program that stays: the section `[telemetry]` of `file`, with the filter of the command line.
pub(crate) fn of_program(filter: Option<&str>, file: Option<&Path>) -> Result<Telemetry, Failure> {
    let mut config = TelemetryConfig::load(file, std::env::vars())?;
    if let Some(filter) = filter {
        config.filter = filter.to_owned();
    }
    Ok(telemetry::init(&config)?)
}

/// For a command that ends by itself: what is worth a line is what `filter` lets through.
pub(crate) fn of_command(filter: &str) -> Result<Telemetry, Failure> {
    let mut config = TelemetryConfig::load(None, std::env::vars())?;
    config.filter = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| filter.to_owned());
    if config.service_name.is_empty() {
        config.service_name = "slipway-cli".to_owned();
    }
    Ok(telemetry::init(&config)?)
}

/// The span of a command, so that all its calls are one trace: that of `TRACEPARENT`, or a new one.
pub(crate) fn span(command: &str) -> Span {
    let span = tracing::info_span!("command", otel.name = format_args!("slipway {command}"));
    telemetry::set_parent(&span, std::env::var(PARENT_VARIABLE).ok().as_deref());
    span
}
