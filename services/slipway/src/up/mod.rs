//! `slipway up`: every service and the gateway in one process, on embedded storage and events unless the
//! settings name PostgreSQL (`storage.url` of a service) or Kafka (`[event_bus]`).
//!
//! Order of the start: settings of all services are read and checked, every listener is bound, the
//! event bus is opened, the services start, and once each says that it serves, the addresses are
//! written to `addresses.json` in the data directory. Order of the stop: the gateway drains, then the
//! services stop in the reverse order of their dependencies (each fails readiness, stops accepting,
//! finishes calls, ends its tasks, closes its database), then the event bus.
//!
//! [`start`] is the same thing for a program that wants a control plane inside itself.

mod announce;
mod running;
mod services;
mod settings;
mod signals;

use std::path::PathBuf;

pub use crate::client::Addresses;
pub use running::Running;
pub(crate) use settings::url;
pub use signals::Signals;

use crate::client::DATA_DIR;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::telemetry;

/// How a control plane is to be run.
#[derive(Debug, Clone)]
pub struct UpConfig {
    /// Where everything is kept; made when it is missing. It belongs to one control plane at a time.
    pub data_dir: PathBuf,
    /// A settings file with a section for each service.
    pub settings: Option<PathBuf>,
    /// Environment variables; those that begin with `SLIPWAY__` are settings.
    pub env: Vec<(String, String)>,
    /// Where to listen, in place of what the settings say.
    pub listen: Listen,
    /// Whether the gateway runs with the services.
    pub gateway: bool,
    /// Whether addresses other than loopback may be listened on.
    pub insecure: bool,
}

/// Where each service listens; `None` leaves it to the settings. Port 0 takes a free port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listen {
    /// The registry.
    pub registry: Option<String>,
    /// The evaluator.
    pub evaluator: Option<String>,
    /// The deployer.
    pub deployer: Option<String>,
    /// The failure-detector.
    pub failure_detector: Option<String>,
    /// The gateway.
    pub gateway: Option<String>,
}

impl Listen {
    /// A free port on loopback for each that has no address yet.
    pub fn or_free_ports(self) -> Self {
        let free =
            |address: Option<String>| Some(address.unwrap_or_else(|| "127.0.0.1:0".to_owned()));
        Self {
            registry: free(self.registry),
            evaluator: free(self.evaluator),
            deployer: free(self.deployer),
            failure_detector: free(self.failure_detector),
            gateway: free(self.gateway),
        }
    }
}

impl UpConfig {
    /// Everything on its usual port, with data in `data_dir` and the settings of this process's environment.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            settings: None,
            env: std::env::vars().collect(),
            listen: Listen::default(),
            gateway: true,
            insecure: false,
        }
    }

    /// The same on free ports.
    pub fn on_free_ports(mut self) -> Self {
        self.listen = self.listen.or_free_ports();
        self
    }
}

/// Starts a control plane in this process and returns once every service is ready.
///
/// Nothing is left running when it fails. A taken port, a wrong setting, and a data directory that another
/// control plane has, are errors that say so.
pub async fn start(config: UpConfig) -> Result<Running, Failure> {
    let started = start_until(config, std::future::pending()).await?;
    started.ok_or_else(|| Failure::Other(anyhow::anyhow!("stopped before it was ready")))
}

/// The same, unless it is to stop before it is ready: then what was started is ended in order, and `None`.
async fn start_until(
    config: UpConfig,
    stop: impl Future<Output = ()>,
) -> Result<Option<Running>, Failure> {
    let settings = settings::Settings::load(&config)?;
    let bound = settings.bind(&config)?;
    running::start(bound, stop).await
}

/// The command line of `slipway up`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// Where everything is kept.
    #[arg(long, env = "SLIPWAY_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// A settings file, with a section for each service.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the registry listens; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    registry_listen: Option<String>,
    /// Where the evaluator listens.
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    evaluator_listen: Option<String>,
    /// Where the deployer listens.
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    deployer_listen: Option<String>,
    /// Where the failure-detector listens.
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    failure_detector_listen: Option<String>,
    /// Where the gateway listens.
    #[arg(long, value_name = "ADDRESS", help_heading = "Listeners")]
    gateway_listen: Option<String>,
    /// Take a free port on loopback for every listener that is not named.
    #[arg(long, help_heading = "Listeners")]
    free_ports: bool,
    /// Listen on addresses that are not loopback, without TLS and authentication.
    #[arg(long, help_heading = "Listeners")]
    insecure: bool,
    /// Leave the gateway out: it runs by itself with `slipway gateway`.
    #[arg(long)]
    without_gateway: bool,
    /// What is logged to standard error, such as info,slipway_deployer=debug; the setting
    /// telemetry.filter unless given.
    #[arg(long, env = "SLIPWAY_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How the addresses are shown once everything is ready; with json, one object on one line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl UpArgs {
    fn config(&self) -> UpConfig {
        let listen = Listen {
            registry: self.registry_listen.clone(),
            evaluator: self.evaluator_listen.clone(),
            deployer: self.deployer_listen.clone(),
            failure_detector: self.failure_detector_listen.clone(),
            gateway: self.gateway_listen.clone(),
        };
        UpConfig {
            settings: self.config.clone(),
            listen: if self.free_ports {
                listen.or_free_ports()
            } else {
                listen
            },
            gateway: !self.without_gateway,
            insecure: self.insecure,
            ..UpConfig::new(&self.data_dir)
        }
    }
}

/// Does what `slipway up` says: runs until SIGINT or SIGTERM, or until a service is lost.
pub async fn run(args: UpArgs) -> Result<Exit, Failure> {
    let _telemetry = telemetry::of_program(args.log.as_deref(), args.config.as_deref())?;
    let mut signals = Signals::install()?;
    let Some(running) = start_until(args.config(), signals.next()).await? else {
        return Ok(Exit::Ok);
    };
    announce::ready(Output::new(args.output), &running);
    let lost = tokio::select! {
        () = signals.next() => None,
        reason = running.lost() => Some(reason),
    };
    tracing::info!("stopping");
    tokio::select! {
        () = running.stop() => {}
        // A second signal means now.
        () = signals.next() => return Err(Failure::Other(anyhow::anyhow!("stopped before everything had ended"))),
    }
    match lost {
        None => Ok(Exit::Ok),
        Some(reason) => Err(Failure::Other(anyhow::anyhow!(reason))),
    }
}

#[cfg(test)]
mod tests;
