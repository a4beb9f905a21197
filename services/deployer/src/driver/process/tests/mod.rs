//! The driver with real processes. What it starts is this test binary itself, which runs one test of
//! [`helper`] and serves HTTP there.

mod helper;
mod lasting;
mod starting;
mod stopping;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use slipway_platform::names::RevisionName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{
    ArtifactSource, ByteStream, DriverError, ProcessSpec, RevisionRun, RunArtifact, RunSpec,
};
use super::{ProcessConfig, ProcessDriver};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);

/// Artifacts in memory, which counts how often each was asked for.
#[derive(Default)]
pub(crate) struct Shelf {
    bytes: Mutex<HashMap<String, Vec<u8>>>,
    pub opened: AtomicUsize,
}

#[async_trait]
impl ArtifactSource for Shelf {
    async fn open(&self, artifact: &RunArtifact) -> Result<ByteStream, DriverError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let found = self.bytes.lock().unwrap().get(&artifact.digest).cloned();
        let bytes = found.ok_or_else(|| DriverError::failed("no such artifact"))?;
        let chunks: Vec<_> = bytes
            .chunks(7)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect();
        Ok(Box::pin(futures::stream::iter(chunks)))
    }
}

impl Shelf {
    /// Puts these bytes under the digest of others, if `claimed` differs.
    pub fn put(&self, claimed: &[u8], bytes: &[u8]) -> RunArtifact {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(claimed)));
        self.bytes
            .lock()
            .unwrap()
            .insert(digest.clone(), bytes.to_vec());
        RunArtifact {
            role: "model".to_owned(),
            name: format!("workspaces/dev/artifacts/{digest}"),
            digest,
            size: claimed.len() as u64,
            file_name: "model.bin".to_owned(),
        }
    }
}

/// A node with a data folder, on which drivers come and go.
struct Node {
    dir: TempDir,
    shelf: Arc<Shelf>,
    config: ProcessConfig,
}

impl Node {
    fn new() -> Node {
        Node {
            dir: tempfile::tempdir().unwrap(),
            shelf: Arc::default(),
            config: ProcessConfig::default(),
        }
    }

    fn driver(&self) -> ProcessDriver {
        ProcessDriver::new(
            self.config.clone(),
            self.dir.path().to_owned(),
            self.shelf.clone(),
        )
    }

    /// A revision that runs the helper in this mode.
    fn run(&self, mode: &str) -> RevisionRun {
        let helper = std::env::current_exe()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let command = [
            &helper,
            "driver::process::tests::helper::serves_when_asked",
            "--exact",
            "--nocapture",
        ];
        RevisionRun {
            revision: revision(),
            spec: RunSpec::Process(ProcessSpec {
                command: command.map(str::to_owned).to_vec(),
                env: BTreeMap::from([(helper::MODE.to_owned(), mode.to_owned())]),
                health_path: "/ready".to_owned(),
                ready_within: PATIENCE,
                instances: 1,
            }),
            artifacts: vec![self.shelf.put(b"the weights", b"the weights")],
        }
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.dir.path().join(below)
    }
}

impl Drop for Node {
    /// A process outlives its driver, and must not outlive a test that failed.
    fn drop(&mut self) {
        for record in super::record::Records::new(self.path("instances")).all() {
            super::identity::kill_all(&record.token, None);
        }
    }
}

fn revision() -> RevisionName {
    "environments/production/endpoints/tumor/revisions/tumor-00001"
        .parse()
        .unwrap()
}

fn spec(run: &mut RevisionRun) -> &mut ProcessSpec {
    match &mut run.spec {
        RunSpec::Process(spec) => spec,
        RunSpec::External(_) => panic!("not a process"),
    }
}

fn pid(driver: &ProcessDriver) -> i32 {
    driver
        .shared
        .records
        .read(&revision(), 0)
        .unwrap()
        .identity
        .unwrap()
        .pid
}

fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The body of the answer to `GET path`.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    // A process that crashes on purpose resets the connection.
    let _ = tcp.read_to_string(&mut answer).await;
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come about"));
}

/// The files below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let below = entries.flatten().flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    below.collect()
}
