//! Endpoints whose candidates fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use slipway_examples::dataset::Dataset;
use slipway_examples::load::{Load, Plan, request_bodies};
use slipway_platform::clock::Timestamp;
use slipway_proto::deployer::v1 as deployer;
use slipway_proto::deployer::v1::rollout::Phase;
use slipway_proto::deployer::v1::step::OnInsufficient;
use slipway_proto::deployer::v1::{Rollout, Step, Strategy, applied};
use slipway_proto::detector::v1 as detector;
use slipway_tests::bench::Upstream;
use slipway_tests::given::{self, ENVIRONMENT, ENVIRONMENT_ID, Files, MODEL, MODEL_ID};
use slipway_tests::{Clients, until, watch};
use tonic::Streaming;

use crate::planes::{Hears, PROXIES, Running};

/// What is to follow at once, with many endpoints at once.
const SOON: Duration = Duration::from_secs(60);
/// A rollback that takes longer is no sample but a failure.
const ROLLED_BACK_WITHIN: Duration = Duration::from_secs(30);
/// A candidate's step lasts longer than any benchmark.
const STEP_SECONDS: i64 = 3_600;
/// Users of each proxy, and the requests that they send together each second, while a candidate fails.
const USERS: u32 = 20;
const REQUESTS_PER_SECOND: f64 = 50.0;
const CONNECTIONS: u32 = 4;

/// One rollback.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When the failure-detector began to store its decision.
    pub decided: Timestamp,
    /// When the deployer decided on the rollback.
    pub heard: Timestamp,
    /// When it had every proxy's ACK.
    pub applied: Timestamp,
}

impl Sample {
    /// From the decision to the last ACK.
    pub fn whole(&self) -> Duration {
        self.applied.since(self.decided)
    }
}

/// Endpoints that serve a good version.
pub struct Fleet<'a> {
    running: &'a Running,
    clients: &'a Clients,
    endpoints: Vec<String>,
}

impl<'a> Fleet<'a> {
    /// Creates endpoints and lets each of them serve the first version.
    pub async fn set_up(
        running: &'a Running,
        upstream: &Upstream,
        endpoints: usize,
    ) -> Result<Self> {
        let clients = running.clients();
        given::model(clients).await?;
        given::environment(clients, false).await?;
        let ids = (0..endpoints).map(|number| format!("e{number:03}"));
        let fleet = Self {
            running,
            clients,
            endpoints: ids
                .clone()
                .map(|id| format!("{ENVIRONMENT}/endpoints/{id}"))
                .collect(),
        };
        try_join_all(ids.map(|id| create(clients, id, upstream))).await?;
        fleet.proxies_are_connected().await?;
        let version = register(clients).await?;
        for rollout in fleet.start(&version, given::all_at_once()).await? {
            watch::until_phase(clients, &rollout.name, Phase::Succeeded, SOON).await?;
        }
        Ok(fleet)
    }

    /// Gives every endpoint a new candidate, and waits until all of them have half of the traffic everywhere.
    pub async fn begin_rollouts(&self) -> Result<Vec<Rollout>> {
        let version = register(self.clients).await?;
        let half = given::step(50, 1, STEP_SECONDS, OnInsufficient::Pause);
        let whole = given::step(100, 1, STEP_SECONDS, OnInsufficient::Pause);
        let mut begun = Vec::new();
        for rollout in self.start(&version, vec![half, whole]).await? {
            let name = &rollout.name;
            watch::until_phase(self.clients, name, Phase::Shifting, SOON).await?;
            until("half of the traffic", SOON, async || {
                self.is_applied(name).await
            })
            .await?;
            begun.push(watch::rollout(self.clients, name).await?);
        }
        Ok(begun)
    }

    /// Sends requests to the endpoint of a rollout until it is rolled back.
    pub async fn fail(&self, rollout: &Rollout) -> Result<Sample> {
        let _judging = match self.running.hears() {
            // The deployer holds the stream.
            Hears::Embedded | Hears::Stream => None,
            Hears::Kafka => Some(self.judging(rollout).await?),
        };
        let mut watching = self.watching(rollout).await?;
        let loads = self.loads(rollout)?;
        let ended = tokio::time::timeout(ROLLED_BACK_WITHIN, ended(&mut watching)).await;
        let ended = ended.with_context(|| format!("{} is not rolled back", rollout.name))??;
        for load in loads {
            load.stop().await;
        }
        ensure!(
            (ended.phase(), ended.why.as_str()) == (Phase::RolledBack, "degraded")
                && ended.not_applied_on.is_empty(),
            "{ended:?}"
        );
        let alert = self.alert(&ended).await?;
        let time = |time: Option<prost_types::Timestamp>, what| -> Result<Timestamp> {
            Ok(Timestamp::from(
                time.with_context(|| format!("no {what} in {ended:?}"))?,
            ))
        };
        Ok(Sample {
            decided: time(alert.start_time, "start of the alert")?,
            heard: time(ended.rollback_decided_time, "time of the decision")?,
            applied: time(ended.rollback_applied_time, "time of the last ACK")?,
        })
    }

    async fn start(&self, version: &str, steps: Vec<Step>) -> Result<Vec<Rollout>> {
        let starting = self.endpoints.iter().map(async |endpoint| {
            let request = deployer::StartRolloutRequest {
                endpoint: endpoint.clone(),
                version: version.to_owned(),
                strategy: Some(strategy(steps.clone())),
                reason: "to be measured".to_owned(),
                ..Default::default()
            };
            let started = self.clients.deployer.clone().start_rollout(request).await;
            anyhow::Ok(started.context("starting a rollout")?.into_inner())
        });
        try_join_all(starting).await
    }

