//! One trace runs from the command that registers a version to the proxy that serves it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slipway_proto::deployer::v1::Rollout;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::registry::v1::registry_service_server::SERVICE_NAME;
use slipway_tests::given::{self, EndpointPlan};
use slipway_tests::otlp::{Span, SpanKind, Trace};
use slipway_tests::traced::{self, PIPELINE, STEP, create_version};
use slipway_tests::{Collector, Plane, until, watch};

const SECRET: &str = "hunter2-of-the-collector";

#[tokio::test(flavor = "multi_thread")]
async fn from_create_version_to_the_proxys_ack() -> Result<()> {
    let collector = Collector::start().await?;
    let headers = format!("authorization=Bearer {SECRET}");
    let plane = Plane::starting()
        .with("SLIPWAY__TELEMETRY__OTLP__ENDPOINT", collector.address())
        .with("SLIPWAY__TELEMETRY__OTLP__HEADERS", &headers)
        .with("SLIPWAY__TELEMETRY__OTLP__DELAY_MS", "50")
        .with("SLIPWAY__TELEMETRY__OTLP__METRICS_PERIOD_MS", "200")
        .with("SLIPWAY__TELEMETRY__ENVIRONMENT", "story")
        .start()
        .await?;
    let clients = plane.clients();
    given::model(clients).await?;
    given::suite(clients).await?;
    given::environment(clients, true).await?;
    given::endpoint(clients, EndpointPlan::default()).await?;
    given::rule(clients).await?;

    let connection = [
        "--data-dir".to_owned(),
        plane.data_dir().display().to_string(),
    ];
    traced::register(plane.home(), &connection, &collector, &headers).await?;
    let rollout = released(&plane).await?;
    ensure!(!rollout.candidate.is_empty());

    let trace = whole(&collector).await?;
    the_path_has_no_gap(&trace)?;
    spans_have_the_conventions_names(&trace)?;
    logs_and_metrics_came_too(&collector).await?;

    ensure!(
        collector
            .authorizations()
            .iter()
            .all(|a| a == &format!("Bearer {SECRET}"))
    );
    ensure!(!collector.authorizations().is_empty());
    ensure!(!collector.contains(SECRET), "a secret was exported");
    Ok(())
}

/// The rule's rollout, once it has succeeded and every proxy has its traffic.
async fn released(plane: &Plane) -> Result<Rollout> {
    let clients = plane.clients();
    let rollout = until("the rule's rollout", watch::SOON, async || {
        Ok(watch::rollouts(clients).await?.into_iter().next())
    })
    .await?;
    let limit = Duration::from_secs(60);
    let ended = watch::until_phase(clients, &rollout.name, Phase::Succeeded, limit).await?;
    watch::until_applied(clients).await?;
    Ok(ended)
}

/// The trace, once its last span came.
async fn whole(collector: &Collector) -> Result<Trace> {
    let ended = until("the end of the trace", watch::SOON, async || {
        let trace = collector.trace(PIPELINE);
        Ok(last(&trace).is_some().then_some(trace))
    })
    .await;
    ended.with_context(|| collector.trace(PIPELINE).tree())
}

fn last(trace: &Trace) -> Option<&Span> {
    trace.span("proxy accepted", SpanKind::Internal)
}

fn the_path_has_no_gap(trace: &Trace) -> Result<()> {
    traced::is_whole(trace)?;
    let root = trace.span("slipway version", SpanKind::Internal);
    ensure!(root.is_some_and(|root| root.parent == STEP), "{root:?}");
    Ok(())
}

fn spans_have_the_conventions_names(trace: &Trace) -> Result<()> {
    let create = create_version();
    for (kind, service) in [
        (SpanKind::Client, "slipway-cli"),
        (SpanKind::Server, "story-slipway"),
    ] {
        has(
            trace,
            &create,
            kind,
            service,
            &[
                ("rpc.system", "grpc"),
                ("rpc.service", SERVICE_NAME),
                ("rpc.method", "CreateVersion"),
                ("rpc.grpc.status_code", "0"),
            ],
        )?;
    }
    let send = "send slipway.registry";
    has(
        trace,
        send,
        SpanKind::Producer,
        "story-slipway",
        &[
            ("messaging.system", "slipway"),
            ("messaging.operation.name", "send"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "slipway.registry"),
        ],
    )?;
    let process = "process slipway.registry";
    has(
        trace,
        process,
        SpanKind::Consumer,
        "story-slipway",
        &[
            ("messaging.system", "slipway"),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "slipway.registry"),
            ("messaging.consumer.group.name", "evaluator.versions"),
        ],
    )?;
    let sent = trace.span(send, SpanKind::Producer).context("sent")?;
    let processed = trace
        .span(process, SpanKind::Consumer)
        .context("processed")?;
    let id = "messaging.message.id";
    ensure!(!sent.attribute(id).is_empty() && sent.attribute(id) == processed.attribute(id));
    Ok(())
}

fn has(
    trace: &Trace,
    name: &str,
    kind: SpanKind,
    service: &str,
    attributes: &[(&str, &str)],
) -> Result<()> {
    let span = trace
        .span(name, kind)
        .with_context(|| format!("{name} {kind:?}\n{}", trace.tree()))?;
    ensure!(span.service == service, "{span:?}");
    for (key, value) in attributes {
        ensure!(span.attribute(key) == *value, "{key} of {span:?}");
    }
    Ok(())
}

async fn logs_and_metrics_came_too(collector: &Collector) -> Result<()> {
    until("log records of the trace", watch::SOON, async || {
        let records = collector.records();
        let record = records
            .into_iter()
            .find(|record| record.trace_id == PIPELINE && record.body == "evaluation queued");
        Ok(record.filter(|record| !record.attributes.is_empty()))
    })
    .await?;
    until("the metrics", watch::SOON, async || {
        let metrics = collector.metrics();
        let server = metrics.get("rpc.server.duration").map(String::as_str);
        Ok((server == Some("ms")).then_some(()))
    })
    .await?;
    let resources = collector.resources();
    let plane = resources
        .iter()
        .find(|resource| {
            resource
                .get("service.name")
                .is_some_and(|n| n == "story-slipway")
        })
        .with_context(|| format!("the control plane among {resources:?}"))?;
    for (name, value) in [
        ("service.version", Some(env!("CARGO_PKG_VERSION"))),
        ("deployment.environment.name", Some("story")),
        ("service.instance.id", None),
    ] {
        let found = plane.get(name).map(String::as_str);
        ensure!(
            found.is_some() && value.is_none_or(|v| found == Some(v)),
            "{name}: {plane:?}"
        );
    }
    Ok(())
}
