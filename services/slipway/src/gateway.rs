//! `slipway gateway`: the embedded data plane as a process of its own.
//!
//! It goes on serving the last configuration while the control plane is away, also over a restart of its own.

use std::path::PathBuf;

use slipway_gateway::{Config, DEFAULTS, SECTION};
use slipway_platform::config;
use tokio_util::sync::CancellationToken;

use crate::client::{DATA_DIR, url};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::telemetry;
use crate::up::{self, Signals};

/// The command line of `slipway gateway`.
#[derive(Debug, Clone, clap::Args)]
pub struct GatewayArgs {
    /// The deployer, which routes are taken from.
    #[arg(long, value_name = "ADDRESS")]
    xds: Option<String>,
    /// The failure-detector, which access logs go to.
    #[arg(long, value_name = "ADDRESS")]
    als: Option<String>,
    /// Where it listens; port 0 takes a free port.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Who this proxy is; each needs a name of its own.
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// Where the last good configuration is kept, below `gateway`.
    #[arg(long, env = "SLIPWAY_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// A settings file with a section `gateway`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on an address that is not loopback, without TLS.
    #[arg(long)]
    insecure: bool,
    /// What is logged to standard error; the setting telemetry.filter unless given.
    #[arg(long, env = "SLIPWAY_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How the address is shown once it listens; with json, one object on one line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl GatewayArgs {
    fn settings(&self) -> Result<Config, Failure> {
        let mut settings: Config = config::load(
            DEFAULTS,
            Some(SECTION),
            self.config.as_deref(),
            std::env::vars(),
        )?;
        if let Some(xds) = &self.xds {
            settings.control_plane = url(xds);
        }
        if let Some(als) = &self.als {
            settings.access_log_service = url(als);
        }
        if let Some(listen) = &self.listen {
            settings.listen.clone_from(listen);
        }
        if let Some(node_id) = &self.node_id {
            settings.node_id.clone_from(node_id);
        }
        settings.saved_configuration = self
            .data_dir
            .join("gateway/configuration.bin")
            .display()
            .to_string();
        Ok(settings)
    }
}

/// Does what `slipway gateway` says: serves until SIGINT or SIGTERM, then drains.
pub async fn run(args: GatewayArgs) -> Result<Exit, Failure> {
    let _telemetry = telemetry::of_program(args.log.as_deref(), args.config.as_deref())?;
    let mut signals = Signals::install()?;
    let settings = args.settings()?;
    let listener = config::bind(&settings.listen, "gateway.listen (--listen)", args.insecure)?;
    let address = up::url(&listener)?;
    let output = Output::new(args.output);
    let shutdown = CancellationToken::new();
    let serving = slipway_gateway::run(settings, listener, shutdown.clone());
    if output.is_json() {
        output
            .line(&serde_json::json!({"gateway": address, "pid": std::process::id()}).to_string());
    } else {
        output.line(&format!("gateway at {address}"));
    }
    let asked = async {
        signals.next().await;
        shutdown.cancel();
        // A second signal means now.
        signals.next().await;
    };
    tokio::select! {
        served = serving => served?,
        () = asked => return Err(Failure::Other(anyhow::anyhow!("stopped before every request had ended"))),
    }
    Ok(Exit::Ok)
}
