//! Settings; `deploy/config/gateway.toml` explains each.

use std::time::Duration;

use serde::Deserialize;
use slipway_platform::config::Validate;
use slipway_platform::error::Violations;
use slipway_platform::grpc::addresses;
use tonic::transport::Endpoint;

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../../../deploy/config/gateway.toml");
/// The section of the settings file.
pub const SECTION: &str = "gateway";

/// The least that the HTTP/1 parser works with.
const REQUEST_HEAD_BYTES_MIN: usize = 8192;

/// The gateway's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: String,
    /// Where it shows its metrics and its health; empty for nowhere.
    pub admin_listen: String,
    /// Who this proxy is.
    pub node_id: String,
    /// The kind of proxy that it is.
    pub node_cluster: String,
    /// The listener resource that it serves.
    pub listener_name: String,
    /// The deployer.
    pub control_plane: String,
    /// The failure-detector; empty for none.
    pub access_log_service: String,
    /// The file of the last good configuration; empty for none.
    pub saved_configuration: String,
    /// How the control plane is followed.
    pub control: Control,
    /// How the access log is sent.
    pub access_log: AccessLogConfig,
    /// Limits.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
}

/// How the control plane is followed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Shortest pause between attempts.
    pub reconnect_min_ms: u64,
    /// Longest pause between attempts.
    pub reconnect_max_ms: u64,
    /// When a silent connection is probed.
    pub keepalive_ms: u64,
    /// Largest response.
    pub response_bytes_max: usize,
    /// How long routes wait for their clusters.
    pub warming_ms: u64,
}

/// How the access log is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLogConfig {
    /// The log's name.
    pub name: String,
    /// How long a record waits for others.
    pub flush_interval_ms: u64,
    /// Records in one message.
    pub batch_max: usize,
    /// Records that wait.
    pub buffer_max: usize,
}

/// Limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections of clients.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
    /// Longest head of a request.
    pub request_head_bytes_max: usize,
    /// Connections to one upstream address.
    pub upstream_connections_max: usize,
    /// Requests that wait for a connection to one upstream address.
    pub upstream_waiting_max: usize,
}

/// Timeouts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Silence of a client between requests.
    pub client_idle_ms: u64,
    /// Standstill of a request or an answer; 0 for ever.
    pub stream_idle_ms: u64,
    /// How long an unused upstream connection is kept.
    pub upstream_idle_ms: u64,
    /// How long clients are told to leave by themselves.
    pub drain_grace_ms: u64,
    /// How long requests in flight may take after the shutdown.
    pub drain_deadline_ms: u64,
}

impl Config {
    /// The longest standstill of a request or an answer; zero for no limit.
    pub fn stream_idle(&self) -> Duration {
        Duration::from_millis(self.timeouts.stream_idle_ms)
    }

    /// How long an unused upstream connection is kept.
    pub fn upstream_idle(&self) -> Duration {
        Duration::from_millis(self.timeouts.upstream_idle_ms)
    }
}

fn is_usable(url: &str) -> bool {
    url.starts_with("http://") && Endpoint::from_shared(url.to_owned()).is_ok()
}

impl Validate for Config {
    fn validate(&self, problems: &mut Violations) {
        for (field, text) in [
            ("listen", &self.listen),
            ("node_id", &self.node_id),
            ("node_cluster", &self.node_cluster),
            ("listener_name", &self.listener_name),
            ("control_plane", &self.control_plane),
            ("access_log.name", &self.access_log.name),
        ] {
            problems.require(!text.is_empty(), field, "must not be empty");
        }
        for (field, url) in [
            ("control_plane", &self.control_plane),
            ("access_log_service", &self.access_log_service),
        ] {
            let usable = url.is_empty() || addresses(url).all(is_usable);
            problems.require(
                usable,
                field,
                "must be a URL such as http://127.0.0.1:7403, or several with commas between them",
            );
        }
        for (field, number) in [
            ("control.reconnect_min_ms", self.control.reconnect_min_ms),
            ("control.keepalive_ms", self.control.keepalive_ms),
            (
                "control.response_bytes_max",
                self.control.response_bytes_max as u64,
            ),
            (
                "access_log.flush_interval_ms",
                self.access_log.flush_interval_ms,
            ),
            ("access_log.batch_max", self.access_log.batch_max as u64),
            ("access_log.buffer_max", self.access_log.buffer_max as u64),
            ("limits.connections_max", self.limits.connections_max as u64),
            ("limits.streams_max", u64::from(self.limits.streams_max)),
            (
                "limits.upstream_connections_max",
                self.limits.upstream_connections_max as u64,
            ),
            ("timeouts.client_idle_ms", self.timeouts.client_idle_ms),
            ("timeouts.upstream_idle_ms", self.timeouts.upstream_idle_ms),
            (
                "timeouts.drain_deadline_ms",
                self.timeouts.drain_deadline_ms,
            ),
        ] {
            problems.require(number > 0, field, "must be more than 0");
        }
        problems.require(
            self.control.reconnect_max_ms >= self.control.reconnect_min_ms,
            "control.reconnect_max_ms",
            "must not be less than control.reconnect_min_ms",
        );
        problems.require(
            self.limits.request_head_bytes_max >= REQUEST_HEAD_BYTES_MIN,
            "limits.request_head_bytes_max",
            "must be at least 8192",
        );
        problems.require(
            self.timeouts.drain_grace_ms <= self.timeouts.drain_deadline_ms,
            "timeouts.drain_grace_ms",
            "must not be more than timeouts.drain_deadline_ms",
        );
    }
}

#[cfg(test)]
mod tests {
    use slipway_platform::config::load;

    use super::*;

    fn loaded(env: &[(&str, &str)]) -> Result<Config, slipway_platform::config::ConfigError> {
        let env = env
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        load(DEFAULTS, Some(SECTION), None, env)
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = loaded(&[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:7400");
        assert_eq!(config.access_log.flush_interval_ms, 20);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = loaded(&[
            ("SLIPWAY__GATEWAY__CONTROL_PLANE", "ftp://x"),
            ("SLIPWAY__GATEWAY__LIMITS__REQUEST_HEAD_BYTES_MAX", "1"),
            ("SLIPWAY__GATEWAY__TIMEOUTS__DRAIN_GRACE_MS", "20000"),
        ])
        .unwrap_err();
        assert_eq!(error.problems.len(), 3, "{error}");
    }
}
