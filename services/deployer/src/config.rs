//! Settings of the deployer.

use std::path::PathBuf;

use serde::Deserialize;
use slipway_platform::config::Validate;
use slipway_platform::db::StorageConfig;
use slipway_platform::error::Violations;
use slipway_platform::events::outbox::RelayOptions;
use slipway_platform::grpc::{GrpcConfig, addresses};
use slipway_platform::lease::ReplicaConfig;

use crate::driver::ProcessConfig;
use crate::xds::XdsConfig;

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/deployer.toml");

/// Settings of the deployer. `deploy/config/deployer.toml` explains each.
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
    /// Where processes, their logs and fetched artifacts are kept.
    pub data_dir: PathBuf,
    /// The registry's address.
    pub registry: String,
    /// The evaluator's address.
    pub evaluator: String,
    /// The failure-detector's address.
    pub failure_detector: String,
    /// Work that is done at once.
    pub work_at_once: usize,
    /// How long it is kept why rules did or did not act.
    pub explanation_retention_days: u64,
    /// How long a stop waits for what was begun.
    pub stop_within_seconds: u64,
    /// The xDS server.
    #[serde(default)]
    pub xds: XdsConfig,
    /// The process driver.
    #[serde(default)]
    pub process: ProcessConfig,
    /// How it publishes events, and how long it remembers.
    #[serde(default)]
    pub events: RelayOptions,
    /// The limits of its server.
    #[serde(default)]
    pub grpc: GrpcConfig,
}

impl Validate for Config {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            !self.listen.is_empty(),
            "listen",
            "must be an address such as 127.0.0.1:7403",
        );
        self.storage.validate_in("storage", problems);
        self.replicas.validate_in("replicas", problems);
        problems.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must not be empty",
        );
        for (key, address) in [
            ("registry", &self.registry),
            ("evaluator", &self.evaluator),
            ("failure_detector", &self.failure_detector),
        ] {
            problems.require(
                addresses(address).all(|address| address.starts_with("http://")),
                key,
                "must begin with http://, and so must each of several with commas between them",
            );
        }
        problems.require(
            (1..=1_000).contains(&self.work_at_once),
            "work_at_once",
            "must be between 1 and 1000",
        );
        problems.require(
            (1..=3_650).contains(&self.explanation_retention_days),
            "explanation_retention_days",
            "must be between 1 and 3650",
        );
        problems.require(
            (1..=600).contains(&self.stop_within_seconds),
            "stop_within_seconds",
            "must be between 1 and 600",
        );
        let mut nested = |prefix: &str, part: &dyn Validate| {
            let mut own = Violations::new();
            part.validate(&mut own);
            for violation in own.iter() {
                problems.push(
                    format!("{prefix}.{}", violation.field),
                    violation.description.clone(),
                );
            }
        };
        nested("xds", &self.xds);
        nested("process", &self.process);
        nested("events", &self.events);
        nested("grpc", &self.grpc);
    }
}

#[cfg(test)]
mod tests {
    use slipway_platform::config::load;

    use super::*;

    #[test]
    fn the_commented_defaults_are_valid_and_say_what_the_code_says() {
        let config: Config = load(DEFAULTS, Some("deployer"), None, []).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7403");
        assert_eq!(config.xds, XdsConfig::default());
        assert_eq!(config.process, ProcessConfig::default());
        // Every proxy holds a connection to it.
        let grpc = GrpcConfig {
            connections_max: 16_384,
            ..GrpcConfig::default()
        };
        assert_eq!(config.grpc, grpc);
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let env = [
            (
                "SLIPWAY__DEPLOYER__REGISTRY".to_owned(),
                "ftp://x".to_owned(),
            ),
            ("SLIPWAY__DEPLOYER__WORK_AT_ONCE".to_owned(), "0".to_owned()),
            (
                "SLIPWAY__DEPLOYER__XDS__PROXY_LEASE_SECONDS".to_owned(),
                "0".to_owned(),
            ),
        ];
        let problems = load::<Config>(DEFAULTS, Some("deployer"), None, env)
            .unwrap_err()
            .problems;
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems
                .iter()
                .any(|problem| problem.contains("deployer.xds.proxy_lease_seconds"))
        );
    }
}
