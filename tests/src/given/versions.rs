//! Versions of the story's model: trained on real data, uploaded and registered.

use anyhow::{Context, Result};
use slipway_examples::dataset::Dataset;
use slipway_examples::predictions;
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1 as registry;
use slipway_proto::registry::v1::upload_artifact_request::{Header, Part};
use tonic::Status;

use super::{MODEL, WORKSPACE};
use crate::Clients;

/// Bytes in one message of an upload.
const CHUNK_BYTES: usize = 64 * 1024;

/// What training leaves behind.
#[derive(Debug, Clone)]
pub struct Files {
    /// The model.
    pub model: Vec<u8>,
    /// Its predictions for rows that training did not see.
    pub predictions: Vec<u8>,
}

/// Trains by a recipe.
pub async fn trained(recipe: Recipe) -> Result<Files> {
    tokio::task::spawn_blocking(move || {
        let dataset = Dataset::wisconsin();
        let split = predictions::standard_split(&dataset);
        let model = recipe.train(&split.training);
        let median = predictions::median_radius(&dataset);
        let predictions = predictions::to_csv(&model, &split.held_out, median)?;
        Ok(Files {
            model: model.to_json(),
            predictions,
        })
    })
    .await?
}

/// Uploads both files and registers the next version.
pub async fn register(clients: &Clients, files: Files) -> Result<registry::Version> {
    let model = upload(clients, files.model, "")
        .await
        .context("uploading the model")?;
    let predictions = upload(clients, files.predictions, "")
        .await
        .context("uploading the predictions")?;
    let artifact = |role: &str, artifact: registry::Artifact, file_name: &str| ArtifactRef {
        role: role.to_owned(),
        artifact: artifact.name,
        file_name: file_name.to_owned(),
        ..Default::default()
    };
    let version = registry::Version {
        artifacts: vec![
            artifact("model", model, "model.json"),
            artifact("predictions", predictions, "predictions.csv"),
        ],
        ..Default::default()
    };
    let request = registry::CreateVersionRequest {
        parent: MODEL.to_owned(),
        version: Some(version),
        ..Default::default()
    };
    let created = clients
        .registry
        .clone()
        .create_version(request)
        .await
        .context("registering a version")?;
    Ok(created.into_inner())
}

/// Uploads bytes; `digest`, unless it is empty, is what they are claimed to have.
pub async fn upload(
    clients: &Clients,
    bytes: Vec<u8>,
    digest: &str,
) -> Result<registry::Artifact, Status> {
    let header = Header {
        parent: WORKSPACE.to_owned(),
        digest: digest.to_owned(),
        size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        ..Default::default()
    };
    let chunks: Vec<_> = bytes
        .chunks(CHUNK_BYTES)
        .map(|chunk| Part::Chunk(chunk.to_vec()))
        .collect();
    let parts = std::iter::once(Part::Header(header)).chain(chunks);
    let messages: Vec<_> = parts
        .map(|part| registry::UploadArtifactRequest { part: Some(part) })
        .collect();
    let uploaded = clients
        .registry
        .clone()
        .upload_artifact(tokio_stream::iter(messages))
        .await?;
    Ok(uploaded.into_inner())
}
