//! The deployer's control plane and the gateway, without anything else: what one sends is what the other
//! serves, and says that it serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use slipway_deployer::xds::{
    Applied, ClusterEndpoint, EndpointRoutes, Snapshot, Split, XdsConfig, XdsHub, service,
};
use slipway_examples::dataset::Dataset;
use slipway_examples::model_server;
use slipway_examples::train::Recipe;
use slipway_platform::clock::SystemClock;
use slipway_platform::config::load;
use slipway_platform::names::{EndpointName, RevisionName};
use slipway_tests::given::ENDPOINT;
use slipway_tests::{Users, until, users};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

const APPLIED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_generation_is_applied_and_serves_without_a_failed_request() -> Result<()> {
    let stop = CancellationToken::new();
    let _stopping = stop.clone().drop_guard();
    let hub = XdsHub::new(XdsConfig::default(), SystemClock::shared());
    let gateway = start(&hub, &stop).await?;
    let servers = [
        model_server(Recipe::First, &stop).await?,
        model_server(Recipe::AllFeatures, &stop).await?,
    ];

    applied(&hub, 1, &[], &servers[..0]).await?;
    let people = Users::start(&gateway, 40, 200.0)?;
    people.more(20).await?;
    let nothing_yet = people.stop().await;
    assert_eq!(
        nothing_yet.unattributed.refused.get(&503),
        Some(&nothing_yet.requests)
    );

    applied(&hub, 2, &[(1, 10_000)], &servers[..1]).await?;
    let people = Users::start(&gateway, 40, 200.0)?;
    people.more(50).await?;
    for (generation, weight) in [
        (3, 1_000),
        (4, 2_500),
        (5, 5_000),
        (6, 10_000),
        (7, 0),
        (8, 5_000),
    ] {
        applied(
            &hub,
            generation,
            &[(2, weight), (1, 10_000 - weight)],
            &servers,
        )
        .await?;
        people.more(50).await?;
    }
    applied(&hub, 9, &[(2, 10_000)], &servers).await?;
    people.more(20).await?;
    let seen = people.stop().await;
    users::nobody_was_failed(&seen)?;
    for revision in ["tumor-00001", "tumor-00002"] {
        assert!(
            users::of_revision(&seen, revision).requests > 50,
            "{seen:?}"
        );
    }
    assert!(
        hub.proxies()
            .iter()
            .all(|proxy| proxy.connected && proxy.nack.is_none()),
        "{:?}",
        hub.proxies()
    );
    Ok(())
}

/// Publishes a generation and waits until the gateway has it in force.
async fn applied(
    hub: &XdsHub,
    generation: i64,
    splits: &[(u32, u32)],
    servers: &[SocketAddr],
) -> Result<()> {
    let endpoint: EndpointName = ENDPOINT.parse()?;
    let revision = |number: u32| -> Result<RevisionName> {
        Ok(format!("{ENDPOINT}/revisions/tumor-{number:05}").parse()?)
    };
    let splits = splits.iter().map(|(number, weight)| {
        Ok(Split {
            revision: revision(*number)?,
            weight: *weight,
        })
    });
    let clusters = servers.iter().zip(1..).map(|(address, number)| {
        Ok(ClusterEndpoint {
            revision: revision(number)?,
            addresses: vec![*address],
        })
    });
    let routes = EndpointRoutes {
        endpoint: endpoint.clone(),
        generation,
        hosts: vec!["tumor.example.com".to_owned()],
        sticky_header: None,
        splits: splits.collect::<Result<_>>()?,
        clusters: clusters.collect::<Result<_>>()?,
        traceparent: None,
    };
    hub.publish(Snapshot {
        version: generation.unsigned_abs(),
        endpoints: vec![routes],
    });
    until(
        &format!("generation {generation} in force"),
        APPLIED,
        async || {
            let refused = hub.proxies().into_iter().find_map(|proxy| proxy.nack);
            anyhow::ensure!(refused.is_none(), "the gateway refuses: {refused:?}");
            Ok(matches!(hub.applied(&endpoint, generation), Applied::Applied { .. }).then_some(()))
        },
    )
    .await
}

/// A gateway that follows the hub. Gives its URL.
async fn start(hub: &Arc<XdsHub>, stop: &CancellationToken) -> Result<String> {
    let control_plane = TcpListener::bind("127.0.0.1:0").await?;
    let mut config: slipway_gateway::Config = load(
        slipway_gateway::DEFAULTS,
        Some(slipway_gateway::SECTION),
        None,
        [],
    )?;
    config.control_plane = format!("http://{}", control_plane.local_addr()?);
    config.access_log_service.clear();
    config.saved_configuration.clear();
    let serving = tonic::transport::Server::builder().add_service(service(hub.clone()));
    let control_plane = TcpListenerStream::new(control_plane);
    tokio::spawn(
        stop.clone()
            .run_until_cancelled_owned(serving.serve_with_incoming(control_plane)),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(slipway_gateway::run(config, listener, stop.clone()));
    Ok(address)
}

async fn model_server(recipe: Recipe, stop: &CancellationToken) -> Result<SocketAddr> {
    let model =
        tokio::task::spawn_blocking(move || recipe.train(Dataset::wisconsin().rows())).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener
        .local_addr()
        .context("the model server's address")?;
    tokio::spawn(model_server::serve(
        model,
        listener,
        stop.clone().cancelled_owned(),
    ));
    Ok(address)
}
