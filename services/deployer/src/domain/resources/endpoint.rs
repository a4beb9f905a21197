//! The settings of an endpoint: what it runs, how traffic is moved and judged, and what later revisions take
//! over from it. A revision is a snapshot of them and never changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_platform::names::ModelName;

use crate::domain::admission::SecondRollout;
use crate::domain::rollout::{Deadlines, Plan};
use crate::domain::strategy::Strategy;
use crate::domain::time;

/// How long a pin holds unless said otherwise.
pub const PIN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// No pin holds longer.
pub const PIN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What people set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointSettings {
    /// What it serves, in words.
    pub description: String,
    /// The model whose versions it runs.
    pub model: ModelName,
    /// How revisions run.
    pub run: RunTemplate,
    /// How traffic is moved, unless a rollout says otherwise.
    pub strategy: Strategy,
    /// How a candidate is judged.
    pub judgement: JudgementPolicy,
    /// What happens with a second rollout.
    pub second_rollout: SecondRollout,
    /// Host names, besides `{endpoint}.{environment}`.
    pub hosts: Vec<String>,
    /// A request header that keeps its sender on one revision.
    pub sticky_header: Option<String>,
    /// How long the last known good stays warm after a rollout.
    #[serde(with = "time::millis")]
    pub rollback_window: Duration,
    /// The alias that follows stable; `None`: none does.
    pub champion_alias: Option<String>,
    /// How long phases may take.
    pub deadlines: Deadlines,
}

/// How a revision runs; `{version}` in an address is the version's number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunTemplate {
    /// Somebody else runs it.
    External(ExternalTemplate),
    /// Local processes run it.
    Process(ProcessTemplate),
}

/// A revision that runs by itself somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalTemplate {
    /// `host:port` with a literal address.
    pub addresses: Vec<String>,
    /// Path that answers 2xx when ready; empty: a connection is enough.
    pub health_path: String,
}

/// A revision that is one or more local processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessTemplate {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment; values may be secret references.
    pub env: BTreeMap<String, String>,
    /// Path that answers 2xx when ready.
    pub health_path: String,
    /// Roles of the version's artifacts that it gets.
    pub roles: Vec<String>,
    /// Time between SIGTERM and SIGKILL.
    #[serde(with = "time::millis")]
    pub stop_grace: Duration,
    /// Number of processes.
    pub instances: u32,
}

/// How a candidate is judged in production. The failure-detector judges by exactly these numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgementPolicy {
    /// Chance that a healthy candidate is ever rolled back in a rollout.
    pub alpha: f64,
    /// HEALTHY: the candidate fails at most this much more than stable.
    pub margin: f64,
    /// DEGRADED: the candidate fails by more than this more than stable.
    pub delta: f64,
    /// The absolute limit of the failure rate.
    pub max_failure_rate: f64,
    /// When a revision has stopped answering.
    #[serde(with = "time::millis")]
    pub stopped_answering_after: Duration,
    /// When a silent access log is UNMEASURABLE.
    #[serde(with = "time::millis")]
    pub stale_after: Duration,
    /// gRPC status codes that count as failures.
    pub grpc_failure_codes: Vec<i32>,
    /// Average run length of the steady watch.
    pub average_run_length: f64,
}

impl Default for JudgementPolicy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            margin: 0.05,
            delta: 0.0,
            max_failure_rate: 0.05,
            stopped_answering_after: Duration::from_secs(10),
            stale_after: Duration::from_secs(15),
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            grpc_failure_codes: vec![2, 4, 13, 14, 15],
            average_run_length: 1e6,
        }
    }
}

impl EndpointSettings {
    /// What a rollout is agreed to be, with its own strategy if it brings one.
    pub fn plan(&self, strategy: Option<Strategy>) -> Plan {
        Plan {
            strategy: strategy.unwrap_or_else(|| self.strategy.clone()),
            deadlines: self.deadlines.clone(),
            rollback_window: self.rollback_window,
        }
    }
}

impl RunTemplate {
    /// The template for one version: `{version}` in addresses is replaced.
    pub fn for_version(&self, number: u64) -> RunTemplate {
        match self {
            RunTemplate::External(external) => RunTemplate::External(ExternalTemplate {
                addresses: external
                    .addresses
                    .iter()
                    .map(|address| address.replace("{version}", &number.to_string()))
                    .collect(),
                health_path: external.health_path.clone(),
            }),
            RunTemplate::Process(process) => RunTemplate::Process(process.clone()),
        }
    }

    /// How long it may take to end.
    pub fn stop_grace(&self) -> Duration {
        match self {
            RunTemplate::External(_) => Duration::ZERO,
            RunTemplate::Process(process) => process.stop_grace,
        }
    }
}