    async fn is_applied(&self, rollout: &str) -> Result<Option<()>> {
        let rollout = watch::rollout(self.clients, rollout).await?;
        let (endpoint, _) = rollout
            .name
            .split_once("/rollouts/")
            .context("a rollout's name")?;
        let request = deployer::GetEndpointStatusRequest {
            name: endpoint.to_owned(),
        };
        let status = self
            .clients
            .deployer
            .clone()
            .get_endpoint_status(request)
            .await?;
        let applied = status.into_inner().applied;
        let is_applied = applied.is_some_and(|applied| {
            applied.state() == applied::State::Applied
                && applied.generation == rollout.traffic_generation
        });
        Ok(is_applied.then_some(()))
    }

    async fn proxies_are_connected(&self) -> Result<()> {
        until("every proxy to be connected", SOON, async || {
            let request = deployer::ListProxiesRequest {};
            let answer = self.clients.deployer.clone().list_proxies(request).await?;
            let proxies = answer.into_inner().proxies;
            let connected = proxies.iter().filter(|proxy| proxy.connected).count();
            Ok((connected == PROXIES).then_some(()))
        })
        .await
    }

    /// Has the failure-detector judge the rollout, as long as the stream is there.
    async fn judging(&self, rollout: &Rollout) -> Result<Streaming<detector::VerdictReport>> {
        let (endpoint, _) = rollout
            .name
            .split_once("/rollouts/")
            .context("a rollout's name")?;
        let request = detector::WatchVerdictRequest {
            subject: Some(detector::Subject {
                endpoint: endpoint.to_owned(),
                rollout: rollout.name.clone(),
                candidate: rollout.candidate.clone(),
                stable: rollout.stable.clone(),
            }),
            judgement: None,
            generation: rollout.traffic_generation,
            concurrent: true,
        };
        let stream = self.clients.detector.clone().watch_verdict(request).await;
        let mut stream = stream.context("watching the verdict")?.into_inner();
        stream.message().await?.context("no first verdict")?;
        Ok(stream)
    }

    async fn watching(
        &self,
        rollout: &Rollout,
    ) -> Result<Streaming<deployer::WatchRolloutResponse>> {
        let request = deployer::WatchRolloutRequest {
            name: rollout.name.clone(),
        };
        let stream = self.clients.deployer.clone().watch_rollout(request).await;
        let mut stream = stream.context("watching the rollout")?.into_inner();
        stream.message().await?.context("no first rollout")?;
        Ok(stream)
    }

    fn loads(&self, rollout: &Rollout) -> Result<Vec<Load>> {
        let id = rollout.name.split('/').nth(3).context("a rollout's name")?;
        let bodies = request_bodies(&Dataset::wisconsin());
        let proxies = self.running.proxies().iter();
        proxies
            .map(|proxy| {
                let url = format!("{proxy}/{ENVIRONMENT_ID}/{id}/v2/models/{MODEL_ID}/infer");
                let plan = Plan {
                    url: url.parse()?,
                    users: USERS,
                    connections: CONNECTIONS,
                    requests_per_second: REQUESTS_PER_SECOND,
                    timeout: ROLLED_BACK_WITHIN,
                    seed: 1,
                };
                Load::start(plan, bodies.clone())
            })
            .collect()
    }

    /// The alert of the decision that a rollout was rolled back on.
    async fn alert(&self, ended: &Rollout) -> Result<detector::Alert> {
        let (endpoint, _) = ended
            .name
            .split_once("/rollouts/")
            .context("a rollout's name")?;
        let request = detector::ListAlertsRequest {
            parent: endpoint.to_owned(),
            filter: format!("revision = \"{}\"", ended.candidate),
            page_size: 10,
            ..Default::default()
        };
        let page = self.clients.detector.clone().list_alerts(request).await?;
        let mut alerts = page.into_inner().alerts.into_iter();
        alerts
            .find(|alert| alert.decision_id == ended.decision_id)
            .with_context(|| format!("no alert of {ended:?}"))
    }
}

/// Reads until the rollout has ended.
async fn ended(watching: &mut Streaming<deployer::WatchRolloutResponse>) -> Result<Rollout> {
    loop {
        let message = watching.message().await?.context("the stream has ended")?;
        if let Some(rollout) = message.rollout.filter(watch::has_ended) {
            return Ok(rollout);
        }
    }
}

async fn create(clients: &Clients, id: String, upstream: &Upstream) -> Result<()> {
    let endpoint = deployer::Endpoint {
        model: MODEL.to_owned(),
        run: Some(upstream.run()),
        strategy: Some(strategy(given::all_at_once())),
        // All of them have one model.
        champion_alias: "-".to_owned(),
        ..Default::default()
    };
    let request = deployer::CreateEndpointRequest {
        parent: ENVIRONMENT.to_owned(),
        endpoint_id: id,
        endpoint: Some(endpoint),
        ..Default::default()
    };
    clients
        .deployer
        .clone()
        .create_endpoint(request)
        .await
        .context("creating an endpoint")?;
    Ok(())
}

fn strategy(steps: Vec<Step>) -> Strategy {
    Strategy {
        name: "bench".to_owned(),
        steps,
        soak: Some(given::seconds(0)),
        drain: Some(given::seconds(1)),
    }
}

/// Registers a version with bytes of its own: what was rolled back is blocked by its digests.
async fn register(clients: &Clients) -> Result<String> {
    let bytes = rand::random::<[u8; 32]>().to_vec();
    let files = Files {
        model: bytes.clone(),
        predictions: bytes,
    };
    Ok(given::register(clients, files).await?.name)
}
