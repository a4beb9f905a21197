//! Settings of the process driver.

use serde::Deserialize;
use slipway_platform::config::Validate;
use slipway_platform::error::Violations;

/// Settings of the process driver.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// The name of this node. A process belongs to the node that started it.
    pub node: String,
    /// The least port that is given to a process.
    pub port_min: u16,
    /// The greatest. Below the range from which the system takes the ports of outgoing connections (32768 on
    /// Linux), so that none of those is in the way of a process that starts.
    pub port_max: u16,
    /// A process's log is cut to its last half when it is longer than this; the half before is kept beside.
    pub log_bytes_max: u64,
    /// A process that exits this often in a row, each time within a minute of being ready, is given up.
    pub restarts_max: u32,
    /// The variables of the deployer's own environment that processes get. All others they do not see.
    pub inherited_env: Vec<String>,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        let inherited = [
            "PATH",
            "HOME",
            "LANG",
            "LC_ALL",
            "TZ",
            "TMPDIR",
            "LD_LIBRARY_PATH",
        ];
        Self {
            node: "local".to_owned(),
            port_min: 20_000,
            port_max: 29_999,
            log_bytes_max: 16 * 1024 * 1024,
            restarts_max: 5,
            inherited_env: inherited.map(str::to_owned).to_vec(),
        }
    }
}

impl Validate for ProcessConfig {
    fn validate(&self, problems: &mut Violations) {
        problems.require(
            !self.node.is_empty() && self.node.len() <= 253,
            "node",
            "must have 1 to 253 characters",
        );
        problems.require(self.port_min >= 1024, "port_min", "must be at least 1024");
        problems.require(
            self.port_max >= self.port_min,
            "port_max",
            "must not be less than port_min",
        );
        problems.require(
            self.log_bytes_max >= 64 * 1024,
            "log_bytes_max",
            "must be at least 65536",
        );
        problems.require(
            self.restarts_max <= 100,
            "restarts_max",
            "must be at most 100",
        );
    }
}
