//! The names that the demo gives, and how long things may take.

use std::time::Duration;

use crate::output::last;

pub const WORKSPACE: &str = "workspaces/dev";
pub const MODEL_ID: &str = "tumor";
pub const MODEL: &str = "workspaces/dev/models/tumor";
pub const SUITE_ID: &str = "held-out";
pub const SUITE: &str = "workspaces/dev/suites/held-out";
pub const ENVIRONMENT_ID: &str = "production";
pub const ENVIRONMENT: &str = "environments/production";
pub const ENDPOINT_ID: &str = "tumor";
pub const ENDPOINT: &str = "environments/production/endpoints/tumor";
pub const RULE: &str = "rules/deploy-what-passes";
pub const CHAMPION: &str = "workspaces/dev/models/tumor/aliases/champion";
pub const EVALUATION_COMPLETED: &str = "io.slipway.evaluation.completed.v1";

pub const USERS: u32 = 600;
pub const CONNECTIONS: u32 = 48;
pub const REQUESTS_PER_SECOND: f64 = 500.0;
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How often state is read while waiting.
pub const POLL: Duration = Duration::from_millis(50);
pub const EVALUATION_LIMIT: Duration = Duration::from_secs(30);
pub const ROLLOUT_LIMIT: Duration = Duration::from_secs(60);
/// For what follows at once: the alias, the alert, the first traffic.
pub const SOON: Duration = Duration::from_secs(15);
/// How long the last good version is watched after the rollback.
pub const AFTERMATH: Duration = Duration::from_secs(2);
/// Requests that were on their way while traffic shifted.
pub const SHIFT_GRACE: Duration = Duration::from_millis(1500);

/// The number at the end of a version's name; 0 if there is none.
pub fn version_number(version: &str) -> i64 {
    last(version).parse().unwrap_or(0)
}
