//! The data plane as a process of its own: `slipway gateway`.

use anyhow::{Context, Result, ensure};

use crate::plane::{Plane, path_text};
use crate::process::Process;
use crate::programs;

/// A gateway that takes its routes from a control plane and outlives it.
pub struct Gateway {
    process: Process,
    address: String,
}

impl Gateway {
    /// Starts a gateway of this control plane; each needs a name of its own.
    pub async fn start(plane: &Plane, node_id: &str) -> Result<Self> {
        let data_dir = plane.home().join(node_id);
        let arguments = [
            "gateway",
            "--output",
            "json",
            "--listen",
            "127.0.0.1:0",
            "--xds",
            &plane.addresses().deployer,
            "--als",
            &plane.addresses().failure_detector,
            "--node-id",
            node_id,
            "--data-dir",
            &path_text(&data_dir)?,
        ]
        .map(str::to_owned);
        let log = plane.home().join(format!("{node_id}.log"));
        let (process, ready) =
            Process::start(node_id, &programs::slipway()?, &arguments, &[], log).await?;
        let address = ready["gateway"]
            .as_str()
            .context("the address of the gateway")?
            .to_owned();
        Ok(Self { process, address })
    }

    /// Where it listens, as a URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it; requests in flight are finished.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "slipway gateway ended with {status}");
        Ok(())
    }
}
