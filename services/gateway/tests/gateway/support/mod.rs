//! What the tests share: a gateway with its surroundings, resources, and waiting for conditions.

pub mod ads;
pub mod als;
pub mod backend;
pub mod client;
pub mod resources;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use slipway_gateway::{Config, DEFAULTS, SECTION};
use slipway_platform::config::load;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use ads::FakeAds;
use als::FakeAls;
use backend::Backend;
use resources::{Split, configure};

/// Nothing in these tests takes longer unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for a condition, looking at it often.
pub async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = condition() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

/// Waits for a future, no longer than [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in {DEADLINE:?}"))
}

/// A gateway between a fake control plane and a fake log service.
pub struct Gateway {
    pub ads: FakeAds,
    pub als: FakeAls,
    pub address: SocketAddr,
    pub folder: TempDir,
    shutdown: CancellationToken,
    running: Option<JoinHandle<slipway_platform::Result<()>>>,
}

impl Gateway {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a gateway with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), FakeAds::start().await, change).await
    }

    /// Starts a gateway on a folder that another may have used.
    pub async fn start_in(folder: TempDir, ads: FakeAds, change: impl FnOnce(&mut Config)) -> Self {
        let als = FakeAls::start().await;
        let mut config: Config = load(DEFAULTS, Some(SECTION), None, []).unwrap();
        config.control_plane = format!("http://{}", ads.address());
        config.access_log_service = format!("http://{}", als.address());
        config.saved_configuration = folder
            .path()
            .join("configuration.bin")
            .display()
            .to_string();
        config.timeouts.drain_grace_ms = 50;
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = Some(tokio::spawn(slipway_gateway::run(
            config,
            listener,
            shutdown.clone(),
        )));
        Self {
            ads,
            als,
            address,
            folder,
            shutdown,
            running,
        }
    }

    /// Tells the gateway to stop, without waiting for it.
    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops the gateway and gives back its folder and control plane.
    pub async fn stop(mut self) -> (TempDir, FakeAds, FakeAls) {
        self.shutdown.cancel();
        let running = self.running.take().unwrap();
        within("the gateway's end", running).await.unwrap().unwrap();
        (self.folder, self.ads, self.als)
    }
}

/// A gateway whose one revision has one backend.
pub async fn gateway_with_backend() -> (Gateway, Backend) {
    gateway_and_backend_with(|_| {}).await
}

/// [`gateway_with_backend`] with changed settings.
pub async fn gateway_and_backend_with(change: impl FnOnce(&mut Config)) -> (Gateway, Backend) {
    let gateway = Gateway::start_with(change).await;
    let backend = Backend::start("stable").await;
    let split = Split::of(1, &[("tumor-00001", 10_000)]);
    configure(&gateway.ads, &[("tumor-00001", &[&backend])], split).await;
    (gateway, backend)
}
