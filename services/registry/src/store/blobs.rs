//! The artifact store: bytes by digest, in an [`object_store`].
//!
//! An object is written under a staging name and renamed to its digest once it is whole and verified, so
//! a reader sees all of it or none. Staged objects that a crash left behind are deleted at a later start: at
//! once where the folder belongs to one process, and once they are a day old where replicas share it.
//!
//! Layout: `objects/{workspace}/{first two digits}/{64 hex digits}`, `staging/{uuid}`.

use std::{ops::Range, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::{
    ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem, path::Path,
};
use slipway_platform::{Error, Result, names::ArtifactName};
use uuid::Uuid;

/// Bytes handed to the store at a time; S3-compatible stores take no smaller parts.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Parts on their way to the store per upload; together with the part size the memory of one upload.
const PARTS_IN_FLIGHT: usize = 2;

/// How long a staged object may lie in a folder that replicas share; no upload takes that long.
const STAGED_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object is missing, or not as long as it was when it was stored.
    #[error("the stored bytes are gone or cut short")]
    Lost,
    /// The store did not answer.
    #[error("the artifact store failed")]
    Store(#[source] object_store::Error),
}

/// Where artifacts are kept; cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
}

impl Blobs {
    /// Keeps artifacts in a local folder, which is created. `shared`: other processes may be writing to it too.
    pub async fn open(folder: &FilePath, shared: bool) -> Result<Self> {
        let at = |e: &dyn std::fmt::Display| {
            Error::unavailable(format!("artifact store {}: {e}", folder.display()))
        };
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(|e| at(&e))?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|e| at(&e))?
            .with_fsync(true);
        let blobs = Self {
            store: Arc::new(store),
        };
        let kept = if shared { STAGED_KEPT } else { Duration::ZERO };
        let staging = folder.join("staging");
        tokio::task::spawn_blocking(move || remove_left_behind(&staging, kept))
            .await
            .map_err(|e| Error::internal("clear the staging folder", e))?
            .map_err(|e| at(&e))?;
        Ok(blobs)
    }

    /// Begins to write an object under a staging name.
    pub async fn stage(&self) -> Result<Staged> {
        let path = Path::from_iter(["staging", &Uuid::now_v7().to_string()]);
        let upload = self.store.put_multipart(&path).await.map_err(failed)?;
        let write = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        Ok(Staged {
            blobs: self.clone(),
            path,
            write: Some(write),
            complete: false,
        })
    }

    /// Fails with `Lost` unless the artifact is there with `size` bytes.
    pub async fn check_size(&self, name: &ArtifactName, size: u64) -> Result<(), ReadError> {
        let meta = self.store.head(&object(name)).await.map_err(unreadable)?;
        if meta.size == size {
            Ok(())
        } else {
            Err(ReadError::Lost)
        }
    }

    /// Reads exactly `range` of an artifact.
    pub async fn read(&self, name: &ArtifactName, range: Range<u64>) -> Result<Bytes, ReadError> {
        let wanted = range.end - range.start;
        let bytes = self
            .store
            .get_range(&object(name), range)
            .await
            .map_err(unreadable)?;
        if bytes.len() as u64 == wanted {
            Ok(bytes)
        } else {
            Err(ReadError::Lost)
        }
    }
}

/// An object on its way in. Dropped before it is published, it is deleted.
#[derive(Debug)]
pub struct Staged {
    blobs: Blobs,
    path: Path,
    write: Option<WriteMultipart>,
    complete: bool,
}

impl Staged {
    /// Appends bytes; waits while too many are on their way.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let write = self
            .write
            .as_mut()
            .expect("bytes are written before the object is completed");
        write
            .wait_for_capacity(PARTS_IN_FLIGHT)
            .await
            .map_err(failed)?;
        write.put(bytes);
        Ok(())
    }

    /// Makes the object durable and visible under its digest. Doing so again for the same digest replaces
    /// it by the same bytes.
    pub async fn publish(mut self, name: &ArtifactName) -> Result<()> {
        let write = self.write.take().expect("an object is published once");
        write.finish().await.map_err(failed)?;
        self.complete = true;
        self.blobs
            .store
            .rename(&self.path, &object(name))
            .await
            .map_err(failed)?;
        self.complete = false;
        Ok(())
    }

    /// Deletes what was written so far.
    pub async fn discard(mut self) -> Result<()> {
        match self.write.take() {
            Some(write) => write.abort().await.map_err(failed),
            None => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.complete
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, path) = (self.blobs.store.clone(), self.path.clone());
            runtime.spawn(async move {
                let deleted = store.delete(&path).await;
                if let Err(error) = deleted
                    && !matches!(error, object_store::Error::NotFound { .. })
                {
                    tracing::warn!(%error, %path, "staged artifact not deleted; the next start does it");
                }
            });
        }
    }
}

/// Deletes what has lain in `staging` for longer than `kept`. What a crash cut off can lie under a temporary
/// name that the store does not list, so the folder itself is read.
fn remove_left_behind(staging: &FilePath, kept: Duration) -> std::io::Result<()> {
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(staging) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        // Another replica may be deleting the same file.
        let removed = match entry.metadata().and_then(|meta| meta.modified()) {
            Ok(modified) if modified.elapsed().is_ok_and(|age| age >= kept) => {
                std::fs::remove_file(entry.path())
            }
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        };
        removed.or_else(|e| if gone(&e) { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

fn object(name: &ArtifactName) -> Path {
    let hex = name.id().trim_start_matches("sha256:");
    Path::from_iter(["objects", name.workspace().id(), &hex[..2], hex])
}

fn unreadable(error: object_store::Error) -> ReadError {
    match error {
        object_store::Error::NotFound { .. } => ReadError::Lost,
        other => ReadError::Store(other),
    }
}

fn failed(error: object_store::Error) -> Error {
    Error::unavailable(format!("artifact store: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_leaves_the_uploads_of_other_replicas_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Blobs::open(folder.path(), true).await.unwrap();
        let mut upload = first.stage().await.unwrap();
        upload.write(Bytes::from_static(b"half")).await.unwrap();
        let staged =
            || std::fs::read_dir(folder.path().join("staging")).map_or(0, |dir| dir.count());
        let before = staged();
        assert!(before > 0);
        Blobs::open(folder.path(), true).await.unwrap();
        assert_eq!(staged(), before);
        // Alone, it is what a crash has left.
        Blobs::open(folder.path(), false).await.unwrap();
        assert_eq!(staged(), 0);
    }
}
