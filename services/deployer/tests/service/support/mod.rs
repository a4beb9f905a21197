//! One deployer with everything around it.

mod driver;
mod peers;
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use slipway_deployer::store::MIGRATIONS;
use slipway_deployer::{Config, DEFAULTS, Deps, run_with_driver};
use slipway_platform::clock::{Clock, FakeClock, SharedClock, SystemClock};
use slipway_platform::config::load;
use slipway_platform::db::Db;
use slipway_platform::events::{EmbeddedLog, Event, EventBus, EventData};
use slipway_platform::json;
use slipway_proto::deployer::v1::deployer_service_client::DeployerServiceClient;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::*;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

pub use driver::PretendDriver;
pub use peers::{StandIns, passed};
pub use proxy::Proxy;
pub use slipway_proto::detector::v1::Health;

pub const ENDPOINT: &str = "environments/production/endpoints/tumor";
pub const MODEL: &str = "workspaces/dev/models/tumor";
pub const ALIAS: &str = "workspaces/dev/models/tumor/aliases/champion";
/// Far longer than anything here takes; what does not come at all must not hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub type Client = DeployerServiceClient<Channel>;

pub struct World {
    pub dir: TempDir,
    pub peers: StandIns,
    pub driver: Arc<PretendDriver>,
    pub bus: Arc<EmbeddedLog>,
    pub fake_clock: FakeClock,
    pub clock: SharedClock,
    pub address: String,
    pub client: Client,
    pub proxy: Option<Proxy>,
    pub running: Option<(CancellationToken, JoinHandle<()>)>,
}

pub fn version(number: u32) -> String {
    format!("{MODEL}/versions/{number}")
}

pub fn revision(number: u32) -> String {
    format!("{ENDPOINT}/revisions/tumor-{number:05}")
}

pub fn seconds(seconds: f64) -> Option<prost_types::Duration> {
    let duration = Duration::from_secs_f64(seconds);
    Some(slipway_platform::clock::duration_to_proto(duration))
}

pub fn step(percent: i32) -> Step {
    Step {
        traffic_percent: percent,
        require_healthy: true,
        ..Default::default()
    }
}

/// Steps without holds, and no soak: as quick as the verdicts.
pub fn quick(steps: &[i32]) -> Strategy {
    Strategy {
        name: "quick".into(),
        steps: steps.iter().map(|percent| step(*percent)).collect(),
        soak: None,
        drain: seconds(0.0),
    }
}

pub fn endpoint() -> Endpoint {
    Endpoint {
        model: MODEL.into(),
        run: Some(RunSpec {
            driver: Some(run_spec::Driver::External(ExternalRun {
                addresses: vec!["127.0.0.1:910{version}".into()],
                health_path: String::new(),
            })),
        }),
        strategy: Some(quick(&[50, 100])),
        ..Default::default()
    }
}

impl World {
    /// A deployer with one environment, one endpoint, and one proxy.
    pub async fn new() -> Self {
        Self::with(endpoint(), EvidencePolicy::default(), SystemClock::shared()).await
    }

    /// The same, where time stands still until a test moves it.
    pub async fn timeless() -> Self {
        let clock = FakeClock::new(SystemClock.now());
        let mut world = Self::with(endpoint(), EvidencePolicy::default(), clock.shared()).await;
        world.fake_clock = clock;
        world
    }

    pub async fn with(endpoint: Endpoint, evidence: EvidencePolicy, clock: SharedClock) -> Self {
        let mut world = Self::empty(clock).await;
        world.proxy = Some(Proxy::connect(&world.address, "p1").await);
        world.prepare(endpoint, evidence).await;
        world
    }

    /// Makes the environment and the endpoint.
    pub async fn prepare(&mut self, endpoint: Endpoint, evidence: EvidencePolicy) {
        let environment = Environment {
            evidence: Some(evidence),
            ..Default::default()
        };
        let request = CreateEnvironmentRequest {
            environment_id: "production".into(),
            environment: Some(environment),
            request_id: String::new(),
        };
        self.client.create_environment(request).await.unwrap();
        self.create_endpoint("tumor", endpoint).await;
    }

    pub async fn create_endpoint(&mut self, id: &str, endpoint: Endpoint) {
        let request = CreateEndpointRequest {
            parent: "environments/production".into(),
            endpoint_id: id.into(),
            endpoint: Some(endpoint),
            request_id: String::new(),
        };
        self.client.create_endpoint(request).await.unwrap();
    }

