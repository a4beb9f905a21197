//! The registry's settings; `deploy/config/registry.toml` explains each.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use slipway_platform::{
    Violations, config::Validate, db::StorageConfig, events::outbox::RelayOptions,
    grpc::GrpcConfig, lease::ReplicaConfig,
};

/// The commented defaults, a document with the section `[registry]`.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/registry.toml");

/// The settings of one registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: String,
    /// Its database.
    pub storage: StorageConfig,
    /// How replicas share its work.
    #[serde(default)]
    pub replicas: ReplicaConfig,
    /// Where artifacts are kept.
    pub data_dir: PathBuf,
    /// What it takes at most.
    pub limits: Limits,
    /// How it publishes events, and how long it remembers.
    #[serde(default)]
    pub events: RelayOptions,
    /// The limits of its server.
    #[serde(default)]
    pub grpc: GrpcConfig,
}

/// What the registry takes at most.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest artifact, in bytes.
    pub artifact_bytes_max: u64,
    /// Uploads under way at once.
    pub uploads_max: usize,
    /// How long an upload may be silent.
    pub upload_idle_seconds: u64,
    /// Downloads under way at once.
    pub downloads_max: usize,
    /// Open watches.
    pub watches_max: usize,
}

impl Limits {
    /// How long an upload may be silent.
    pub fn upload_idle(&self) -> Duration {
        Duration::from_secs(self.upload_idle_seconds)
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            !self.listen.is_empty(),
            "listen",
            "must be an address such as 127.0.0.1:7401",
        );
        self.storage.validate_in("storage", problems);
        self.replicas.validate_in("replicas", problems);
        problems.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must be a folder",
        );
        let limits = &self.limits;
        problems.require(
            (1..=1 << 50).contains(&limits.artifact_bytes_max),
            "limits.artifact_bytes_max",
            "must be 1 to 2^50",
        );
        for (field, count) in [
            ("limits.uploads_max", limits.uploads_max),
            ("limits.downloads_max", limits.downloads_max),
            ("limits.watches_max", limits.watches_max),
        ] {
            problems.require((1..=1 << 16).contains(&count), field, "must be 1 to 65536");
        }
        problems.require(
            (1..=3600).contains(&limits.upload_idle_seconds),
            "limits.upload_idle_seconds",
            "must be 1 s to 1 h",
        );
        self.events.validate_in("events", problems);
        self.grpc.validate_in("grpc", problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, slipway_platform::config::ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        slipway_platform::config::load(DEFAULTS, Some("registry"), None, env)
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = load(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7401");
        assert_eq!(config.grpc, GrpcConfig::default());
        assert_eq!(config.events, RelayOptions::default());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = load(&[
            ("SLIPWAY__REGISTRY__LIMITS__UPLOADS_MAX", "0"),
            ("SLIPWAY__REGISTRY__STORAGE__URL", "mysql://x"),
            ("SLIPWAY__REGISTRY__GRPC__DRAIN_MS", "99999999"),
        ])
        .unwrap_err();
        assert_eq!(error.problems.len(), 3, "{error}");
    }
}
