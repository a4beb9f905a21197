//! The limits of a gRPC server; each is finite.

use std::time::Duration;

use serde::Deserialize;

use crate::config::Validate;
use crate::error::Violations;

/// The limits of one gRPC server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Connections at once; more wait until one is closed.
    pub connections_max: usize,
    /// Requests that are worked on at once; one more is answered with `RESOURCE_EXHAUSTED`.
    pub requests_max: usize,
    /// Answers that are being sent at once, streams included.
    pub streams_max: usize,
    /// The longest that a unary call may take, also when the caller names a longer time or none.
    pub unary_deadline_ms: u64,
    /// An answer of which its client takes nothing for this long is given up.
    pub answer_idle_ms: u64,
    /// How long a stop waits for calls that were begun.
    pub drain_ms: u64,
    /// An idle connection is probed after this time, and closed when it does not answer.
    pub keepalive_ms: u64,
}

impl GrpcConfig {
    pub(super) fn unary_deadline(&self) -> Duration {
        Duration::from_millis(self.unary_deadline_ms)
    }

    pub(super) fn answer_idle(&self) -> Duration {
        Duration::from_millis(self.answer_idle_ms)
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    pub(super) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            requests_max: 1024,
            streams_max: 16_384,
            unary_deadline_ms: 30_000,
            answer_idle_ms: 60_000,
            drain_ms: 5_000,
            keepalive_ms: 20_000,
        }
    }
}

impl Validate for GrpcConfig {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            (1..=1 << 20).contains(&self.connections_max),
            "connections_max",
            "must be 1 to 1048576",
        );
        problems.require(
            (1..=1 << 20).contains(&self.requests_max),
            "requests_max",
            "must be 1 to 1048576",
        );
        problems.require(
            (1..=1 << 20).contains(&self.streams_max),
            "streams_max",
            "must be 1 to 1048576",
        );
        let hour = 3_600_000;
        problems.require(
            (1..=hour).contains(&self.unary_deadline_ms),
            "unary_deadline_ms",
            "must be 1 ms to 1 h",
        );
        problems.require(
            (100..=hour).contains(&self.answer_idle_ms),
            "answer_idle_ms",
            "must be 100 ms to 1 h",
        );
        problems.require(self.drain_ms <= hour, "drain_ms", "must be at most 1 h");
        problems.require(
            (1_000..=hour).contains(&self.keepalive_ms),
            "keepalive_ms",
            "must be 1 s to 1 h",
        );
    }
}
