//! How revisions run. A [`Driver`] starts what a revision runs, says where it listens, watches it, and
//! stops it; it decides nothing about traffic.
//!
//! Two drivers: [`ExternalDriver`] for what somebody else runs (addresses are given, digests cannot be
//! verified), and [`ProcessDriver`] for local processes, which outlive the deployer and are adopted again.
//! [`Drivers`] hands each revision to the one that its [`RunSpec`] names. Artifacts come through an
//! [`ArtifactSource`] into a content-addressed cache.
//!
//! Every call may be repeated: `provision` of what runs returns it, `stop` of what does not run is a no-op.

mod artifacts;
mod drivers;
mod external;
mod health;
mod lost;
mod process;
mod registry;
mod secrets;
mod spec;

pub use artifacts::{ArtifactCache, ArtifactSource, ByteStream};
pub use drivers::Drivers;
pub use external::ExternalDriver;
pub use lost::Lost;
pub use process::{ProcessConfig, ProcessDriver};
pub use registry::RegistryArtifacts;
pub use spec::{ExternalSpec, ProcessSpec, RevisionRun, RunArtifact, RunSpec};

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use slipway_platform::names::RevisionName;

/// Starts, watches and stops what revisions run.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Makes the revision run and returns its addresses once every instance is ready.
    ///
    /// Idempotent: what runs already is returned as it is, and what is being started is waited for. A
    /// caller that gives up changes nothing; the start goes on.
    async fn provision(&self, run: &RevisionRun) -> Result<Vec<SocketAddr>, DriverError>;

    /// Asks every address once whether it is ready.
    async fn check(&self, run: &RevisionRun, addresses: &[SocketAddr]) -> Result<(), DriverError>;

    /// Ends the revision: asks it to, waits for `grace`, kills it, and returns when it is gone. A start
    /// that is under way is given up. A revision that does not run is no error.
    async fn stop(&self, revision: &RevisionName, grace: Duration) -> Result<(), DriverError>;

    /// Takes charge again of everything that an earlier deployer on this node started and that still
    /// runs, and returns it. What has died meanwhile is forgotten, for `provision` to start anew.
    async fn adopt(&self) -> Result<Vec<RunningRevision>, DriverError>;

    /// Announces a revision when an instance of it is gone without having been stopped. The driver starts it again by itself a bounded number of times; `provision` waits for that, and says
    /// at which addresses the revision is then.
    fn lost(&self) -> Lost;

    /// Whether what runs is known to be the artifacts with the revision's digests.
    fn verifies_digests(&self, run: &RevisionRun) -> bool;
}

/// A revision that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRevision {
    /// Which.
    pub revision: RevisionName,
    /// Where its instances listen.
    pub addresses: Vec<SocketAddr>,
    /// Whether every instance has been ready. If not, `provision` waits for it.
    pub ready: bool,
}

/// Why a driver could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// Trying again will not help: the process exited, a digest did not match, it never became ready.
    #[error("{reason}")]
    Failed {
        /// What went wrong, in words, without secrets.
        reason: String,
    },
    /// It may work later, or on another node.
    #[error("{what}")]
    Unavailable {
        /// What could not be reached, in words, without secrets.
        what: String,
    },
}

impl DriverError {
    /// Trying again will not help.
    pub fn failed(reason: impl Into<String>) -> Self {
        DriverError::Failed {
            reason: reason.into(),
        }
    }

    /// It may work later.
    pub fn unavailable(what: impl Into<String>) -> Self {
        DriverError::Unavailable { what: what.into() }
    }
}
