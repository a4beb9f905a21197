//! One trace runs through every program, Kafka and an Envoy: from the command that registers a version to the proxy's
//! ACK of its traffic.

use anyhow::{Context, Result, ensure};
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_tests::otlp::SpanKind;
use slipway_tests::stack::{Part, release};
use slipway_tests::traced::{self, PIPELINE, create_version};
use slipway_tests::{Collector, Stack, until, watch};

#[tokio::test(flavor = "multi_thread")]
async fn from_create_version_over_kafka_to_envoys_ack() -> Result<()> {
    let collector = Collector::start().await?;
    let mut starting = Stack::of("one-trace").envoys(1);
    for part in Part::SERVICES {
        starting = starting
            .with(
                part,
                "telemetry.otlp.endpoint",
                &format!("\"{}\"", collector.address()),
            )
            .with(part, "telemetry.otlp.delay_ms", "50");
    }
    let stack = starting.start().await?;
    let clients = stack.clients();
    release::set_up(clients).await?;
    let people = stack.users(50, 100.0)?;

    let registry = stack.place().address(Part::Registry, 0);
    let registry = registry.context("the registry's address")?;
    let connection = ["--registry".to_owned(), format!("http://{registry}")];
    traced::register(stack.home(), &connection, &collector, "").await?;
    let rollout = until("the rule's rollout", watch::SOON * 2, async || {
        Ok(watch::rollouts(clients).await?.into_iter().next())
    })
    .await?;
    watch::until_phase(clients, &rollout.name, Phase::Succeeded, release::ENDED).await?;
    people.stop().await;

    // The programs send what they have one after the other.
    let whole = until("the whole trace", watch::SOON, async || {
        Ok(traced::is_whole(&collector.trace(PIPELINE)).ok())
    })
    .await;
    let trace = collector.trace(PIPELINE);
    whole.with_context(|| trace.tree())?;
    let create = create_version();
    // Each by the program whose work it is, and the events went over Kafka.
    for (name, kind, part) in [
        (create.as_str(), SpanKind::Server, Part::Registry),
        ("send slipway.registry", SpanKind::Producer, Part::Registry),
        (
            "process slipway.registry",
            SpanKind::Consumer,
            Part::Evaluator,
        ),
        (
            "send slipway.evaluation",
            SpanKind::Producer,
            Part::Evaluator,
        ),
        (
            "process slipway.evaluation",
            SpanKind::Consumer,
            Part::Deployer,
        ),
        ("shift traffic", SpanKind::Internal, Part::Deployer),
        ("proxy accepted", SpanKind::Internal, Part::Deployer),
    ] {
        let span = trace.span(name, kind).with_context(|| name.to_owned())?;
        ensure!(
            span.service.ends_with(part.name()),
            "{} has {span:?}",
            part.name()
        );
        if matches!(kind, SpanKind::Producer | SpanKind::Consumer) {
            ensure!(span.attribute("messaging.system") == "kafka", "{span:?}");
        }
    }
    stack.finish().await
}
