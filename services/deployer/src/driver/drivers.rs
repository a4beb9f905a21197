//! All drivers as one: each revision goes to the one that its [`RunSpec`] names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use slipway_platform::names::RevisionName;

use super::{
    Driver, DriverError, ExternalDriver, Lost, ProcessDriver, RevisionRun, RunSpec, RunningRevision,
};

/// See the module.
pub struct Drivers {
    external: ExternalDriver,
    process: Arc<ProcessDriver>,
}

impl Drivers {
    /// The external driver, and this one for processes.
    pub fn new(process: Arc<ProcessDriver>) -> Self {
        Self {
            external: ExternalDriver::default(),
            process,
        }
    }

    fn of(&self, run: &RevisionRun) -> &dyn Driver {
        match run.spec {
            RunSpec::External(_) => &self.external,
            RunSpec::Process(_) => &*self.process,
        }
    }
}

#[async_trait]
impl Driver for Drivers {
    async fn provision(&self, run: &RevisionRun) -> Result<Vec<SocketAddr>, DriverError> {
        self.of(run).provision(run).await
    }

    async fn check(&self, run: &RevisionRun, addresses: &[SocketAddr]) -> Result<(), DriverError> {
        self.of(run).check(run, addresses).await
    }

    async fn stop(&self, revision: &RevisionName, grace: Duration) -> Result<(), DriverError> {
        self.external.stop(revision, grace).await?;
        self.process.stop(revision, grace).await
    }

    async fn adopt(&self) -> Result<Vec<RunningRevision>, DriverError> {
        self.process.adopt().await
    }

    fn lost(&self) -> Lost {
        self.process.lost()
    }

    fn verifies_digests(&self, run: &RevisionRun) -> bool {
        self.of(run).verifies_digests(run)
    }
}
