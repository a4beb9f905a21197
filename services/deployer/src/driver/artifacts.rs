//! The content-addressed cache: `sha256/{2 hex}/{64 hex}` below its folder, each file exactly the bytes of
//! its name. A file appears whole or not at all; it is verified when it is fetched, and again each time
//! that a revision begins to use it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{DriverError, RunArtifact};

/// A source that sends nothing for this long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Nobody writes to what is in the cache.
const READ_ONLY: u32 = 0o444;

/// An artifact's bytes, in order.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, DriverError>> + Send>>;

/// Where artifacts come from.
#[async_trait]
pub trait ArtifactSource: Send + Sync {
    /// The bytes of this artifact. They are verified by whoever reads them.
    async fn open(&self, artifact: &RunArtifact) -> Result<ByteStream, DriverError>;
}

/// See the module.
pub struct ArtifactCache {
    dir: PathBuf,
    source: Arc<dyn ArtifactSource>,
    fetching: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// What was verified, with the file's time at that moment.
    verified: Mutex<HashMap<String, SystemTime>>,
}

impl ArtifactCache {
    /// A cache in this folder, which is made when it is first used.
    pub fn new(dir: PathBuf, source: Arc<dyn ArtifactSource>) -> Self {
        Self {
            dir,
            source,
            fetching: Mutex::default(),
            verified: Mutex::default(),
        }
    }

    /// The file with the artifact's bytes, fetched if it is not there. Fetched once when several ask at a
    /// time.
    pub async fn fetch(&self, artifact: &RunArtifact) -> Result<PathBuf, DriverError> {
        let hex = parse_digest(&artifact.digest)?;
        let turn = self.turn(hex);
        let _mine = turn.lock().await;
        let path = self.dir.join("sha256").join(&hex[..2]).join(hex);
        if self.is_there(&path, hex, artifact.size).await? {
            return Ok(path);
        }
        self.download(artifact, hex, &path).await?;
        Ok(path)
    }

    /// The lock of this digest, shared by all who fetch it.
    fn turn(&self, hex: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        fetching.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = fetching.get(hex).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        fetching.insert(hex.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// Whether the file is there and has its bytes. One that has others is removed.
    async fn is_there(&self, path: &Path, hex: &str, size: u64) -> Result<bool, DriverError> {
        let Ok(metadata) = tokio::fs::metadata(path).await else {
            return Ok(false);
        };
        let modified = metadata
            .modified()
            .map_err(io("cannot read the artifact cache"))?;
        let known = self
            .verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(hex)
            == Some(&modified);
        if known && metadata.len() == size {
            return Ok(true);
        }
        let found = hash_file(path.to_owned())
            .await
            .map_err(io("cannot read the artifact cache"))?;
        if found == hex && metadata.len() == size {
            self.verified
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(hex.to_owned(), modified);
            return Ok(true);
        }
        tracing::error!(path = %path.display(), "cached artifact does not have its digest: it is fetched again");
        tokio::fs::remove_file(path)
            .await
            .map_err(io("cannot remove a broken artifact from the cache"))?;
        Ok(false)
    }

    async fn download(
        &self,
        artifact: &RunArtifact,
        hex: &str,
        path: &Path,
    ) -> Result<(), DriverError> {
        let folder = path.parent().unwrap_or(&self.dir);
        let temporary = Temporary(self.dir.join(format!("partial-{}", Uuid::now_v7())));
        let failed = io("cannot write to the artifact cache");
        tokio::fs::create_dir_all(folder).await.map_err(&failed)?;
        let mut file = tokio::fs::File::create_new(&temporary.0)
            .await
            .map_err(&failed)?;
        let mut bytes = timely(self.source.open(artifact)).await??;
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        while let Some(chunk) = timely(bytes.next()).await? {
            let chunk = chunk?;
            size += chunk.len() as u64;
            if size > artifact.size {
                break;
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(&failed)?;
        }
        let found = hex::encode(hash.finalize());
        if size != artifact.size || found != hex {
            let (name, wanted) = (&artifact.name, artifact.size);
            return Err(DriverError::failed(format!(
                "{name} does not match: got {size} of {wanted} bytes with sha256:{found}"
            )));
        }
        file.flush().await.map_err(&failed)?;
        file.sync_all().await.map_err(&failed)?;
        let metadata = file.metadata().await.map_err(&failed)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(READ_ONLY))
            .await
            .map_err(&failed)?;
        drop(file);
        tokio::fs::rename(&temporary.0, path)
            .await
            .map_err(&failed)?;
        sync_dir(folder.to_owned()).await.map_err(&failed)?;
        if let Ok(modified) = metadata.modified() {
            self.verified
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(hex.to_owned(), modified);
        }
        Ok(())
    }
}

/// A file that is gone unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The 64 hexadecimal digits of `sha256:…`.
fn parse_digest(digest: &str) -> Result<&str, DriverError> {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.chars().all(is_hex) => Ok(hex),
        _ => Err(DriverError::failed(format!(
            "{digest:?} is not a sha256 digest"
        ))),
    }
}

async fn timely<T>(wait: impl Future<Output = T>) -> Result<T, DriverError> {
    let timely = tokio::time::timeout(IDLE_TIMEOUT, wait).await;
    timely.map_err(|_| {
        DriverError::unavailable(format!(
            "the registry was silent for {} s",
            IDLE_TIMEOUT.as_secs()
        ))
    })
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> DriverError {
    move |error| DriverError::unavailable(format!("{what}: {error}"))
}

async fn hash_file(path: PathBuf) -> std::io::Result<String> {
    let hash = move || {
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(path)?;
        let mut buffer = vec![0; 1024 * 1024];
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => break Ok(hex::encode(hash.finalize())),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    tokio::task::spawn_blocking(hash).await?
}

/// Makes a rename in this folder survive a power cut.
pub(super) async fn sync_dir(dir: PathBuf) -> std::io::Result<()> {
    tokio::task::spawn_blocking(move || std::fs::File::open(dir)?.sync_all()).await?
}
