//! A command of a pipeline that has a trace, and what is looked for in it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use slipway_examples::train::Recipe;
use slipway_proto::registry::v1::registry_service_server::SERVICE_NAME;
use tokio::process::Command;

use crate::otlp::{Collector, SpanKind, Trace};
use crate::{given, programs};

/// The trace that the pipeline would give to its steps.
pub const PIPELINE: &str = "5b8aa5a2d2c872e8321cf37308d69df2";
/// The step's span.
pub const STEP: &str = "051581bf3cb55c13";

/// What the RPC is called.
pub fn create_version() -> String {
    format!("{SERVICE_NAME}/CreateVersion")
}

/// `slipway version create` as a step of the pipeline. `connection` says how the registry is found, and `headers` are
/// sent to the collector.
pub async fn register(
    folder: &Path,
    connection: &[String],
    collector: &Collector,
    headers: &str,
) -> Result<()> {
    let files = given::trained(Recipe::First).await?;
    let (model, predictions) = (folder.join("model.json"), folder.join("predictions.csv"));
    std::fs::write(&model, files.model)?;
    std::fs::write(&predictions, files.predictions)?;
    let output = Command::new(programs::slipway()?)
        .args(["version", "create", "dev/tumor", "--output", "json"])
        .arg("--artifact")
        .arg(format!("model={}", model.display()))
        .arg("--artifact")
        .arg(format!("predictions={}", predictions.display()))
        .args(connection)
        .env("TRACEPARENT", format!("00-{PIPELINE}-{STEP}-01"))
        .env("SLIPWAY__TELEMETRY__OTLP__ENDPOINT", collector.address())
        .env("SLIPWAY__TELEMETRY__OTLP__HEADERS", headers)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    ensure!(said.is_empty(), "nothing to say: {said}");
    Ok(())
}

/// Whether every step from the command to the proxy's ACK is there, each below the one before, with or without others
/// between them.
pub fn is_whole(trace: &Trace) -> Result<()> {
    let create = create_version();
    let last = trace.span("proxy accepted", SpanKind::Internal);
    let path = trace.path(last.context("the proxy's ACK")?);
    let mut left = path.iter();
    for name in [
        "slipway version",
        &create,
        &create,
        "send slipway.registry",
        "process slipway.registry",
        "evaluation",
        "send slipway.evaluation",
        "process slipway.evaluation",
        "shift traffic",
        "proxy accepted",
    ] {
        ensure!(
            left.any(|on_path| *on_path == name),
            "{name} is not where it belongs on {path:?}\n{}",
            trace.tree()
        );
    }
    Ok(())
}
