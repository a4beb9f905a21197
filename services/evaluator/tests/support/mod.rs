//! A registry and an evaluator in this process, each on port 0, over one event log and one clock.

#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use slipway_platform::Result;
use slipway_platform::clock::{FakeClock, Timestamp};
use slipway_platform::db::StorageConfig;
use slipway_platform::events::log::DEFAULT_RETENTION;
use slipway_platform::events::{EmbeddedLog, Event, EventBus, EventData};
use slipway_platform::testing::storage;
use slipway_proto::common::v1::{ArtifactRef, Verdict};
use slipway_proto::evaluator::v1::apply_suite_request::Source;
use slipway_proto::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use slipway_proto::evaluator::v1::*;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_proto::registry::v1::upload_artifact_request::{Header, Part};
use slipway_proto::registry::v1::{
    CreateModelRequest, CreateVersionRequest, SetAliasRequest, UploadArtifactRequest, Version,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub const WORKSPACE: &str = "workspaces/dev";
pub const MODEL: &str = "workspaces/dev/models/tumor";

/// A suite with one criterion of each kind that the tests change.
pub const SUITE: &str = "
models: [tumor]
predictions: {prediction_column: prediction, score_column: score, id_column: id}
criteria:
- {metric: accuracy, min: 0.8}
- {metric: roc_auc, min: 0.8}
";

pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: FakeClock,
    pub log: EmbeddedLog,
    pub registry: RegistryServiceClient<Channel>,
    pub evaluator: EvaluatorServiceClient<Channel>,
    registry_address: String,
    parts: Vec<Running>,
}

/// What a world is made of before anything runs.
pub struct Ground {
    pub folder: tempfile::TempDir,
    /// The evaluator's folder in that one.
    evaluator: &'static str,
    pub clock: FakeClock,
    pub log: EmbeddedLog,
    pub registry_listener: Option<TcpListener>,
    pub registry_address: String,
}

impl Ground {
    pub async fn new() -> Ground {
        Ground::in_folder(tempfile::tempdir().unwrap(), "evaluator").await
    }

    /// With the registry of the world that had this folder, and an evaluator that knows nothing yet.
    pub async fn after(folder: tempfile::TempDir) -> Ground {
        Ground::in_folder(folder, "second-evaluator").await
    }

    async fn in_folder(folder: tempfile::TempDir, evaluator: &'static str) -> Ground {
        let clock = FakeClock::new(Timestamp(1_700_000_000_000_000));
        let path = folder.path().join(format!("{evaluator}-events.db"));
        let log = EmbeddedLog::open(&path, clock.shared(), DEFAULT_RETENTION)
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry_address = format!("http://{}", listener.local_addr().unwrap());
        Ground {
            folder,
            evaluator,
            clock,
            log,
            registry_listener: Some(listener),
            registry_address,
        }
    }

    pub fn database(&self) -> StorageConfig {
        storage(&self.folder.path().join(self.evaluator))
    }

    pub async fn start(mut self) -> World {
        let listener = self.registry_listener.take().unwrap();
        // First: what waits for a registry is only tried again when the clock is moved.
        let registry = start_registry(self.folder.path(), &self.log, &self.clock, listener).await;
        let mut world = self.start_evaluator(|_| {}).await;
        world.parts.push(registry);
        world
    }

    pub async fn start_evaluator(
        self,
        change: impl FnOnce(&mut slipway_evaluator::Config),
    ) -> World {
        let mut config: slipway_evaluator::Config = slipway_platform::config::load(
            slipway_evaluator::DEFAULTS,
            Some("evaluator"),
            None,
            [],
        )
        .unwrap();
        config.storage = self.database();
        config.registry = self.registry_address.clone();
        config.limits.progress_ms = 20;
        config.limits.postpone_ms = 100;
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let deps = slipway_evaluator::Deps {
            bus: Arc::new(self.log.clone()),
            clock: self.clock.shared(),
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(slipway_evaluator::run(config, deps, listener, stop.clone()));
        slipway_platform::testing::serving(&address).await;
        let lazy = |address: &str| {
            Endpoint::from_shared(address.to_owned())
                .unwrap()
                .connect_lazy()
        };
        World {
            folder: self.folder,
            clock: self.clock,
            log: self.log,
            registry: RegistryServiceClient::new(lazy(&self.registry_address)),
            evaluator: EvaluatorServiceClient::new(lazy(&address)),
            registry_address: self.registry_address,
            parts: vec![(stop, running)],
        }
    }
}

/// A service that runs, and what stops it.
type Running = (CancellationToken, JoinHandle<Result<()>>);

async fn start_registry(
    folder: &Path,
    log: &EmbeddedLog,
    clock: &FakeClock,
    listener: TcpListener,
) -> Running {
    let mut config: slipway_registry::Config =
        slipway_platform::config::load(slipway_registry::DEFAULTS, Some("registry"), None, [])
            .unwrap();
    config.storage = storage(&folder.join("registry"));
    config.data_dir = folder.join("registry");
    let deps = slipway_registry::Deps {
        bus: Arc::new(log.clone()),
        clock: clock.shared(),
    };
    let address = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(slipway_registry::run(config, deps, listener, stop.clone()));
    slipway_platform::testing::serving(&address).await;
    (stop, running)
}

impl World {
    pub async fn start() -> World {
        Ground::new().await.start().await
    }

