//! Artifacts from the registry, over its `DownloadArtifact` stream.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use slipway_platform::error::Error;
use slipway_platform::grpc::TracedChannel;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use slipway_proto::registry::v1::{DownloadArtifactRequest, download_artifact_response};

use super::{ArtifactSource, ByteStream, DriverError, RunArtifact};

/// See the module.
#[derive(Clone)]
pub struct RegistryArtifacts {
    registry: RegistryServiceClient<TracedChannel>,
}

impl RegistryArtifacts {
    /// Downloads over this channel.
    pub fn new(channel: TracedChannel) -> Self {
        Self {
            registry: RegistryServiceClient::new(channel),
        }
    }
}

#[async_trait]
impl ArtifactSource for RegistryArtifacts {
    async fn open(&self, artifact: &RunArtifact) -> Result<ByteStream, DriverError> {
        let request = DownloadArtifactRequest {
            name: artifact.name.clone(),
            offset: 0,
        };
        let name = artifact.name.clone();
        let failed = move |status: tonic::Status| as_driver_error(&name, status);
        let parts = self
            .registry
            .clone()
            .download_artifact(request)
            .await
            .map_err(&failed)?
            .into_inner();
        let chunks = parts.filter_map(move |part| {
            let chunk = match part {
                Ok(part) => match part.part {
                    Some(download_artifact_response::Part::Chunk(chunk)) => {
                        Some(Ok(Bytes::from(chunk)))
                    }
                    Some(download_artifact_response::Part::Artifact(_)) | None => None,
                },
                Err(status) => Some(Err(failed(status))),
            };
            std::future::ready(chunk)
        });
        Ok(Box::pin(chunks))
    }
}

/// Bytes that do not have their digest, and artifacts that are not there, do not get better by waiting.
fn as_driver_error(name: &str, status: tonic::Status) -> DriverError {
    let why = format!("cannot fetch {name}: {}", status.message());
    if status.code() == tonic::Code::DataLoss {
        return DriverError::failed(why);
    }
    match Error::from(status) {
        Error::NotFound { .. } | Error::Invalid(_) | Error::Precondition { .. } => {
            DriverError::failed(why)
        }
        _ => DriverError::unavailable(why),
    }
}
