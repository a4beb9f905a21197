//! Downloading an artifact: read piece by piece, and verified while it is read.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest as _, Sha256};
use slipway_platform::{
    Error, Result,
    names::{ArtifactName, Digest},
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Registry, upload::CHUNK_BYTES_MAX};
use crate::metrics;
use crate::store::{artifacts::Artifact, blobs::ReadError};

/// Pieces that are read ahead of the client.
const READ_AHEAD: usize = 2;

/// Why a download ends early.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The stored bytes are not those that were uploaded; uploading them again repairs it.
    #[error("the stored bytes of {0} do not match its digest; upload them again")]
    Corrupt(ArtifactName),
    /// The artifact store did not answer.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A download that can begin; it holds its place among those under way.
#[derive(Debug)]
pub struct Download {
    /// What is downloaded.
    pub artifact: Artifact,
    offset: u64,
    permit: OwnedSemaphorePermit,
}

impl Registry {
    /// Prepares a download from `offset` on; `Exhausted` when too many are under way.
    pub async fn prepare_download(&self, name: &ArtifactName, offset: u64) -> Result<Download> {
        let artifact = self.get_artifact(name).await?;
        if offset > size(&artifact) {
            return Err(Error::invalid(
                "offset",
                format!("is beyond the end, {} bytes", artifact.size_bytes),
            ));
        }
        let permit = Registry::place(&self.downloads, self.limits.downloads_max, "downloads")?;
        Ok(Download {
            artifact,
            offset,
            permit,
        })
    }

    /// The bytes of a download. When it begins at 0 the digest is verified, and the last piece is held
    /// back until it is: nobody gets all of an artifact that is not what it should be.
    pub fn download(
        &self,
        download: Download,
    ) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send + use<> {
        let blobs = self.blobs.clone();
        async_stream::try_stream! {
            let Download { artifact, offset, permit: _permit } = download;
            let (name, size) = (artifact.name.clone(), size(&artifact));
            blobs.check_size(&name, size).await.map_err(|e| failed(&name, e))?;
            let mut hash = (offset == 0).then(Sha256::new);
            if let Some(hash) = &hash && size == 0 {
                verify(&name, hash)?;
            }
            let mut pieces = std::pin::pin!(
                stream::iter(ranges(offset, size))
                    .map(|range| {
                        let (blobs, name) = (blobs.clone(), name.clone());
                        let last = range.end == size;
                        async move { blobs.read(&name, range).await.map(|bytes| (bytes, last)) }
                    })
                    .buffered(READ_AHEAD)
            );
            while let Some(piece) = pieces.next().await {
                let (bytes, last) = piece.map_err(|e| failed(&name, e))?;
                if let Some(hash) = &mut hash {
                    hash.update(&bytes);
                    if last {
                        verify(&name, hash)?;
                    }
                }
                metrics::downloaded(bytes.len() as u64);
                yield bytes;
            }
        }
    }
}

fn ranges(offset: u64, size: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let step = CHUNK_BYTES_MAX as u64;
    (offset..size)
        .step_by(CHUNK_BYTES_MAX)
        .map(move |start| start..(start + step).min(size))
}

fn size(artifact: &Artifact) -> u64 {
    u64::try_from(artifact.size_bytes).unwrap_or(0)
}

fn verify(name: &ArtifactName, hash: &Sha256) -> Result<(), DownloadError> {
    let digest = Digest::from_sha256(&hash.clone().finalize().into());
    if digest.as_str() == name.id() {
        Ok(())
    } else {
        Err(corrupt(name))
    }
}

fn failed(name: &ArtifactName, error: ReadError) -> DownloadError {
    match error {
        ReadError::Lost => corrupt(name),
        ReadError::Store(e) => Error::unavailable(format!("artifact store: {e}")).into(),
    }
}

fn corrupt(name: &ArtifactName) -> DownloadError {
    tracing::error!(artifact = %name, "stored artifact is corrupt or gone");
    DownloadError::Corrupt(name.clone())
}
