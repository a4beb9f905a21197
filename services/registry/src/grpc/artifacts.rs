//! RPCs of artifacts: streams of bytes.

use bytes::Bytes;
use futures::{StreamExt, stream};
use slipway_platform::{
    Error, Result, Violations,
    names::{self, ArtifactName, Digest, WorkspaceName},
};
use slipway_proto::registry::v1::{
    Artifact, DownloadArtifactRequest, DownloadArtifactResponse, GetArtifactRequest,
    UploadArtifactRequest, download_artifact_response, upload_artifact_request,
};
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Answers, parsed};
use crate::{
    domain::text,
    service::{DownloadError, Registry, UploadHeader},
    store,
};

const MEDIA_TYPE_MAX: usize = 255;

pub async fn upload(
    registry: &Registry,
    mut requests: Streaming<UploadArtifactRequest>,
) -> Result<Artifact> {
    use upload_artifact_request::Part;
    let header = match next(registry, &mut requests).await? {
        Some(Part::Header(header)) => parse_header(&header)?,
        Some(Part::Chunk(_)) | None => {
            return Err(Error::invalid(
                "header",
                "must come in the first message of an upload",
            ));
        }
    };
    let mut upload = registry.begin_upload(header).await?;
    while let Some(part) = next(registry, &mut requests).await? {
        match part {
            Part::Chunk(chunk) => upload.write(Bytes::from(chunk)).await?,
            Part::Header(_) => {
                return Err(Error::invalid(
                    "header",
                    "may come in the first message only",
                ));
            }
        }
    }
    Ok(to_proto(upload.finish().await?))
}

pub async fn get(registry: &Registry, request: GetArtifactRequest) -> Result<Artifact> {
    let mut violations = Violations::new();
    let name = names::parse::<ArtifactName>("name", &request.name, &mut violations);
    Ok(to_proto(
        registry.get_artifact(&parsed(violations, name)?).await?,
    ))
}

pub async fn download(
    registry: &Registry,
    request: DownloadArtifactRequest,
) -> Result<Answers<DownloadArtifactResponse>> {
    use download_artifact_response::Part;
    let mut violations = Violations::new();
    let name = names::parse::<ArtifactName>("name", &request.name, &mut violations);
    let offset = u64::try_from(request.offset).ok();
    violations.require(offset.is_some(), "offset", "must not be negative");
    let (name, offset) = parsed(violations, name.zip(offset))?;
    let download = registry.prepare_download(&name, offset).await?;
    let first = Part::Artifact(to_proto(download.artifact.clone()));
    let bytes = registry.download(download).map(|piece| match piece {
        Ok(bytes) => Ok(Part::Chunk(bytes.into())),
        Err(DownloadError::Corrupt(name)) => Err(data_loss(&name)),
        Err(DownloadError::Failed(error)) => Err(error.into()),
    });
    let parts = stream::iter([Ok(first)]).chain(bytes);
    Ok(Box::pin(parts.map(|part| {
        Ok(DownloadArtifactResponse { part: Some(part?) })
    })))
}

async fn next(
    registry: &Registry,
    requests: &mut Streaming<UploadArtifactRequest>,
) -> Result<Option<upload_artifact_request::Part>> {
    let idle = registry.upload_idle();
    let message = tokio::time::timeout(idle, requests.message())
        .await
        .map_err(|_| Error::DeadlineExceeded {
            what: format!("the upload was silent for {} s", idle.as_secs()),
        })?;
    match message? {
        None => Ok(None),
        Some(UploadArtifactRequest { part: Some(part) }) => Ok(Some(part)),
        Some(UploadArtifactRequest { part: None }) => Err(Error::invalid("part", "is required")),
    }
}

fn parse_header(header: &upload_artifact_request::Header) -> Result<UploadHeader> {
    let mut violations = Violations::new();
    let workspace = names::parse::<WorkspaceName>("header.parent", &header.parent, &mut violations);
    let digest = match header.digest.as_str() {
        "" => Some(None),
        digest => names::parse::<Digest>("header.digest", digest, &mut violations).map(Some),
    };
    let size = u64::try_from(header.size_bytes).ok();
    violations.require(size.is_some(), "header.size_bytes", "must not be negative");
    text::check(
        "header.media_type",
        &header.media_type,
        MEDIA_TYPE_MAX,
        &mut violations,
    );
    let (workspace, (digest, size)) = parsed(violations, workspace.zip(digest.zip(size)))?;
    Ok(UploadHeader {
        workspace,
        digest,
        size_bytes: Some(size).filter(|size| *size > 0),
        media_type: header.media_type.clone(),
    })
}

fn to_proto(artifact: store::artifacts::Artifact) -> Artifact {
    Artifact {
        name: artifact.name.to_string(),
        digest: artifact.name.id().to_owned(),
        size_bytes: artifact.size_bytes,
        media_type: artifact.media_type,
        create_time: Some(artifact.created_at.to_proto()),
    }
}

fn data_loss(name: &ArtifactName) -> Status {
    let description = "the stored bytes do not match the digest; upload the artifact again";
    let mut details = ErrorDetails::new();
    details
        .set_error_info(
            "ARTIFACT_CORRUPT",
            slipway_platform::error::DOMAIN,
            [("artifact".to_owned(), name.to_string())],
        )
        .set_resource_info("artifact", name.to_string(), "", description);
    Status::with_error_details(Code::DataLoss, description, details)
}
