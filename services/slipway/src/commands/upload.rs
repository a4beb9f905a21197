//! Uploads a file as an artifact, with a progress bar.
//!
//! The digest is taken first and sent ahead, so that the registry refuses bytes that are not those that
//! were meant; bytes that it has already are not sent again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::Stream;
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use slipway_platform::names::{ArtifactName, WorkspaceName};
use slipway_proto::registry::v1::upload_artifact_request::{Header, Part};
use slipway_proto::registry::v1::{Artifact, GetArtifactRequest, UploadArtifactRequest};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tonic::Code;

use crate::client::Clients;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress;

const CHUNK_BYTES: usize = 256 * 1024;

/// Uploads the file at `path` into `workspace`, unless its bytes are there.
pub async fn file(
    clients: &Clients,
    output: Output,
    workspace: &WorkspaceName,
    path: &Path,
) -> Result<Artifact, Failure> {
    let (digest, size) = measure(path)
        .await
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let mut registry = clients.registry.clone();
    let name =
        ArtifactName::new(workspace, &digest).map_err(|error| Failure::usage(error.to_string()))?;
    match registry
        .get_artifact(GetArtifactRequest {
            name: name.to_string(),
        })
        .await
    {
        Ok(known) => return Ok(known.into_inner()),
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    let title = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bar = progress::bytes(output, title, size);
    let header = Header {
        parent: workspace.to_string(),
        digest,
        size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
        media_type: media_type(path).to_owned(),
    };
    let broken = Arc::new(Mutex::new(None));
    let file = File::open(path)
        .await
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let uploaded = registry
        .upload_artifact(messages(header, file, bar.clone(), broken.clone()))
        .await;
    bar.finish_and_clear();
    // A file that cannot be read to its end is why the registry refuses what came of it.
    if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Failure::other(format!("read {}", path.display()), error));
    }
    Ok(uploaded?.into_inner())
}

async fn measure(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Ok((format!("sha256:{}", hex::encode(hash.finalize())), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

fn messages(
    header: Header,
    file: File,
    bar: ProgressBar,
    broken: Arc<Mutex<Option<std::io::Error>>>,
) -> impl Stream<Item = UploadArtifactRequest> + Send + 'static {
    let first = UploadArtifactRequest {
        part: Some(Part::Header(header)),
    };
    let chunks =
        futures::stream::unfold((file, bar, broken), |(mut file, bar, broken)| async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            match file.read(&mut chunk).await {
                Ok(0) => None,
                Ok(count) => {
                    chunk.truncate(count);
                    bar.inc(count as u64);
                    let message = UploadArtifactRequest {
                        part: Some(Part::Chunk(chunk)),
                    };
                    Some((message, (file, bar, broken)))
                }
                Err(error) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        });
    futures::StreamExt::chain(futures::stream::iter([first]), chunks)
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        Some("jsonl" | "ndjson") => "application/x-ndjson",
        Some("csv") => "text/csv",
        Some("yaml" | "yml") => "application/yaml",
        Some("tar") => "application/x-tar",
        Some("gz" | "tgz") => "application/gzip",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_cut_into_chunks_behind_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.json");
        let bytes: Vec<u8> = (0..CHUNK_BYTES * 2 + 10)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        std::fs::write(&path, &bytes).unwrap();
        let (digest, size) = measure(&path).await.unwrap();
        assert_eq!(size, bytes.len() as u64);
        assert_eq!(
            digest,
            format!("sha256:{}", hex::encode(Sha256::digest(&bytes)))
        );
        let file = File::open(&path).await.unwrap();
        let stream = messages(
            Header::default(),
            file,
            ProgressBar::hidden(),
            Arc::default(),
        );
        let parts: Vec<_> = stream.map(|message| message.part.unwrap()).collect().await;
        assert!(matches!(parts[0], Part::Header(_)));
        let sent: Vec<u8> = parts
            .iter()
            .skip(1)
            .flat_map(|part| match part {
                Part::Chunk(chunk) => chunk.to_vec(),
                Part::Header(_) => panic!("a second header"),
            })
            .collect();
        assert!(sent == bytes);
    }

    #[tokio::test]
    async fn a_directory_is_not_an_artifact() {
        assert!(measure(std::env::temp_dir().as_path()).await.is_err());
    }
}
