//! Who this process is, on everything that it exports.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use uuid::Uuid;

use super::config::TelemetryConfig;

/// The id of this run of the process, `service.instance.id`.
pub fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| Uuid::new_v4().to_string())
}

/// The resource attributes; those of `OTEL_RESOURCE_ATTRIBUTES` are added.
pub(super) fn of(config: &TelemetryConfig) -> Resource {
    let name = match config.service_name.as_str() {
        "" => program(),
        name => name.to_owned(),
    };
    let mut attributes = vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance_id()),
    ];
    if !config.environment.is_empty() {
        let environment = config.environment.clone();
        attributes.push(KeyValue::new("deployment.environment.name", environment));
    }
    Resource::builder()
        .with_service_name(name)
        .with_attributes(attributes)
        .build()
}

/// The program's file name, such as `slipway-deployer`.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_stem());
    name.map_or_else(
        || "slipway".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
