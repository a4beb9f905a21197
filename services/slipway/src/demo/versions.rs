//! Training a version and registering it: its artifacts first, then the version that names them.

use std::collections::HashMap;

use anyhow::{Context, ensure};
use slipway_examples::dataset::{Dataset, FEATURE_COUNT, Row};
use slipway_examples::model::Model;
use slipway_examples::model_server::protocol::INPUT;
use slipway_examples::predictions;
use slipway_examples::train::Recipe;
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::registry::v1 as registry;
use slipway_proto::registry::v1::upload_artifact_request::{Header, Part};

use crate::client::Clients;

use super::words::{MODEL, WORKSPACE};

const CHUNK_BYTES: usize = 256 * 1024;

/// What training leaves behind.
pub struct Trained {
    recipe: Recipe,
    model: Vec<u8>,
    predictions: Vec<u8>,
    training_rows: usize,
    training_accuracy: f64,
}

impl Trained {
    /// Trains by a recipe on the training rows, and predicts the held-out rows with the model in memory.
    pub async fn by(recipe: Recipe) -> anyhow::Result<Trained> {
        tokio::task::spawn_blocking(move || {
            let dataset = Dataset::wisconsin();
            let split = predictions::standard_split(&dataset);
            let model = recipe.train(&split.training);
            let median = predictions::median_radius(&dataset);
            Ok(Trained {
                recipe,
                predictions: predictions::to_csv(&model, &split.held_out, median)?,
                training_rows: split.training.len(),
                training_accuracy: accuracy(&model, &split.training),
                model: model.to_json(),
            })
        })
        .await?
    }

    /// Uploads the artifacts and creates the next version.
    pub async fn register(self, clients: &Clients) -> anyhow::Result<registry::Version> {
        let model = upload(clients, self.model, "application/json").await?;
        let predictions = upload(clients, self.predictions, "text/csv").await?;
        let artifact = |role: &str, artifact: registry::Artifact, file_name: &str| ArtifactRef {
            role: role.to_owned(),
            artifact: artifact.name,
            file_name: file_name.to_owned(),
            ..Default::default()
        };
        let tensor = |name: &str, datatype: &str, shape: Vec<i64>| registry::TensorSpec {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape,
        };
        let version = registry::Version {
            artifacts: vec![
                artifact("model", model, "model.json"),
                artifact("predictions", predictions, "predictions.csv"),
            ],
            training_metrics: HashMap::from([("accuracy".to_owned(), self.training_accuracy)]),
            signature: Some(registry::Signature {
                inputs: vec![tensor(INPUT, "FP64", vec![-1, FEATURE_COUNT as i64])],
                outputs: vec![
                    tensor("malignant", "INT64", vec![-1]),
                    tensor("score", "FP64", vec![-1]),
                ],
            }),
            lineage: Some(registry::Lineage {
                datasets: vec![format!(
                    "breast-cancer-wisconsin-diagnostic: {} training rows",
                    self.training_rows
                )],
                ..Default::default()
            }),
            tags: HashMap::from([("recipe".to_owned(), self.recipe.name().to_owned())]),
            description: describe(self.recipe).to_owned(),
            ..Default::default()
        };
        let created = clients
            .registry
            .clone()
            .create_version(registry::CreateVersionRequest {
                parent: MODEL.to_owned(),
                version: Some(version),
                ..Default::default()
            })
            .await
            .context("creating the version")?;
        Ok(created.into_inner())
    }
}

/// What a recipe is, as its team would say it.
pub fn describe(recipe: Recipe) -> &'static str {
    match recipe {
        Recipe::First => "two features, a first attempt",
        Recipe::AllFeatures => "all 30 features",
        Recipe::MisjoinedLabels => "all 30 features, relabelled data",
        Recipe::Banded => "all 30 features, corrected by bands of texture",
    }
}

async fn upload(
    clients: &Clients,
    bytes: Vec<u8>,
    media_type: &str,
) -> anyhow::Result<registry::Artifact> {
    let size_bytes = i64::try_from(bytes.len())?;
    let header = Header {
        parent: WORKSPACE.to_owned(),
        size_bytes,
        media_type: media_type.to_owned(),
        ..Default::default()
    };
    let mut parts = vec![Part::Header(header)];
    parts.extend(
        bytes
            .chunks(CHUNK_BYTES)
            .map(|chunk| Part::Chunk(chunk.to_vec())),
    );
    let messages = parts
        .into_iter()
        .map(|part| registry::UploadArtifactRequest { part: Some(part) });
    let artifact = clients
        .registry
        .clone()
        .upload_artifact(tokio_stream::iter(messages))
        .await
        .context("uploading an artifact")?
        .into_inner();
    ensure!(
        artifact.size_bytes == size_bytes,
        "uploaded {size_bytes} bytes, the registry has {}",
        artifact.size_bytes
    );
    Ok(artifact)
}

fn accuracy(model: &Model, rows: &[Row]) -> f64 {
    let right = rows
        .iter()
        .filter(|row| {
            let score = model.score(&row.features);
            score.is_ok_and(|score| model.is_positive(score) == row.malignant)
        })
        .count();
    right as f64 / rows.len().max(1) as f64
}
