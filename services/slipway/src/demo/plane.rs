//! The control plane in this process: where its data is, how it starts, and how all of it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::DemoArgs;
use super::processes;
use super::words::{ENDPOINT_ID, ENVIRONMENT_ID, MODEL_ID};
use crate::client::Addresses;
use crate::failure::Failure;
use crate::up::{Running, UpConfig, start};

/// What a model server may take to end, beyond which it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub struct Plane {
    running: Running,
    gateway: String,
    data_dir: PathBuf,
    /// Whether the folder was made for this run, and goes with it.
    temporary: bool,
}

impl Plane {
    /// Starts everything: on the usual ports, or on free ones for a run that ends by itself.
    pub async fn start(args: &DemoArgs) -> Result<Plane, Failure> {
        let (data_dir, temporary) = match &args.data_dir {
            Some(dir) => (empty(dir)?, false),
            None => (fresh()?, true),
        };
        let config = UpConfig::new(&data_dir);
        let config = if args.once {
            config.on_free_ports()
        } else {
            config
        };
        let running = start(config).await?;
        let gateway = running.addresses().gateway.clone();
        Ok(Plane {
            gateway: gateway.ok_or_else(|| Failure::usage("the demo needs the gateway"))?,
            data_dir: running.data_dir().to_owned(),
            running,
            temporary,
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

    /// Commands that show what the story left behind.
    pub fn what_to_try(&self) -> Vec<String> {
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "slipway".to_owned());
        let at = self.addresses();
        let endpoint = format!("{ENVIRONMENT_ID}/{ENDPOINT_ID}");
        vec![
            format!("{program} endpoint status {endpoint}"),
            format!("{program} version list dev/{MODEL_ID}"),
            format!("{program} alerts list"),
            format!("{program} blocks list {endpoint}"),
            format!("{program} events watch --past 50"),
            format!("{program} rollback {endpoint} --reason 'because I can'"),
            format!("curl {}/model-status/{endpoint}", at.deployer),
            format!("curl -i {}/{endpoint}/v2/models/{MODEL_ID}", self.gateway),
            format!(
                "grpcurl -plaintext {} list",
                at.registry.trim_start_matches("http://")
            ),
        ]
    }

    /// Stops the control plane, then the model servers that it started, and removes a temporary folder unless
    /// it is to be kept.
    pub async fn stop(self, keep: bool) -> anyhow::Result<()> {
        self.running.stop().await;
        let data_dir = self.data_dir.clone();
        let ended =
            tokio::task::spawn_blocking(move || processes::end_all(&data_dir, STOP_GRACE)).await?;
        if self.temporary && keep {
            eprintln!("data is kept in {}", self.data_dir.display());
        } else if self.temporary {
            tokio::fs::remove_dir_all(&self.data_dir).await?;
        }
        ended
    }
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
