//! The detector's settings; `deploy/config/failure-detector.toml` explains each.

use std::time::Duration;

use serde::Deserialize;
use slipway_platform::{
    Violations, config::Validate, db::StorageConfig, grpc::GrpcConfig, lease::ReplicaConfig,
};

/// The commented defaults, a document with the section `[failure_detector]`.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/failure-detector.toml");

/// The settings of one detector.
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
    /// How it judges.
    pub judgement: Judgement,
    /// What it takes at most.
    pub limits: Limits,
    /// How people are told.
    pub notifications: Notifications,
    /// How long things are kept.
    pub retention: Retention,
    /// The limits of its server.
    #[serde(default)]
    pub grpc: GrpcConfig,
}

/// How it judges.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// Of alpha, the share of the comparison with stable.
    pub comparison_share: f64,
    /// The longest time between two reports of a watch.
    pub report_every_ms: u64,
    /// The time between checkpoints.
    pub checkpoint_every_ms: u64,
    /// The time between looks at the rules of time.
    pub look_every_ms: u64,
    /// How long a proxy whose log broke is waited for.
    pub proxy_lease_ms: u64,
    /// How long a rollout is unmeasurable before it is told about.
    pub starved_after_ms: u64,
    /// How long a watch goes on that nobody holds open.
    pub watch_idle_ms: u64,
    /// Endpoints that are watched at once.
    pub endpoints_max: usize,
    /// Ids of reported observations that are remembered.
    pub observation_ids_max: usize,
}

/// What it takes at most.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Access-log streams at once.
    pub log_streams_max: usize,
    /// Runs of equal observations that are kept for other replicas.
    pub forward_runs_max: usize,
    /// Decisions that wait for the database.
    pub decisions_max: usize,
    /// Notification channels.
    pub channels_max: i64,
}

/// How people are told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notifications {
    /// The wait before each attempt.
    pub waits_ms: Vec<u64>,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
    /// How long an answer may take in all.
    pub timeout_ms: u64,
    /// What is read of an answer at most.
    pub response_bytes_max: usize,
    /// Notifications that wait for one channel.
    pub queue_max: i64,
    /// Channels that are served at once.
    pub concurrency_max: usize,
}

/// How long things are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Resolved alerts.
    pub alerts_days: u64,
    /// Decisions.
    pub decisions_days: u64,
    /// Watches that rest.
    pub watches_days: u64,
    /// Deliveries that no longer wait.
    pub deliveries_days: u64,
}

/// A number of milliseconds as a duration.
pub fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// A number of days as a duration.
pub fn days(value: u64) -> Duration {
    Duration::from_secs(value * 24 * 3600)
}

const HOUR_MS: u64 = 3_600_000;

impl Validate for Config {
    fn validate(&self, problems: &mut Violations) {
        self.storage.validate_in("storage", problems);
        self.replicas.validate_in("replicas", problems);
        let mut require = |holds: bool, field: &str, what: &str| {
            problems.require(holds, field, what);
        };
        require(
            !self.listen.is_empty(),
            "listen",
            "must be an address such as 127.0.0.1:7404",
        );
        let judgement = &self.judgement;
        let share = judgement.comparison_share;
        require(
            share > 0.0 && share < 1.0,
            "judgement.comparison_share",
            "must be above 0 and below 1",
        );
        for (value, least, most, field) in [
            (
                judgement.report_every_ms,
                10,
                60_000,
                "judgement.report_every_ms",
            ),
            (
                judgement.checkpoint_every_ms,
                10,
                60_000,
                "judgement.checkpoint_every_ms",
            ),
            (
                judgement.look_every_ms,
                10,
                60_000,
                "judgement.look_every_ms",
            ),
            (
                judgement.proxy_lease_ms,
                100,
                HOUR_MS,
                "judgement.proxy_lease_ms",
            ),
            (
                judgement.starved_after_ms,
                100,
                HOUR_MS,
                "judgement.starved_after_ms",
            ),
            (
                judgement.watch_idle_ms,
                1_000,
                24 * HOUR_MS,
                "judgement.watch_idle_ms",
            ),
            (
                self.notifications.connect_timeout_ms,
                1,
                60_000,
                "notifications.connect_timeout_ms",
            ),
            (
                self.notifications.timeout_ms,
                1,
                60_000,
                "notifications.timeout_ms",
            ),
        ] {
            let range = format!("must be {least} to {most}");
            require((least..=most).contains(&value), field, &range);
        }
        for (value, most, field) in [
            (judgement.endpoints_max, 1 << 20, "judgement.endpoints_max"),
            (
                judgement.observation_ids_max,
                1 << 24,
                "judgement.observation_ids_max",
            ),
            (
                self.limits.log_streams_max,
                1 << 16,
                "limits.log_streams_max",
            ),
            (
                self.limits.forward_runs_max,
                1 << 24,
                "limits.forward_runs_max",
            ),
            (self.limits.decisions_max, 1 << 16, "limits.decisions_max"),
            (
                self.notifications.response_bytes_max,
                1 << 20,
                "notifications.response_bytes_max",
            ),
            (
                self.notifications.concurrency_max,
                256,
                "notifications.concurrency_max",
            ),
        ] {
            require(
                (1..=most).contains(&value),
                field,
                &format!("must be 1 to {most}"),
            );
        }
        for (value, field) in [
            (self.limits.channels_max, "limits.channels_max"),
            (self.notifications.queue_max, "notifications.queue_max"),
        ] {
            require((1..=100_000).contains(&value), field, "must be 1 to 100000");
        }
        let waits = &self.notifications.waits_ms;
        let bounded = waits.iter().all(|wait| *wait <= 7 * 24 * HOUR_MS);
        require(
            (1..=20).contains(&waits.len()) && bounded,
            "notifications.waits_ms",
            "must be 1 to 20 waits of at most 7 days",
        );
        for (value, field) in [
            (self.retention.alerts_days, "retention.alerts_days"),
            (self.retention.decisions_days, "retention.decisions_days"),
            (self.retention.watches_days, "retention.watches_days"),
            (self.retention.deliveries_days, "retention.deliveries_days"),
        ] {
            require((1..=36_500).contains(&value), field, "must be 1 to 36500");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, slipway_platform::config::ConfigError> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        slipway_platform::config::load(DEFAULTS, Some("failure_detector"), None, env)
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = load(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7404");
        assert_eq!(config.notifications.waits_ms.len(), 7);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = load(&[
            (
                "SLIPWAY__FAILURE_DETECTOR__JUDGEMENT__COMPARISON_SHARE",
                "1.5",
            ),
            ("SLIPWAY__FAILURE_DETECTOR__NOTIFICATIONS__WAITS_MS", "[]"),
            ("SLIPWAY__FAILURE_DETECTOR__LIMITS__LOG_STREAMS_MAX", "0"),
            ("SLIPWAY__FAILURE_DETECTOR__RETENTION__ALERTS_DAYS", "0"),
        ])
        .unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
    }
}
