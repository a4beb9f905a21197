//! The model server as a command: where its model and port come from, and how it starts and stops.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::serve_when;
use crate::model::{MAX_FILE_BYTES, Model};

/// Serve a model file by the Open Inference Protocol v2.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The model file; without it, the file of role `model` in MODEL_DIR.
    pub model: Option<PathBuf>,

    /// The folder that holds the model's files.
    #[arg(long, env = "MODEL_DIR")]
    pub model_dir: Option<PathBuf>,

    /// The port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 0)]
    pub port: u16,

    /// The address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
}

/// When the server calls itself ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Startup {
    AtOnce,
    After(Duration),
    Never,
}

/// Loads the model, listens, prints `listening on <address>` to standard output, and serves until SIGTERM or SIGINT.
pub async fn run(args: Args, startup: Startup) -> anyhow::Result<()> {
    let path = match (&args.model, &args.model_dir) {
        (Some(path), _) => path.clone(),
        (None, Some(dir)) => find_model_file(dir)?,
        (None, None) => bail!("name a model file, or set MODEL_DIR"),
    };
    let model = load(&path).with_context(|| format!("model file {}", path.display()))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind((args.host, args.port))
        .await
        .with_context(|| format!("cannot listen on {}:{} (PORT)", args.host, args.port))?;
    println!("listening on {}", listener.local_addr()?);
    let ready = async {
        match startup {
            Startup::AtOnce => {}
            Startup::After(delay) => tokio::time::sleep(delay).await,
            Startup::Never => std::future::pending().await,
        }
    };
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_when(model, listener, ready, shutdown).await?;
    Ok(())
}

/// The model's file in a folder: `model.json`, else `model`.
pub fn find_model_file(dir: &Path) -> anyhow::Result<PathBuf> {
    ["model.json", "model"]
        .map(|name| dir.join(name))
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{} has neither model.json nor model", dir.display()))
}

fn load(path: &Path) -> anyhow::Result<Model> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE_BYTES {
        bail!("{length} bytes, more than {MAX_FILE_BYTES}");
    }
    Model::from_json(&std::fs::read(path)?)
}
