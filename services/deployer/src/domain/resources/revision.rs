//! A revision: an immutable snapshot of what an endpoint runs, and where it is in its life.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use slipway_platform::names::VersionName;

use super::endpoint::RunTemplate;

/// What never changes of a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionFacts {
    /// The version that it runs.
    pub version: VersionName,
    /// The version's digest.
    pub version_digest: String,
    /// The artifacts that it runs.
    pub artifacts: Vec<Artifact>,
    /// How it runs.
    pub run: RunTemplate,
    /// Digest over version digest and run specification.
    pub digest: String,
    /// Metrics that training reported.
    pub training_metrics: BTreeMap<String, f64>,
    /// Whether what runs is known to have these digests.
    pub digest_verified: bool,
}

/// One artifact of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it is for.
    pub role: String,
    /// `workspaces/{workspace}/artifacts/sha256:{64 hex}`.
    pub name: String,
    /// `sha256:{64 hex}`.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// The file name that it takes; the role when empty.
    pub file_name: String,
}

/// Where a revision is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionState {
    /// Made, not yet running.
    Created,
    /// Being started.
    Provisioning,
    /// Running and ready.
    Ready,
    /// Losing its last connections.
    Draining,
    /// Not running.
    Stopped,
    /// Could not be started, or died.
    Failed,
}

impl RevisionState {
    const ALL: [RevisionState; 6] = [
        RevisionState::Created,
        RevisionState::Provisioning,
        RevisionState::Ready,
        RevisionState::Draining,
        RevisionState::Stopped,
        RevisionState::Failed,
    ];

    /// As events, APIs and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            RevisionState::Created => "CREATED",
            RevisionState::Provisioning => "PROVISIONING",
            RevisionState::Ready => "READY",
            RevisionState::Draining => "DRAINING",
            RevisionState::Stopped => "STOPPED",
            RevisionState::Failed => "FAILED",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// `sha256:` over the version's digest and how it runs: equal exactly when the same thing would run.
pub fn digest_of(version_digest: &str, run: &RunTemplate) -> String {
    // The template is written in a fixed order of fields, and its maps are ordered.
    let run = serde_json::to_vec(run).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(version_digest.as_bytes());
    hash.update([0]);
    hash.update(&run);
    format!("sha256:{}", hex::encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::{ExternalTemplate, RunTemplate};
    use super::*;

    fn external(address: &str) -> RunTemplate {
        RunTemplate::External(ExternalTemplate {
            addresses: vec![address.into()],
            health_path: String::new(),
        })
    }

    #[test]
    fn the_digest_is_equal_exactly_when_the_same_thing_would_run() {
        let one = digest_of("sha256:aa", &external("127.0.0.1:9001"));
        assert_eq!(one, digest_of("sha256:aa", &external("127.0.0.1:9001")));
        assert_ne!(one, digest_of("sha256:ab", &external("127.0.0.1:9001")));
        assert_ne!(one, digest_of("sha256:aa", &external("127.0.0.1:9002")));
        assert!(one.starts_with("sha256:") && one.len() == 71);
    }

    #[test]
    fn addresses_take_the_versions_number() {
        let template = external("127.0.0.1:910{version}");
        assert_eq!(template.for_version(3), external("127.0.0.1:9103"));
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in RevisionState::ALL {
            assert_eq!(RevisionState::parse(state.name()), Some(state));
        }
        assert_eq!(RevisionState::parse("ready"), None);
    }
}
