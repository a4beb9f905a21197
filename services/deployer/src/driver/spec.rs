//! What a revision asks of its driver. All of it is part of the revision, and never changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::names::RevisionName;

/// A revision with everything that is needed to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRun {
    /// Which revision.
    pub revision: RevisionName,
    /// How it runs.
    pub spec: RunSpec,
    /// The bytes that it runs, by role.
    pub artifacts: Vec<RunArtifact>,
}

/// An artifact that a revision runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunArtifact {
    /// What it is for: `model`, `code`, ….
    pub role: String,
    /// `workspaces/{workspace}/artifacts/sha256:{64 hex}`.
    pub name: String,
    /// `sha256:{64 hex}`; what is run has this digest.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
    /// The file name that it takes in `MODEL_DIR`; the role when empty.
    #[serde(default)]
    pub file_name: String,
}

impl RunArtifact {
    /// The file name in `MODEL_DIR`.
    pub fn file_name(&self) -> &str {
        if self.file_name.is_empty() {
            &self.role
        } else {
            &self.file_name
        }
    }
}

/// How a revision runs, and by which driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunSpec {
    /// Somebody else runs it.
    External(ExternalSpec),
    /// Local processes run it.
    Process(ProcessSpec),
}

/// A revision that runs by itself somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalSpec {
    /// Where.
    pub addresses: Vec<SocketAddr>,
    /// Path that answers 2xx when ready; empty: a connection is enough.
    pub health_path: String,
    /// How long `provision` waits for it.
    pub ready_within: Duration,
}

/// A revision that is one or more local processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments. `{port}`, `{model_dir}`, `{model}` (the file of the role `model`; so for every
    /// role) and `{revision}` are replaced. A program with a slash is relative to the deployer's folder.
    pub command: Vec<String>,
    /// Environment. A value `env:NAME` or `file:PATH` is a secret reference, resolved at each start.
    pub env: BTreeMap<String, String>,
    /// Path that answers 2xx when ready; empty: a connection is enough.
    pub health_path: String,
    /// How long a start may take, from the process's start until it is ready.
    pub ready_within: Duration,
    /// Number of processes, at least 1.
    pub instances: u32,
}
