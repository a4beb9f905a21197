//! Deployers that share a database, each on a runtime of its own.

use std::sync::Arc;
use std::time::Duration;

use slipway_deployer::store::MIGRATIONS;
use slipway_deployer::{Config, DEFAULTS, Deps, run_with_driver};
use slipway_platform::clock::{FakeClock, SystemClock};
use slipway_platform::config::load;
use slipway_platform::db::Db;
use slipway_platform::events::EmbeddedLog;
use slipway_platform::lease::{Instance, Leases, ReplicaConfig};
use slipway_proto::deployer::v1::deployer_service_client::DeployerServiceClient;
use slipway_proto::deployer::v1::*;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::support::*;

/// What is lost is taken over within this: the default, as a shorter lease would end by itself on a busy machine.
pub const TAKEOVER: Duration = Duration::from_secs(5);
/// What one of them starts at a time.
pub const AT_ONCE: usize = 6;

/// One of several deployers.
pub struct Replica {
    pub address: String,
    pub driver: Arc<PretendDriver>,
    shutdown: CancellationToken,
    running: Option<(Runtime, JoinHandle<()>)>,
}

impl Replica {
    /// It is gone, as a process is that is killed: nothing is let go, nothing is finished.
    pub fn kill(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }

    /// It stops as planned.
    pub async fn stop(&mut self) {
        if let Some((runtime, task)) = self.running.take() {
            self.shutdown.cancel();
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
            runtime.shutdown_background();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

impl World {
    /// Deployers on these nodes over one database; the world talks to the last of them.
    pub async fn replicated(nodes: &[&str], takeover: Duration) -> (Self, Vec<Replica>) {
        let dir = TempDir::new().unwrap();
        let clock = SystemClock::shared();
        let peers = StandIns::start().await;
        let path = dir.path().join("events.db");
        let log = EmbeddedLog::open(&path, clock.clone(), Duration::from_secs(3600)).await;
        let mut world = World {
            dir,
            peers,
            driver: Arc::default(),
            bus: Arc::new(log.unwrap()),
            fake_clock: FakeClock::default(),
            clock,
            address: String::new(),
            client: client_of("http://127.0.0.1:1"),
            proxy: None,
            running: None,
        };
        let mut replicas = Vec::new();
        for node in nodes {
            let replica = world.replica(node, takeover);
            world.talk_to(&replica);
            // The first makes the tables.
            world
                .wait("the deployer to answer", async |world| {
                    let request = ListEnvironmentsRequest::default();
                    world.client.list_environments(request).await.is_ok()
                })
                .await;
            replicas.push(replica);
        }
        (world, replicas)
    }

    fn replica(&self, node: &str, takeover: Duration) -> Replica {
        let mut config: Config = load(DEFAULTS, Some("deployer"), None, []).unwrap();
        config.storage = slipway_platform::testing::postgres(self.dir.path());
        config.data_dir = self.dir.path().join(node);
        config.work_at_once = AT_ONCE;
        config.registry = self.peers.address.clone();
        config.evaluator = self.peers.address.clone();
        config.failure_detector = self.peers.address.clone();
        config.xds.proxy_lease_seconds = 1;
        config.process.node = node.to_owned();
        config.replicas.takeover_ms = u64::try_from(takeover.as_millis()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let driver: Arc<PretendDriver> = Arc::default();
        let deps = Deps {
            bus: self.bus.clone(),
            clock: self.clock.clone(),
        };
        let shutdown = CancellationToken::new();
        let (own, stop) = (driver.clone(), shutdown.clone());
        let task = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            run_with_driver(config, deps, own, listener, stop)
                .await
                .unwrap();
        });
        Replica {
            address,
            driver,
            shutdown,
            running: Some((runtime, task)),
        }
    }

    /// Calls go to this one from now on.
    pub fn talk_to(&mut self, replica: &Replica) {
        self.address.clone_from(&replica.address);
        self.client = client_of(&replica.address);
    }

    /// Which of them decides; waits until one does.
    pub async fn decider(&mut self, replicas: &[Replica]) -> usize {
        let storage = slipway_platform::testing::postgres(self.dir.path());
        let db = Db::open(&storage, &MIGRATIONS).await.unwrap();
        let nobody = Instance::new("http://nobody");
        let leases = Leases::new(db.clone(), nobody, &ReplicaConfig::default());
        let begun = tokio::time::Instant::now();
        let found = loop {
            let holder = leases.holder("decisions").await.unwrap();
            let index = holder.and_then(|holder| {
                replicas
                    .iter()
                    .position(|replica| replica.address == holder.address)
            });
            if let Some(index) = index {
                break index;
            }
            assert!(begun.elapsed() < PATIENCE, "nobody decides");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        db.close().await;
        found
    }

    /// Another endpoint, and its name.
    pub async fn another_endpoint(&mut self, id: &str) -> String {
        let mut other = endpoint();
        other.model = MODEL.into();
        self.create_endpoint(id, other).await;
        format!("environments/production/endpoints/{id}")
    }

    /// Starts a rollout there.
    pub async fn start_on(&mut self, endpoint: &str, number: u32) -> Rollout {
        let request = StartRolloutRequest {
            endpoint: endpoint.into(),
            version: version(number),
            reason: "a test".into(),
            ..Default::default()
        };
        self.client
            .start_rollout(request)
            .await
            .unwrap()
            .into_inner()
    }
}

fn client_of(address: &str) -> Client {
    let channel = Channel::from_shared(address.to_owned())
        .unwrap()
        .connect_lazy();
    DeployerServiceClient::new(channel)
}
