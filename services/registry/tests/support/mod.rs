//! A registry in this process on port 0, and what a client needs to talk to it.

#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use slipway_platform::{
    clock::{FakeClock, Timestamp},
    events::{EmbeddedLog, Event, EventBus, log::DEFAULT_RETENTION},
};
use slipway_proto::{
    common::v1::ArtifactRef,
    registry::v1::{
        registry_service_client::RegistryServiceClient,
        upload_artifact_request::{Header, Part},
        *,
    },
};
use slipway_registry::{Config, DEFAULTS, Deps};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

pub type Client = RegistryServiceClient<Channel>;

pub const MODEL: &str = "workspaces/dev/models/tumor";

pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: FakeClock,
    pub log: EmbeddedLog,
    pub client: Client,
    pub address: String,
    shutdown: CancellationToken,
    running: Option<tokio::task::JoinHandle<slipway_platform::Result<()>>>,
}

impl World {
    pub async fn start() -> World {
        World::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config: Config =
            slipway_platform::config::load(DEFAULTS, Some("registry"), None, []).unwrap();
        config.storage = slipway_platform::testing::storage(folder.path());
        config.data_dir = folder.path().join("registry");
        change(&mut config);
        let clock = FakeClock::new(Timestamp(1_700_000_000_000_000));
        let log = EmbeddedLog::open(
            &folder.path().join("events.db"),
            clock.shared(),
            DEFAULT_RETENTION,
        )
        .await
        .unwrap();
        let deps = Deps {
            bus: Arc::new(log.clone()),
            clock: clock.shared(),
        };
        let shutdown = CancellationToken::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let running = tokio::spawn(slipway_registry::run(
            config,
            deps,
            listener,
            shutdown.clone(),
        ));
        slipway_platform::testing::serving(&address).await;
        let client = Client::connect(address.clone()).await.unwrap();
        World {
            folder,
            clock,
            log,
            client,
            address,
            shutdown,
            running: Some(running),
        }
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("registry/artifacts/objects")
    }

    pub fn staging(&self) -> PathBuf {
        self.folder.path().join("registry/artifacts/staging")
    }

    pub fn object(&self, artifact: &Artifact) -> PathBuf {
        let hex = artifact.digest.trim_start_matches("sha256:");
        self.objects().join("dev").join(&hex[..2]).join(hex)
    }

    pub async fn model(&self, id: &str) -> Model {
        let request = CreateModelRequest {
            parent: "workspaces/dev".to_owned(),
            model_id: id.to_owned(),
            ..Default::default()
        };
        self.client
            .clone()
            .create_model(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn upload(&self, bytes: &[u8]) -> Artifact {
        self.try_upload(header(bytes), bytes).await.unwrap()
    }

    pub async fn try_upload(&self, header: Header, bytes: &[u8]) -> Result<Artifact, Status> {
        let mut messages = vec![part(Part::Header(header))];
        messages.extend(
            bytes
                .chunks(64 * 1024)
                .map(|chunk| part(Part::Chunk(chunk.to_vec()))),
        );
        let answer = self
            .client
            .clone()
            .upload_artifact(futures::stream::iter(messages))
            .await;
        answer.map(tonic::Response::into_inner)
    }

    pub async fn download(
        &self,
        name: &str,
        offset: i64,
    ) -> Result<(Artifact, Vec<u8>), (Vec<u8>, Status)> {
        let request = DownloadArtifactRequest {
            name: name.to_owned(),
            offset,
        };
        let answer = self.client.clone().download_artifact(request).await;
        let mut stream = answer.map_err(|status| (Vec::new(), status))?.into_inner();
        let (mut artifact, mut bytes) = (None, Vec::new());
        loop {
            match stream.message().await {
                Ok(None) => return Ok((artifact.unwrap(), bytes)),
                Ok(Some(message)) => match message.part.unwrap() {
                    download_artifact_response::Part::Artifact(first) => artifact = Some(first),
                    download_artifact_response::Part::Chunk(chunk) => bytes.extend(chunk),
                },
                Err(status) => return Err((bytes, status)),
            }
        }
    }

    /// A version of `model` with one artifact, whose bytes are `content`.
    pub async fn version(&self, model: &str, content: &str) -> Version {
        let artifact = self.upload(content.as_bytes()).await;
        let request = create(model, &artifact);
        self.client
            .clone()
            .create_version(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn get(&self, name: &str) -> Result<Version, Status> {
        let request = GetVersionRequest {
            name: name.to_owned(),
        };
        self.client
            .clone()
            .get_version(request)
            .await
            .map(tonic::Response::into_inner)
    }

    pub async fn events(&self, count: usize) -> Vec<Event> {
        let mut subscription = self
            .log
            .subscribe("test", &["slipway.registry"])
            .await
            .unwrap();
        let mut events = Vec::new();
        while events.len() < count {
            let next = tokio::time::timeout(Duration::from_secs(60), subscription.next()).await;
            events.push(next.expect("an event comes").unwrap().into_event().unwrap());
        }
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn part(part: Part) -> UploadArtifactRequest {
    UploadArtifactRequest { part: Some(part) }
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn header(bytes: &[u8]) -> Header {
    Header {
        parent: "workspaces/dev".to_owned(),
        digest: sha256(bytes),
        size_bytes: bytes.len() as i64,
        media_type: "text/plain".to_owned(),
    }
}

pub fn create(model: &str, artifact: &Artifact) -> CreateVersionRequest {
    let artifact = ArtifactRef {
        role: "model".to_owned(),
        artifact: artifact.name.clone(),
        ..Default::default()
    };
    CreateVersionRequest {
        parent: model.to_owned(),
        version: Some(Version {
            artifacts: vec![artifact],
            ..Default::default()
        }),
        request_id: String::new(),
    }
}

/// The fields that an INVALID_ARGUMENT names.
pub fn violations(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status
        .get_details_bad_request()
        .expect("violations are typed");
    details
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// The stable reason of any error.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .expect("every error has a reason")
        .reason
}