    /// With the model and the usual suite.
    pub async fn with_suite() -> World {
        let world = World::start().await;
        world.model().await;
        world.apply(SUITE).await;
        world
    }

    pub async fn start_registry(&mut self, listener: TcpListener) {
        let folder = self.folder.path();
        let registry = start_registry(folder, &self.log, &self.clock, listener).await;
        self.parts.push(registry);
    }

    /// Stops everything; its folder stays as long as what is returned.
    pub async fn stop(self) -> tempfile::TempDir {
        for (stop, running) in self.parts {
            stop.cancel();
            running.await.unwrap().unwrap();
        }
        self.folder
    }

    pub async fn model(&self) {
        let request = CreateModelRequest {
            parent: WORKSPACE.into(),
            model_id: "tumor".into(),
            ..Default::default()
        };
        self.registry.clone().create_model(request).await.unwrap();
    }

    pub async fn try_apply(&self, id: &str, yaml: &str) -> Result<Suite, Status> {
        let request = ApplySuiteRequest {
            parent: WORKSPACE.into(),
            suite_id: id.into(),
            source: Some(Source::Yaml(yaml.into())),
            ..Default::default()
        };
        Ok(self
            .evaluator
            .clone()
            .apply_suite(request)
            .await?
            .into_inner())
    }

    pub async fn apply(&self, yaml: &str) -> Suite {
        self.try_apply("held-out", yaml).await.unwrap()
    }

    pub async fn upload(&self, bytes: &[u8]) -> String {
        let header = Header {
            parent: WORKSPACE.into(),
            media_type: "application/octet-stream".into(),
            ..Default::default()
        };
        let mut parts = vec![Part::Header(header)];
        parts.extend(
            bytes
                .chunks(1 << 20)
                .map(|chunk| Part::Chunk(chunk.to_vec())),
        );
        let messages = parts
            .into_iter()
            .map(|part| UploadArtifactRequest { part: Some(part) });
        let stream = futures::stream::iter(messages.collect::<Vec<_>>());
        self.registry
            .clone()
            .upload_artifact(stream)
            .await
            .unwrap()
            .into_inner()
            .name
    }