    async fn empty(clock: SharedClock) -> Self {
        let dir = TempDir::new().unwrap();
        let peers = StandIns::start().await;
        let path = dir.path().join("events.db");
        let log = EmbeddedLog::open(&path, clock.clone(), Duration::from_secs(3600)).await;
        let bus = Arc::new(log.unwrap());
        let driver = Arc::new(PretendDriver::default());
        let (address, client, running) = start(&dir, &peers, &driver, &bus, &clock).await;
        Self {
            dir,
            peers,
            driver,
            bus,
            fake_clock: FakeClock::default(),
            clock,
            address,
            client,
            proxy: None,
            running: Some(running),
        }
    }

    /// Ends the deployer, and starts it again on the same data. Proxies must connect anew.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.proxy = None;
        let started = start(&self.dir, &self.peers, &self.driver, &self.bus, &self.clock).await;
        (self.address, self.client) = (started.0, started.1);
        self.running = Some(started.2);
    }

    pub async fn stop(&mut self) {
        if let Some((shutdown, task)) = self.running.take() {
            shutdown.cancel();
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    }

    pub async fn connect_proxy(&mut self) {
        self.proxy = Some(Proxy::connect(&self.address, "p1").await);
    }

    /// The deployer's database, beside the deployer.
    pub async fn storage(&self) -> Db {
        let storage = slipway_platform::testing::storage(self.dir.path());
        Db::open(&storage, &MIGRATIONS).await.unwrap()
    }

    /// Changes what is stored, behind the deployer's back.
    pub async fn change(&self, sql: &'static str) {
        let db = self.storage().await;
        let mut tx = db.begin().await.unwrap();
        let changed = sqlx::query(sql).execute(&mut *tx).await.unwrap();
        assert_ne!(changed.rows_affected(), 0, "{sql}");
        tx.commit().await.unwrap();
        db.close().await;
    }

    pub async fn try_start(&mut self, number: u32) -> Result<Rollout, Status> {
        let request = StartRolloutRequest {
            endpoint: ENDPOINT.into(),
            version: version(number),
            reason: "a test".into(),
            ..Default::default()
        };
        Ok(self.client.start_rollout(request).await?.into_inner())
    }

    pub async fn start(&mut self, number: u32) -> Rollout {
        self.try_start(number).await.unwrap()
    }

    pub async fn rollout(&mut self, name: &str) -> Rollout {
        self.client
            .get_rollout(GetRolloutRequest { name: name.into() })
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn traffic(&mut self) -> Traffic {
        self.client
            .get_traffic(GetTrafficRequest {
                endpoint: ENDPOINT.into(),
            })
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn status(&mut self) -> EndpointStatus {
        let request = GetEndpointStatusRequest {
            name: ENDPOINT.into(),
        };
        self.client
            .get_endpoint_status(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits until a rollout is in a phase, by its stream.
    pub async fn until(&mut self, rollout: &str, phase: Phase) -> Rollout {
        self.until_it(rollout, &format!("{phase:?}"), |rollout| {
            rollout.phase() == phase
        })
        .await
    }

    pub async fn until_it(
        &mut self,
        rollout: &str,
        what: &str,
        holds: impl Fn(&Rollout) -> bool,
    ) -> Rollout {
        let request = WatchRolloutRequest {
            name: rollout.into(),
        };
        let mut stream = self
            .client
            .watch_rollout(request)
            .await
            .unwrap()
            .into_inner();
        let mut last = None;
        let wait = async {
            while let Some(next) = stream.message().await.unwrap() {
                let rollout = next.rollout.unwrap();
                if holds(&rollout) {
                    return Some(rollout);
                }
                last = Some(rollout);
            }
            None
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Some(rollout)) => rollout,
            Ok(None) => panic!("{rollout} ended and was never {what}: {last:#?}"),
            Err(_) => panic!("{rollout} is not {what} in time: {last:#?}"),
        }
    }

    /// Version 1 serves everything, as the first rollout of the endpoint.
    pub async fn with_stable(&mut self) -> Rollout {
        self.peers.judge(Health::Healthy);
        let rollout = self.start(1).await;
        let done = self.until(&rollout.name, Phase::Succeeded).await;
        self.peers.judge(Health::Insufficient);
        done
    }

    /// Version 2 has half of the traffic, and every proxy has accepted it.
    pub async fn with_canary(&mut self) -> Rollout {
        self.with_stable().await;
        self.with_canary_after_stable().await
    }

    pub async fn wait(&mut self, what: &str, mut holds: impl AsyncFnMut(&mut Self) -> bool) {
        let begun = tokio::time::Instant::now();
        while !holds(self).await {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Publishes an event as another service would.
    pub async fn publish<D: EventData>(&self, source: &str, id: &str, key: &str, data: &D) {
        let event = Event {
            id: id.into(),
            source: source.into(),
            r#type: D::TYPE.into(),
            topic: D::TOPIC.into(),
            key: key.into(),
            sequence: 0,
            subject: key.into(),
            time: self.clock.now(),
            traceparent: None,
            data: json::to_json_bytes(data).unwrap(),
        };
        self.bus.publish(&[event]).await.unwrap();
    }

    /// Whether every proxy has the present traffic, and that is noted: before it is, the rollout is told, whose
    /// deadline begins then.
    pub async fn is_applied(&mut self) -> bool {
        let is_noted = self.traffic().await.applied_time.is_some();
        is_noted && self.status().await.applied.unwrap().state() == applied::State::Applied
    }

    /// The first event of a type that the deployer has published, or will.
    pub async fn event<D: EventData>(&self, group: &str, holds: impl Fn(&D) -> bool) -> D {
        let mut subscription = self.bus.subscribe(group, &[D::TOPIC]).await.unwrap();
        let wait = async {
            loop {
                let event = subscription.next().await.unwrap().into_event().unwrap();
                if event.r#type != D::TYPE {
                    continue;
                }
                let data: D = event.decode().unwrap();
                if holds(&data) {
                    return data;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("no {} in time", D::TYPE))
    }

    pub async fn audit(&mut self) -> Vec<AuditRecord> {
        let request = ListAuditRecordsRequest {
            page_size: 1000,
            ..Default::default()
        };
        self.client
            .list_audit_records(request)
            .await
            .unwrap()
            .into_inner()
            .records
    }

    pub async fn actions(&mut self) -> Vec<String> {
        self.audit()
            .await
            .into_iter()
            .map(|record| record.action)
            .collect()
    }

    pub async fn generations(&mut self) -> Vec<Traffic> {
        let request = ListTrafficHistoryRequest {
            parent: ENDPOINT.into(),
            ..Default::default()
        };
        self.client
            .list_traffic_history(request)
            .await
            .unwrap()
            .into_inner()
            .traffic
    }

    pub async fn roll_back(
        &mut self,
        request: RollbackRequest,
    ) -> Result<RollbackResponse, Status> {
        let request = RollbackRequest {
            endpoint: ENDPOINT.into(),
            reason: "a test".into(),
            ..request
        };
        Ok(self.client.rollback(request).await?.into_inner())
    }
}

async fn start(
    dir: &TempDir,
    peers: &StandIns,
    driver: &Arc<PretendDriver>,
    bus: &Arc<EmbeddedLog>,
    clock: &SharedClock,
) -> (String, Client, (CancellationToken, JoinHandle<()>)) {
    let mut config: Config = load(DEFAULTS, Some("deployer"), None, []).unwrap();
    config.storage = slipway_platform::testing::storage(dir.path());
    config.data_dir = dir.path().join("deployer");
    config.registry = peers.address.clone();
    config.evaluator = peers.address.clone();
    config.failure_detector = peers.address.clone();
    config.xds.proxy_lease_seconds = 1;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let deps = Deps {
        bus: bus.clone(),
        clock: clock.clone(),
    };
    let shutdown = CancellationToken::new();
    let running = run_with_driver(config, deps, driver.clone(), listener, shutdown.clone());
    let task = tokio::spawn(async move { running.await.unwrap() });
    slipway_platform::testing::serving(&address).await;
    let channel = Channel::from_shared(address.clone())
        .unwrap()
        .connect_lazy();
    let mut client = DeployerServiceClient::new(channel);
    let begun = tokio::time::Instant::now();
    while let Err(status) = client
        .list_environments(ListEnvironmentsRequest::default())
        .await
    {
        assert!(begun.elapsed() < PATIENCE, "it does not start: {status}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (address, client, (shutdown, task))
}

/// The traffic as (number of the revision, percent).
pub fn shares(traffic: &Traffic) -> Vec<(u32, i32)> {
    traffic
        .targets
        .iter()
        .map(|target| {
            let number = target.revision.rsplit('-').next().unwrap();
            (number.parse().unwrap(), target.percent)
        })
        .collect()
}

/// The stable reason of a refusal.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt;
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// The fields that a refusal names.
pub fn fields(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status
        .get_details_bad_request()
        .expect("violations of fields");
    details
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

impl World {
    /// As [`World::with_canary`], when version 1 serves already.
    pub async fn with_canary_after_stable(&mut self) -> Rollout {
        self.peers.judge(Health::Insufficient);
        let rollout = self.start(2).await;
        self.until_it(&rollout.name, "at its first step", |rollout| {
            rollout.phase() == Phase::Shifting && rollout.verdict.is_some()
        })
        .await;
        self.wait("the proxy to have the split", async |world| {
            world.is_applied().await
        })
        .await;
        self.rollout(&rollout.name).await
    }
}
