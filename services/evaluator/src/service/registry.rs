//! The registry as a peer: versions, and the bytes of their predictions.

use std::time::Duration;

use bytes::Bytes;
use slipway_platform::grpc::{TracedChannel, channel};
use slipway_platform::names::{ArtifactName, Digest};
use slipway_platform::{Error, Result};
use slipway_proto::registry::v1::download_artifact_response::Part;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_proto::registry::v1::{
    DownloadArtifactRequest, DownloadArtifactResponse, GetVersionRequest,
};
use tonic::{Code, Status, Streaming};

use crate::predictions::SourceError;
use crate::predictions::fault::Problem;

/// The largest message of a download: a chunk of 1 MiB with its frame.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// A client of the registry.
#[derive(Debug, Clone)]
pub struct Registry {
    client: RegistryServiceClient<TracedChannel>,
}

/// What the evaluator wants to know of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// Its resource name.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Its artifacts.
    pub artifacts: Vec<ArtifactFacts>,
}

/// What the evaluator wants to know of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFacts {
    /// What it is for.
    pub role: String,
    /// Its resource name.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its file name, or empty.
    pub file_name: String,
}

/// A download that has begun.
pub struct Download {
    /// Its media type, or empty.
    pub media_type: String,
    messages: Streaming<DownloadArtifactResponse>,
    idle: Duration,
}

impl Registry {
    /// At an address such as `http://127.0.0.1:7401`; connects at the first call.
    pub fn new(address: &str) -> Result<Self> {
        let client = RegistryServiceClient::new(channel(address)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { client })
    }

    /// The version of that name, or the one that the alias of that name points at; `None` if there is
    /// none.
    pub async fn version(&self, name: &str) -> Result<Option<VersionFacts>> {
        let request = GetVersionRequest {
            name: name.to_owned(),
        };
        let version = match self.client.clone().get_version(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        let artifacts = version.artifacts.into_iter().map(|artifact| {
            let size_bytes =
                u64::try_from(artifact.size_bytes).map_err(|_| unexpected("size_bytes"))?;
            Ok(ArtifactFacts {
                role: artifact.role,
                name: artifact.artifact,
                digest: artifact.digest,
                size_bytes,
                file_name: artifact.file_name,
            })
        });
        Ok(Some(VersionFacts {
            name: version.name,
            digest: version.digest,
            artifacts: artifacts.collect::<Result<_>>()?,
        }))
    }

    /// Begins a download; `idle` is how long the registry may send nothing.
    pub async fn download(
        &self,
        artifact: &ArtifactFacts,
        idle: Duration,
    ) -> Result<Download, SourceError> {
        // The digest is checked here too, so an answer that is not a digest is found before the bytes.
        let well_formed = artifact.name.parse::<ArtifactName>().is_ok()
            && artifact.digest.parse::<Digest>().is_ok();
        if !well_formed {
            return Err(SourceError::Problem(Problem::DigestMismatch {
                expected: artifact.digest.clone(),
            }));
        }
        let request = DownloadArtifactRequest {
            name: artifact.name.clone(),
            offset: 0,
        };
        let began =
            tokio::time::timeout(idle, self.client.clone().download_artifact(request)).await;
        let messages = match began {
            Ok(answer) => answer
                .map_err(|status| failed(&status, artifact))?
                .into_inner(),
            Err(_) => return Err(silent(idle)),
        };
        let mut download = Download {
            media_type: String::new(),
            messages,
            idle,
        };
        if let Some(Part::Artifact(header)) = download.next_part(artifact).await? {
            download.media_type = header.media_type;
        }
        Ok(download)
    }
}

impl Download {
    /// The next bytes; `None` at the end.
    pub async fn next_chunk(
        &mut self,
        artifact: &ArtifactFacts,
    ) -> Result<Option<Bytes>, SourceError> {
        loop {
            match self.next_part(artifact).await? {
                Some(Part::Chunk(chunk)) => return Ok(Some(chunk.into())),
                Some(Part::Artifact(_)) => {}
                None => return Ok(None),
            }
        }
    }

    async fn next_part(&mut self, artifact: &ArtifactFacts) -> Result<Option<Part>, SourceError> {
        loop {
            match tokio::time::timeout(self.idle, self.messages.message()).await {
                Ok(Ok(Some(DownloadArtifactResponse { part: None }))) => {}
                Ok(Ok(message)) => return Ok(message.and_then(|message| message.part)),
                Ok(Err(status)) => return Err(failed(&status, artifact)),
                Err(_) => return Err(silent(self.idle)),
            }
        }
    }
}

/// A download that failed: for good when the bytes are gone or wrong, else to be tried again.
fn failed(status: &Status, artifact: &ArtifactFacts) -> SourceError {
    match status.code() {
        Code::DataLoss => SourceError::Problem(Problem::DigestMismatch {
            expected: artifact.digest.clone(),
        }),
        Code::NotFound => SourceError::Problem(Problem::SizeMismatch {
            found: 0,
            expected: artifact.size_bytes,
        }),
        _ => SourceError::Unavailable {
            what: format!("the registry's {}: {}", artifact.name, status.message()),
        },
    }
}

fn silent(idle: Duration) -> SourceError {
    SourceError::Unavailable {
        what: format!("the registry, which sent nothing for {} s", idle.as_secs()),
    }
}

fn unexpected(field: &'static str) -> Error {
    Error::internal(
        "read the registry's answer",
        format!("{field} is out of range"),
    )
}