    /// A version with these artifacts by role.
    pub async fn version(&self, artifacts: &[(&str, &[u8])]) -> Version {
        let mut refs = Vec::new();
        for (role, bytes) in artifacts {
            refs.push(ArtifactRef {
                role: (*role).into(),
                artifact: self.upload(bytes).await,
                ..Default::default()
            });
        }
        let request = CreateVersionRequest {
            parent: MODEL.into(),
            version: Some(Version {
                artifacts: refs,
                ..Default::default()
            }),
            ..Default::default()
        };
        self.registry
            .clone()
            .create_version(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn champion(&self, version: &Version) {
        let request = SetAliasRequest {
            name: format!("{MODEL}/aliases/champion"),
            version: version.name.clone(),
            ..Default::default()
        };
        self.registry.clone().set_alias(request).await.unwrap();
    }

    pub async fn evaluations(&self, filter: &str) -> Vec<Evaluation> {
        let request = ListEvaluationsRequest {
            parent: WORKSPACE.into(),
            filter: filter.into(),
            ..Default::default()
        };
        let answer = self
            .evaluator
            .clone()
            .list_evaluations(request)
            .await
            .unwrap();
        answer.into_inner().evaluations
    }

    /// The only evaluation of a version, once the event has made it.
    pub async fn queued(&self, version: &Version) -> Evaluation {
        let filter = format!("version = \"{}\"", version.name);
        let found = until(async || self.evaluations(&filter).await.pop()).await;
        assert_eq!(self.evaluations(&filter).await.len(), 1);
        found
    }

    /// The evaluation as watched to its end.
    pub async fn ended(&self, name: &str) -> Evaluation {
        self.watched(name).await.pop().unwrap()
    }

    pub async fn watched(&self, name: &str) -> Vec<Evaluation> {
        let request = WatchEvaluationRequest { name: name.into() };
        let stream = self
            .evaluator
            .clone()
            .watch_evaluation(request)
            .await
            .unwrap()
            .into_inner();
        let changes = stream
            .map(|change| change.unwrap().evaluation.unwrap())
            .collect();
        tokio::time::timeout(Duration::from_secs(60), changes)
            .await
            .unwrap()
    }

    /// What becomes of a version with these predictions, all by itself. Its verdict is judged again from
    /// what is stored.
    pub async fn outcome(&self, predictions: &str) -> Evaluation {
        let version = self
            .version(&[("predictions", predictions.as_bytes())])
            .await;
        let ended = self.ended(&self.queued(&version).await.name).await;
        assert_eq!(ended.version_digest, version.digest);
        if !ended.measurements.is_empty() {
            let again = self.recompute(&ended.name).await.unwrap();
            assert!(again.same && again.verdict == ended.verdict && again.reasons == ended.reasons);
        }
        ended
    }

    pub async fn recompute(&self, name: &str) -> Result<RecomputeVerdictResponse, Status> {
        let request = RecomputeVerdictRequest { name: name.into() };
        Ok(self
            .evaluator
            .clone()
            .recompute_verdict(request)
            .await?
            .into_inner())
    }

    pub async fn cancel(&self, name: &str, reason: &str) -> Result<Evaluation, Status> {
        let request = CancelEvaluationRequest {
            name: name.into(),
            reason: reason.into(),
        };
        Ok(self
            .evaluator
            .clone()
            .cancel_evaluation(request)
            .await?
            .into_inner())
    }

    /// The next `count` events of type `D` on its topic, read by a group of its own.
    pub async fn events<D: EventData>(&self, count: usize) -> Vec<(Event, D)> {
        let mut subscription = self.log.subscribe("test", &[D::TOPIC]).await.unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(60), subscription.next());
            let event = next.await.unwrap().unwrap().into_event().unwrap();
            if event.r#type == D::TYPE {
                let data = event.decode().unwrap();
                found.push((event, data));
            }
        }
        found
    }

    /// Where the registry keeps the bytes of an artifact.
    pub fn object(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let objects = self.folder.path().join("registry/artifacts/objects/dev");
        objects.join(&hex[..2]).join(hex)
    }
}

/// Waits until `look` finds something.
pub async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come about in 20 s");
}

/// Rows of a classifier that is right with probability `right`; which rows it gets wrong depends on
/// `salt`. Scores are high for predicted positives.
pub fn predictions(rows: u64, right: f64, salt: u64) -> String {
    let mut text = String::from("id,label,prediction,score,sex,site\n");
    for id in 0..rows {
        let label = noise(id, 1) > 0.5;
        let correct = noise(id, salt) < right;
        let prediction = label == correct;
        let score = if prediction {
            0.5 + noise(id, 3) / 2.0
        } else {
            noise(id, 3) / 2.0
        };
        let (sex, site) = (["f", "m"][(id % 2) as usize], id % 3);
        text.push_str(&format!(
            "{id},{},{},{score:.4},{sex},s{site}\n",
            u8::from(label),
            u8::from(prediction)
        ));
    }
    text
}

fn noise(id: u64, salt: u64) -> f64 {
    let mixed = (id ^ (salt << 40))
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

pub fn verdict(evaluation: &Evaluation) -> Verdict {
    evaluation.verdict()
}

pub fn codes(evaluation: &Evaluation) -> Vec<&str> {
    evaluation
        .reasons
        .iter()
        .map(|reason| reason.code.as_str())
        .collect()
}

pub fn measured(evaluation: &Evaluation, metric: Metric) -> &Measurement {
    evaluation
        .measurements
        .iter()
        .find(|m| m.metric() == metric)
        .unwrap()
}

/// The code and stable reason of a refusal, and the fields that it names.
pub fn refusal(status: Status) -> (Code, String, Vec<String>) {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default();
    let fields = details
        .bad_request()
        .map(|bad| {
            bad.field_violations
                .iter()
                .map(|v| v.field.clone())
                .collect()
        })
        .unwrap_or_default();
    (status.code(), reason, fields)
}
