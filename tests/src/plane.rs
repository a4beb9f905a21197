//! A control plane as a process: `slipway up` on free ports and a folder of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use slipway_platform::grpc::{TracedChannel, channel};
use slipway_proto::deployer::v1::deployer_service_client::DeployerServiceClient;
use slipway_proto::detector::v1::failure_detector_service_client::FailureDetectorServiceClient;
use slipway_proto::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use tempfile::TempDir;

use crate::process::Process;
use crate::programs;
use crate::servers::DataDir;

/// What is logged, unless `SLIPWAY_LOG` says otherwise.
const LOG: &str = "info";

/// Where everything listens, as `slipway up --output json` says it.
#[derive(Debug, Clone, Deserialize)]
pub struct Addresses {
    /// The registry.
    pub registry: String,
    /// The evaluator.
    pub evaluator: String,
    /// The deployer.
    pub deployer: String,
    /// The failure-detector.
    pub failure_detector: String,
    /// The gateway, where it runs with the others.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// One client for each service. Clones share their connections.
#[derive(Clone)]
pub struct Clients {
    /// The registry's.
    pub registry: RegistryServiceClient<TracedChannel>,
    /// The evaluator's.
    pub evaluator: EvaluatorServiceClient<TracedChannel>,
    /// The deployer's.
    pub deployer: DeployerServiceClient<TracedChannel>,
    /// The failure-detector's.
    pub detector: FailureDetectorServiceClient<TracedChannel>,
}

impl Clients {
    /// Clients of these services; they connect when they are used, and again after a restart.
    pub fn new(addresses: &Addresses) -> Result<Self> {
        Ok(Self {
            registry: RegistryServiceClient::new(channel(&addresses.registry)?),
            evaluator: EvaluatorServiceClient::new(channel(&addresses.evaluator)?),
            deployer: DeployerServiceClient::new(channel(&addresses.deployer)?),
            detector: FailureDetectorServiceClient::new(channel(&addresses.failure_detector)?),
        })
    }
}

/// What a control plane is started with.
#[derive(Debug, Clone, Default)]
struct Options {
    without_gateway: bool,
    env: Vec<(String, String)>,
}

/// A control plane that runs, or was killed and may run again.
pub struct Plane {
    process: Process,
    addresses: Addresses,
    clients: Clients,
    options: Options,
    // In this order: the model servers end before their folder goes.
    data_dir: DataDir,
    home: TempDir,
}

/// How a control plane is to be started.
#[derive(Debug, Default)]
pub struct Starting(Options);

impl Starting {
    /// The gateway is to run by itself.
    pub fn without_gateway(mut self) -> Self {
        self.0.without_gateway = true;
        self
    }

    /// Sets a setting, such as `SLIPWAY__DEPLOYER__NODE_ID`.
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.0.env.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Plane> {
        let home = tempfile::Builder::new()
            .prefix("slipway-story-")
            .tempdir()?;
        let data_dir = home.path().join("data");
        std::fs::create_dir(&data_dir)?;
        let data_dir = data_dir.canonicalize()?;
        let (process, addresses) = launch(&self.0, home.path(), &data_dir, None).await?;
        Ok(Plane {
            process,
            clients: Clients::new(&addresses)?,
            addresses,
            options: self.0,
            data_dir: DataDir::new(data_dir),
            home,
        })
    }
}

impl Plane {
    /// A control plane with its gateway, on the defaults.
    pub async fn start() -> Result<Self> {
        Self::starting().start().await
    }

    /// A control plane that is to be started differently.
    pub fn starting() -> Starting {
        Starting::default()
    }

    /// The clients of its services.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where its data is.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// A folder for other things of the story, which goes with the control plane.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The address of its gateway.
    pub fn gateway(&self) -> Result<&str> {
        self.addresses
            .gateway
            .as_deref()
            .context("this control plane has no gateway of its own")
    }

    /// Ends it as a crash would. Its model servers go on.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Stops it as its administrator would.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "slipway up ended with {status}");
        Ok(())
    }

    /// Starts it again on the same data and the same ports, once it was killed or stopped.
    pub async fn restart(&mut self) -> Result<()> {
        let (process, addresses) = launch(
            &self.options,
            self.home.path(),
            self.data_dir.path(),
            Some(&self.addresses),
        )
        .await?;
        self.process = process;
        self.addresses = addresses;
        self.clients = Clients::new(&self.addresses)?;
        Ok(())
    }
}

async fn launch(
    options: &Options,
    home: &Path,
    data_dir: &Path,
    before: Option<&Addresses>,
) -> Result<(Process, Addresses)> {
    let mut arguments: Vec<String> = ["up", "--output", "json", "--free-ports"]
        .map(str::to_owned)
        .into();
    arguments.extend([
        "--log".to_owned(),
        std::env::var("SLIPWAY_LOG").unwrap_or_else(|_| LOG.to_owned()),
    ]);
    arguments.extend(["--data-dir".to_owned(), path_text(data_dir)?]);
    if options.without_gateway {
        arguments.push("--without-gateway".to_owned());
    }
    if let Some(before) = before {
        for (flag, url) in [
            ("--registry-listen", Some(&before.registry)),
            ("--evaluator-listen", Some(&before.evaluator)),
            ("--deployer-listen", Some(&before.deployer)),
            ("--failure-detector-listen", Some(&before.failure_detector)),
            ("--gateway-listen", before.gateway.as_ref()),
        ] {
            let address = url.map(|url| url.trim_start_matches("http://").to_owned());
            arguments.extend(
                address
                    .into_iter()
                    .flat_map(|address| [flag.to_owned(), address]),
            );
        }
    }
    let log: PathBuf = home.join("up.log");
    let (process, ready) = Process::start(
        "slipway up",
        &programs::slipway()?,
        &arguments,
        &options.env,
        log,
    )
    .await?;
    let addresses = serde_json::from_value(ready).context("the addresses of slipway up")?;
    Ok((process, addresses))
}

pub(crate) fn path_text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
