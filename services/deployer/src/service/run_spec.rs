//! A stored revision as a driver is asked to run it.

use std::time::Duration;

use slipway_platform::{Error, Result};

use crate::domain::resources::RunTemplate;
use crate::driver::{ExternalSpec, ProcessSpec, RevisionRun, RunArtifact, RunSpec};
use crate::store::revisions::RevisionRow;

/// What the driver is asked to run.
pub fn run_of(row: &RevisionRow, ready_within: Duration) -> Result<RevisionRun> {
    let spec = match &row.facts.run {
        RunTemplate::External(external) => RunSpec::External(ExternalSpec {
            addresses: external
                .addresses
                .iter()
                .map(|address| address.parse())
                .collect::<Result<_, _>>()
                .map_err(|error: std::net::AddrParseError| {
                    Error::internal("read a revision's address", error)
                })?,
            health_path: external.health_path.clone(),
            ready_within,
        }),
        RunTemplate::Process(process) => RunSpec::Process(ProcessSpec {
            command: process.command.clone(),
            env: process.env.clone(),
            health_path: process.health_path.clone(),
            ready_within,
            instances: process.instances,
        }),
    };
    let artifacts = row.facts.artifacts.iter().map(|artifact| RunArtifact {
        role: artifact.role.clone(),
        name: artifact.name.clone(),
        digest: artifact.digest.clone(),
        size: u64::try_from(artifact.size_bytes).unwrap_or(0),
        file_name: artifact.file_name.clone(),
    });
    Ok(RevisionRun {
        revision: row.name.clone(),
        spec,
        artifacts: artifacts.collect(),
    })
}
