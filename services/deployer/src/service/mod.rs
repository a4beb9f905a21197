//! Use cases: load, decide, save. Each is one transaction, and none of them waits for another service while
//! it holds one.

mod blocks;
mod decision;
mod duties;
mod endpoints;
mod environments;
mod gate;
mod incidents;
mod lifecycle;
mod live;
mod needs;
mod observed;
mod outcomes;
mod pages;
mod people;
mod records;
mod revisions;
mod rollback;
mod rollback_beside;
mod rules;
mod run_spec;
mod scene;
mod start;
mod status;
mod takeover;
mod trace;
mod traffic;
mod verdicts;
mod work;

pub use decision::Cause;
pub use duties::{Duties, Untold};
pub use endpoints::NewEndpoint;
pub use incidents::Finding;
pub use live::Live;
pub use observed::observed;
pub use rollback::{Rollback, RolledBack};
pub use rules::{Asked, ExplainEvent};
pub use scene::Scene;
pub use start::Start;
pub use status::{Mode, RevisionStatus, Status};
pub use traffic::SetTraffic;

use std::sync::Arc;

use slipway_platform::clock::{SharedClock, Timestamp};
use slipway_platform::db::Db;

use crate::driver::Driver;
use crate::peers::Peers;
use crate::xds::XdsHub;

/// Everything that a use case needs. One per deployer.
pub struct Service {
    /// The deployer's database.
    pub db: Db,
    /// The time.
    pub clock: SharedClock,
    /// The other services.
    pub peers: Peers,
    /// What proxies are told and have accepted.
    pub hub: Arc<XdsHub>,
    /// What starts and stops revisions.
    pub driver: Arc<dyn Driver>,
    /// What this replica does for all of them, and for its node.
    pub duties: Duties,
    /// The last verdicts, which change too often to be stored each time.
    pub live: Live,
    /// From then on an empty hub means that there is no proxy; until then, those of before may not be back yet.
    pub proxies_known_at: Timestamp,
}

impl Service {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What makes a retry the same request: its id, and what it asked for.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    /// The RPC.
    pub method: &'static str,
    /// The client's id; empty: it does not retry.
    pub request_id: String,
    /// The request without its id.
    pub fingerprint: Vec<u8>,
}
