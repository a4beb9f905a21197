//! The deployer as it runs by itself, with its own drivers.

use std::sync::Arc;
use std::time::Duration;

use slipway_deployer::{Config, DEFAULTS, Deps, run};
use slipway_platform::clock::SystemClock;
use slipway_platform::config::load;
use slipway_platform::events::EmbeddedLog;
use slipway_proto::deployer::v1::deployer_service_client::DeployerServiceClient;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{ENDPOINT, Health, Proxy as PretendProxy, StandIns, endpoint, version};

#[tokio::test]
async fn a_revision_that_runs_elsewhere_is_checked_and_shown_as_not_verified() {
    let dir = tempfile::TempDir::new().unwrap();
    let peers = StandIns::start().await;
    let clock = SystemClock::shared();
    let path = dir.path().join("events.db");
    let bus = EmbeddedLog::open(&path, clock.clone(), Duration::from_secs(3600))
        .await
        .unwrap();
    let mut config: Config = load(DEFAULTS, Some("deployer"), None, []).unwrap();
    config.storage = slipway_platform::testing::storage(dir.path());
    config.data_dir = dir.path().join("deployer");
    (config.registry, config.evaluator) = (peers.address.clone(), peers.address.clone());
    config.failure_detector = peers.address.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(
        config,
        Deps {
            bus: Arc::new(bus),
            clock,
        },
        listener,
        shutdown.clone(),
    ));
    slipway_platform::testing::serving(&address).await;
    let mut client = DeployerServiceClient::connect(address.clone())
        .await
        .unwrap();
    let _proxy = PretendProxy::connect(&address, "p1").await;

    let model_server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let external = ExternalRun {
        addresses: vec![model_server.local_addr().unwrap().to_string()],
        health_path: String::new(),
    };
    let request = CreateEnvironmentRequest {
        environment_id: "production".into(),
        ..Default::default()
    };
    client.create_environment(request).await.unwrap();
    let request = CreateEndpointRequest {
        parent: "environments/production".into(),
        endpoint_id: "tumor".into(),
        endpoint: Some(Endpoint {
            run: Some(RunSpec {
                driver: Some(run_spec::Driver::External(external)),
            }),
            ..endpoint()
        }),
        request_id: String::new(),
    };
    client.create_endpoint(request).await.unwrap();
    peers.judge(Health::Healthy);
    let request = StartRolloutRequest {
        endpoint: ENDPOINT.into(),
        version: version(1),
        ..Default::default()
    };
    let rollout = client.start_rollout(request).await.unwrap().into_inner();
    let mut stream = client
        .watch_rollout(WatchRolloutRequest { name: rollout.name })
        .await
        .unwrap()
        .into_inner();
    let mut last = None;
    while let Some(next) = stream.message().await.unwrap() {
        last = next.rollout;
    }
    assert_eq!(last.unwrap().phase(), Phase::Succeeded);
    let request = GetEndpointStatusRequest {
        name: ENDPOINT.into(),
    };
    let status = client
        .get_endpoint_status(request)
        .await
        .unwrap()
        .into_inner();
    let current = status.current_version.unwrap();
    assert!(current.ready && !current.digest_verified);
    assert!(
        status
            .notes
            .iter()
            .any(|note| note.contains("cannot be verified")),
        "{:?}",
        status.notes
    );
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
