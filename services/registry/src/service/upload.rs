//! Uploading an artifact: staged, hashed while it arrives, and published only when it is whole and right.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use slipway_platform::{
    Error, Result,
    names::{ArtifactName, Digest, WorkspaceName},
};
use tokio::sync::OwnedSemaphorePermit;

use super::Registry;
use crate::metrics;
use crate::store::{self, artifacts::Artifact, blobs::Staged};

/// Largest piece of an upload or download.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// What the first message of an upload says.
#[derive(Debug, Clone)]
pub struct UploadHeader {
    /// Where it belongs.
    pub workspace: WorkspaceName,
    /// The digest that the bytes must have.
    pub digest: Option<Digest>,
    /// The size that the bytes must have.
    pub size_bytes: Option<u64>,
    /// What the bytes are.
    pub media_type: String,
}

/// An upload under way. Dropped before [`Upload::finish`], it leaves nothing.
pub struct Upload {
    registry: Registry,
    header: UploadHeader,
    staged: Staged,
    hash: Sha256,
    received: u64,
    _permit: OwnedSemaphorePermit,
}

impl Registry {
    /// Begins an upload; `Exhausted` when too many are under way.
    pub async fn begin_upload(&self, header: UploadHeader) -> Result<Upload> {
        let permit = Registry::place(&self.uploads, self.limits.uploads_max, "uploads")?;
        check_limit(
            header.size_bytes.unwrap_or(0),
            self.limits.artifact_bytes_max,
            "header.size_bytes",
        )?;
        Ok(Upload {
            registry: self.clone(),
            header,
            staged: self.blobs.stage().await?,
            hash: Sha256::new(),
            received: 0,
            _permit: permit,
        })
    }

    /// How long an upload may be silent.
    pub fn upload_idle(&self) -> std::time::Duration {
        self.limits.upload_idle()
    }

    /// Reads what is known of an artifact.
    pub async fn get_artifact(&self, name: &ArtifactName) -> Result<Artifact> {
        store::artifacts::get(&mut *self.db.read().await?, name).await
    }
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            let why = format!(
                "has {} bytes; 1 to {CHUNK_BYTES_MAX} are allowed in one message",
                chunk.len()
            );
            return Err(Error::invalid("chunk", why));
        }
        self.received += chunk.len() as u64;
        if let Some(size) = self.header.size_bytes
            && self.received > size
        {
            return Err(Error::invalid(
                "header.size_bytes",
                format!("says {size}, but more bytes came"),
            ));
        }
        check_limit(
            self.received,
            self.registry.limits.artifact_bytes_max,
            "chunk",
        )?;
        self.hash.update(&chunk);
        self.staged.write(chunk).await
    }

    /// Verifies what came against the header, and publishes it.
    pub async fn finish(self) -> Result<Artifact> {
        let Upload {
            registry,
            header,
            staged,
            hash,
            received,
            _permit,
        } = self;
        let digest = Digest::from_sha256(&hash.finalize().into());
        if let Err(error) = verify(&header, received, &digest) {
            staged.discard().await?;
            return Err(error);
        }
        let artifact = Artifact {
            name: ArtifactName::from_parts(&header.workspace, digest),
            size_bytes: i64::try_from(received).map_err(|e| Error::internal("artifact size", e))?,
            media_type: header.media_type,
            created_at: registry.now(),
        };
        // Bytes first: a row always has its bytes, and bytes without a row are found by nobody.
        staged.publish(&artifact.name).await?;
        let mut tx = registry.db.begin_for(&artifact.name.to_string()).await?;
        let stored = store::artifacts::insert(&mut tx, &artifact).await?;
        tx.commit().await?;
        metrics::uploaded(received);
        tracing::info!(artifact = %stored.name, size_bytes = stored.size_bytes, "artifact uploaded");
        Ok(stored)
    }
}

fn verify(header: &UploadHeader, received: u64, digest: &Digest) -> Result<()> {
    if let Some(size) = header.size_bytes
        && size != received
    {
        return Err(Error::invalid(
            "header.size_bytes",
            format!("says {size}, but {received} bytes came"),
        ));
    }
    match &header.digest {
        Some(expected) if expected != digest => Err(Error::invalid(
            "header.digest",
            format!("says {expected}, but the bytes have {digest}"),
        )),
        _ => Ok(()),
    }
}

fn check_limit(size: u64, size_max: u64, field: &str) -> Result<()> {
    if size > size_max {
        return Err(Error::invalid(
            field,
            format!("the artifact is larger than {size_max} bytes, the limit"),
        ));
    }
    Ok(())
}
