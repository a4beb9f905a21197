//! The evaluator's settings; `deploy/config/evaluator.toml` explains each.

use std::time::Duration;

use serde::Deserialize;
use slipway_platform::Violations;
use slipway_platform::config::Validate;
use slipway_platform::db::StorageConfig;
use slipway_platform::grpc::{GrpcConfig, addresses};
use slipway_platform::lease::ReplicaConfig;

use crate::domain;

/// The commented defaults, a document with the section `[evaluator]`.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/evaluator.toml");

/// The settings of one evaluator.
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
    /// Where the registry is.
    pub registry: String,
    /// What it does at most, and for how long.
    pub limits: Limits,
    /// The limits of its server.
    #[serde(default)]
    pub grpc: GrpcConfig,
}

/// What the evaluator does at most, and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Evaluations that run at once.
    pub workers: usize,
    /// From being asked for to being begun.
    pub queue_deadline_seconds: u64,
    /// From being begun to being done.
    pub run_deadline_seconds: u64,
    /// From one sign of life of a worker to the next.
    pub lease_seconds: u64,
    /// Until something that could not be reached is tried again.
    pub postpone_ms: u64,
    /// Workers that may be lost with one evaluation.
    pub losses_max: u32,
    /// How often the progress of a running evaluation is saved.
    pub progress_ms: u64,
    /// How long the registry may send nothing during a download.
    pub download_idle_seconds: u64,
    /// The longest line of a predictions file.
    pub line_bytes_max: usize,
    /// Rows of either file that may wait for their counterpart.
    pub waiting_rows_max: usize,
    /// Open watches.
    pub watches_max: usize,
}

impl Limits {
    /// The limits of the state machine.
    pub fn of_states(&self) -> domain::Limits {
        domain::Limits {
            queue: Duration::from_secs(self.queue_deadline_seconds),
            run: Duration::from_secs(self.run_deadline_seconds),
            lease: Duration::from_secs(self.lease_seconds),
            postpone: Duration::from_millis(self.postpone_ms),
            losses_max: self.losses_max,
        }
    }

    /// How often progress is saved.
    pub fn progress(&self) -> Duration {
        Duration::from_millis(self.progress_ms)
    }

    /// How long a download may be silent.
    pub fn download_idle(&self) -> Duration {
        Duration::from_secs(self.download_idle_seconds)
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            !self.listen.is_empty(),
            "listen",
            "must be an address such as 127.0.0.1:7402",
        );
        self.storage.validate_in("storage", problems);
        self.replicas.validate_in("replicas", problems);
        problems.require(
            addresses(&self.registry).all(|address| address.starts_with("http://")),
            "registry",
            "must be an address such as http://127.0.0.1:7401, or several with commas between them",
        );
        self.limits.validate(problems);
        let mut grpc = Violations::new();
        self.grpc.validate(&mut grpc);
        for violation in grpc.iter() {
            problems.push(
                format!("grpc.{}", violation.field),
                violation.description.clone(),
            );
        }
    }
}

impl Limits {
    fn validate(&self, problems: &mut Violations) {
        const WEEK_SECONDS: u64 = 7 * 24 * 3600;
        let mut within = |name: &str, value: u64, low: u64, high: u64| {
            problems.require(
                (low..=high).contains(&value),
                format!("limits.{name}"),
                format!("must be {low} to {high}"),
            );
        };
        within("workers", self.workers as u64, 1, 64);
        within(
            "queue_deadline_seconds",
            self.queue_deadline_seconds,
            1,
            WEEK_SECONDS,
        );
        within(
            "run_deadline_seconds",
            self.run_deadline_seconds,
            1,
            WEEK_SECONDS,
        );
        within("lease_seconds", self.lease_seconds, 1, 3_600);
        within("postpone_ms", self.postpone_ms, 10, 3_600_000);
        within("losses_max", self.losses_max.into(), 1, 100);
        within("progress_ms", self.progress_ms, 10, 60_000);
        within(
            "download_idle_seconds",
            self.download_idle_seconds,
            1,
            3_600,
        );
        within("line_bytes_max", self.line_bytes_max as u64, 256, 64 << 20);
        within(
            "waiting_rows_max",
            self.waiting_rows_max as u64,
            0,
            100_000_000,
        );
        within("watches_max", self.watches_max as u64, 1, 1 << 16);
        problems.require(
            self.progress_ms * 2 <= self.lease_seconds * 1_000,
            "limits.progress_ms",
            "must be at most half of lease_seconds, since saving progress renews the lease",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, slipway_platform::config::ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        slipway_platform::config::load(DEFAULTS, Some("evaluator"), None, env)
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = load(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7402");
        assert_eq!(config.grpc, GrpcConfig::default());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = load(&[
            ("SLIPWAY__EVALUATOR__LIMITS__WORKERS", "0"),
            ("SLIPWAY__EVALUATOR__REGISTRY", "registry:7401"),
            ("SLIPWAY__EVALUATOR__LIMITS__PROGRESS_MS", "60000"),
        ])
        .unwrap_err();
        assert_eq!(error.problems.len(), 3, "{error}");
    }
}
