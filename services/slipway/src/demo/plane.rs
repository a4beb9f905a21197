//! The control plane in this process: where its data is, how it starts, and how all of it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use slipway_examples::dataset::Dataset;
use slipway_examples::model_server::protocol::request_body;

use super::args::DemoArgs;
use super::processes;
use super::words::{ENDPOINT_ID, ENVIRONMENT_ID, MODEL_ID};
use crate::client::Addresses;
use crate::failure::Failure;
use crate::up::{Running, UpConfig, start};

/// What a model server may take to end, beyond which it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A file of the data folder: one row as a request body.
const SAMPLE_REQUEST: &str = "sample-request.json";

pub struct Plane {
    running: Running,
    gateway: String,
    data_dir: PathBuf,
    /// Whether the folder was made for this run, and goes with it.
    temporary: bool,
    usual_ports: bool,
}

impl Plane {
    /// Starts everything: on the usual ports, or on free ones for a run that ends by itself.
    pub async fn start(args: &DemoArgs) -> Result<Plane, Failure> {
        let (data_dir, temporary) = match &args.data_dir {
            Some(dir) => (empty(dir)?, false),
            None => (fresh()?, true),
        };
        let config = UpConfig::new(&data_dir);
        let free_ports = args.once || args.free_ports;
        let started = start(if free_ports {
            config.on_free_ports()
        } else {
            config
        })
        .await;
        if started.is_err() && temporary {
            // Nothing is in it that would say more than the error.
            let _ = std::fs::remove_dir_all(&data_dir);
        }
        let running = started?;
        let gateway = running.addresses().gateway.clone();
        Ok(Plane {
            gateway: gateway.ok_or_else(|| Failure::usage("the demo needs the gateway"))?,
            data_dir: running.data_dir().to_owned(),
            running,
            temporary,
            usual_ports: !free_ports,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        self.running.addresses()
    }

    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// Waits until a service is lost, and says which and why.
    pub async fn lost(&self) -> String {
        self.running.lost().await
    }

    pub fn describe(&self) -> Vec<String> {
        let at = self.addresses();
        vec![
            format!("registry {}  evaluator {}", at.registry, at.evaluator),
            format!(
                "deployer {}  failure-detector {}",
                at.deployer, at.failure_detector
            ),
            format!(
                "gateway {}  data in {}",
                self.gateway,
                self.data_dir.display()
            ),
        ]
    }

    /// Commands to go on with, each with what it does.
    pub fn what_to_try(&self) -> anyhow::Result<Vec<String>> {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "slipway".to_owned());
        let request = self.data_dir.join(SAMPLE_REQUEST);
        std::fs::write(&request, sample_request())
            .with_context(|| format!("writing {}", request.display()))?;
        let at = self.addresses();
        let at_hand = if self.usual_ports {
            String::new()
        } else {
            format!(" --data-dir {}", self.data_dir.display())
        };
        let slipway = |command: &str| format!("{program} {command}{at_hand}");
        let endpoint = format!("{ENVIRONMENT_ID}/{ENDPOINT_ID}");
        let infer = format!("{}/{endpoint}/v2/models/{MODEL_ID}/infer", self.gateway);
        let commands = [
            (
                "what serves now, and what was blocked",
                slipway(&format!("endpoint status {endpoint}")),
            ),
            (
                "every decision, with its reason",
                slipway("events watch --past 100"),
            ),
            ("what the failure-detector saw", slipway("alerts list")),
            (
                "the versions",
                slipway(&format!("version list dev/{MODEL_ID}")),
            ),
            (
                "put version 1 back",
                slipway(&format!("rollback {endpoint} --reason 'trying it out'")),
            ),
            (
                "the same as JSON over HTTP",
                format!("curl {}/model-status/{endpoint}", at.deployer),
            ),
            (
                "ask the model, as users do",
                format!("curl -i -d @{} {infer}", request.display()),
            ),
            (
                "the gRPC API",
                format!(
                    "grpcurl -plaintext {} list",
                    at.registry.trim_start_matches("http://")
                ),
            ),
        ];
        Ok(commands
            .map(|(what, command)| format!("{command}  # {what}"))
            .to_vec())
    }

    /// Stops the control plane, then the model servers that it started, and removes a temporary folder unless
    /// it is to be kept.
    pub async fn stop(self, keep: bool) -> anyhow::Result<()> {
        self.running.stop().await;
        let data_dir = self.data_dir.clone();
        let ended =
            tokio::task::spawn_blocking(move || processes::end_all(&data_dir, STOP_GRACE)).await?;
        if self.temporary && keep {
            // There may be nobody left to tell.
            let _ = writeln!(
                std::io::stderr(),
                "data is kept in {}",
                self.data_dir.display()
            );
        } else if self.temporary {
            tokio::fs::remove_dir_all(&self.data_dir).await?;
        }
        ended
    }
}

fn sample_request() -> Vec<u8> {
    Dataset::wisconsin()
        .rows()
        .first()
        .map(|row| request_body(&row.features))
        .unwrap_or_default()
}

fn empty(dir: &Path) -> Result<PathBuf, Failure> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(dir.to_owned()),
        Ok(false) => Err(Failure::usage(format!(
            "--data-dir {}: the demo needs an empty folder",
            dir.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(dir.to_owned()),
        Err(error) => Err(Failure::usage(format!(
            "--data-dir {}: {error}",
            dir.display()
        ))),
    }
}

fn fresh() -> Result<PathBuf, Failure> {
    let dir =
        std::env::temp_dir().join(format!("slipway-demo-{}", crate::client::new_request_id()));
    std::fs::create_dir(&dir)
        .map_err(|error| Failure::other(format!("make {}", dir.display()), error))?;
    Ok(dir)
}
