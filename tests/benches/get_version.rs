//! `GetVersion` beside an empty tonic call, in one run on one machine.
//!
//! ```text
//! cargo bench -p slipway-tests --bench get_version
//! ```
//!
//! Both servers run in this process, each on a runtime of its own with one thread; the clients run on
//! another. The two are measured in turns, so that whatever else the machine does falls on both. Printed
//! are calls a second and the median and 99th percentile of the latency, and the ratio of the medians of
//! the throughputs over all turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use slipway_platform::clock::SystemClock;
use slipway_platform::config::load;
use slipway_platform::db::StorageConfig;
use slipway_platform::events::EmbeddedLog;
use slipway_platform::events::log::DEFAULT_RETENTION;
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1 as registry;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_proto::registry::v1::upload_artifact_request::{Header, Part};
use slipway_tests::bench::callers::{CONNECTIONS, report};
use slipway_tests::bench::{CALLERS, connect, is_release_build, turn, verdict};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How long one turn lasts.
const TURN: Duration = Duration::from_secs(2);
/// Turns of each.
const TURNS: usize = 5;
/// The least share of the empty call's throughput that is to be reached.
const TARGET: f64 = 0.7;

/// A service that does nothing.
#[derive(Clone)]
struct Empty;

#[tonic::async_trait]
impl Health for Empty {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

fn main() -> Result<()> {
    is_release_build()?;
    let folder = tempfile::tempdir()?;
    let (empty_runtime, registry_runtime) = (one_thread()?, one_thread()?);
    let empty = empty_runtime.block_on(serve_empty(&empty_runtime))?;
    let registry = registry_runtime.block_on(serve_registry(&registry_runtime, folder.path()))?;
    let clients = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    clients.block_on(compare(empty, registry))
}

fn one_thread() -> Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?)
}

async fn serve_empty(runtime: &Runtime) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(HealthServer::new(Empty));
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(address)
}

async fn serve_registry(runtime: &Runtime, folder: &std::path::Path) -> Result<SocketAddr> {
    let clock = SystemClock::shared();
    let log =
        EmbeddedLog::open(&folder.join("events.db"), clock.clone(), DEFAULT_RETENTION).await?;
    let mut config: slipway_registry::Config =
        load(slipway_registry::DEFAULTS, Some("registry"), None, [])?;
    config.storage = StorageConfig::sqlite(&folder.join("registry.db"));
    config.data_dir = folder.join("registry");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let deps = slipway_registry::Deps {
        bus: Arc::new(log),
        clock,
    };
    runtime.spawn(slipway_registry::run(
        config,
        deps,
        listener,
        CancellationToken::new(),
    ));
    slipway_platform::grpc::serving(&format!("http://{address}")).await?;
    Ok(address)
}

async fn compare(empty: SocketAddr, registry: SocketAddr) -> Result<()> {
    let empty_clients: Vec<_> = connect(empty)
        .await?
        .into_iter()
        .map(HealthClient::new)
        .collect();
    let registry_clients: Vec<_> = connect(registry)
        .await?
        .into_iter()
        .map(RegistryServiceClient::new)
        .collect();
    let name = given_version(registry_clients[0].clone()).await?;
    let (mut of_empty, mut of_registry) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        of_empty.push(
            turn(&empty_clients, TURN, |_, mut client| async move {
                client.check(HealthCheckRequest::default()).await.map(drop)
            })
            .await?,
        );
        of_registry.push(
            turn(&registry_clients, TURN, |_, mut client| {
                let request = registry::GetVersionRequest { name: name.clone() };
                async move { client.get_version(request).await.map(drop) }
            })
            .await?,
        );
    }
    println!(
        "{CALLERS} callers on {CONNECTIONS} connections, {TURNS} turns of {} s each",
        TURN.as_secs()
    );
    let empty = report("empty call", &of_empty);
    let registry = report("GetVersion", &of_registry);
    let ratio = registry / empty;
    let verdict = verdict(ratio >= TARGET);
    println!("GetVersion / empty call: {ratio:.2} (target {TARGET:.2}: {verdict})");
    Ok(())
}

async fn given_version(mut client: RegistryServiceClient<Channel>) -> Result<String> {
    let create = registry::CreateModelRequest {
        parent: "workspaces/dev".to_owned(),
        model_id: "bench".to_owned(),
        ..Default::default()
    };
    client.create_model(create).await?;
    let header = Header {
        parent: "workspaces/dev".to_owned(),
        ..Default::default()
    };
    let parts = [Part::Header(header), Part::Chunk(vec![1; 1024])];
    let messages = parts.map(|part| registry::UploadArtifactRequest { part: Some(part) });
    let artifact = client
        .upload_artifact(tokio_stream::iter(messages))
        .await?
        .into_inner();
    let version = registry::Version {
        artifacts: vec![ArtifactRef {
            role: "model".to_owned(),
            artifact: artifact.name,
            ..Default::default()
        }],
        tags: [("cutoff_date".to_owned(), "2025-01-31".to_owned())].into(),
        ..Default::default()
    };
    let create = registry::CreateVersionRequest {
        parent: "workspaces/dev/models/bench".to_owned(),
        version: Some(version),
        ..Default::default()
    };
    Ok(client.create_version(create).await?.into_inner().name)
}
