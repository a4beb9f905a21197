//! One of several detectors over one PostgreSQL schema, in a runtime of its own, so that it can be killed and frozen.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;

use slipway_failure_detector::{Config, Deps, run};
use slipway_platform::clock::SystemClock;
use slipway_platform::events::{EmbeddedLog, EventBus};
use slipway_proto::detector::v1::*;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{Client, settings, within};

/// How fast the work of a lost replica is taken over: the default, as a shorter lease would end by itself on a busy
/// machine.
pub const TAKEOVER: Duration = Duration::from_secs(5);
/// What a busy machine takes besides.
pub const SLACK: Duration = Duration::from_secs(15);

/// A detector among others.
pub struct Replica {
    pub client: Client,
    pub address: String,
    pub bus: EmbeddedLog,
    shutdown: CancellationToken,
    runtime: Handle,
    kill: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
}

/// A replica that does nothing until this is dropped.
pub struct Frozen(Option<blocking::Sender<()>>);

/// Settings for a replica; the folder is the same for all.
pub fn shared(folder: &Path) -> Config {
    let mut config = settings(folder);
    config.storage = slipway_platform::testing::postgres(folder);
    config.replicas.takeover_ms = u64::try_from(TAKEOVER.as_millis()).unwrap();
    config
}

impl Replica {
    pub async fn start(folder: &Path, name: &str) -> Self {
        Self::start_with(folder, name, shared(folder)).await
    }

    pub async fn start_with(folder: &Path, name: &str, config: Config) -> Self {
        let clock = SystemClock::shared();
        let events = folder.join(format!("{name}-events.db"));
        let bus = EmbeddedLog::open(&events, clock.clone(), Duration::from_secs(3_600))
            .await
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let deps = Deps {
            bus: Arc::new(bus.clone()),
            clock,
        };
        let (kill, killed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (started, runtime) = blocking::channel();
        let token = shutdown.clone();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            started.send(runtime.handle().clone()).unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    _ = killed => {}
                    outcome = run(config, deps, listener, token) => outcome.unwrap(),
                }
            });
            runtime.shutdown_background();
            let _ = end.send(());
        });
        let runtime = runtime.recv().unwrap();
        let connecting = async {
            loop {
                if let Ok(mut client) = Client::connect(address.clone()).await {
                    let request = ListChannelsRequest::default();
                    if client.list_channels(request).await.is_ok() {
                        break client;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let client = within("the replica", connecting).await;
        Self {
            client,
            address,
            bus,
            shutdown,
            runtime,
            kill: Some(kill),
            ended: Some(ended),
        }
    }

    /// Ends it at once, as `kill -9` does: nothing is written, nothing is let go.
    pub async fn kill(mut self) {
        drop(self.kill.take());
        let ended = self.ended.take().unwrap();
        within("the end", ended).await.unwrap();
    }

    /// Stops it as planned.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = self.ended.take().unwrap();
        within("the stop", ended).await.unwrap();
    }

    /// Keeps it from doing anything, as a paused machine does.
    pub async fn freeze(&self) -> Frozen {
        let (thaw, thawed) = blocking::channel::<()>();
        let (frozen, is_frozen) = oneshot::channel();
        self.runtime.spawn(async move {
            let _ = frozen.send(());
            let _ = thawed.recv();
        });
        within("the frost", is_frozen).await.unwrap();
        Frozen(Some(thaw))
    }

    pub async fn watch(&self, request: WatchVerdictRequest) -> Streaming<VerdictReport> {
        let watching = async {
            loop {
                match self.client.clone().watch_verdict(request.clone()).await {
                    Ok(stream) => return stream.into_inner(),
                    Err(status) => {
                        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        within("a judge", watching).await
    }

    /// The decisions that were published here.
    pub async fn decisions(&self) -> Vec<String> {
        let topics = &["slipway.anomaly"];
        let mut subscription = self.bus.subscribe("decisions", topics).await.unwrap();
        let mut ids = Vec::new();
        let next = async |subscription: &mut Box<dyn slipway_platform::events::Subscription>| {
            tokio::time::timeout(Duration::from_millis(500), subscription.next()).await
        };
        while let Ok(Ok(delivery)) = next(&mut subscription).await {
            let event = delivery.into_event().unwrap();
            if event.r#type.contains("anomaly.detected") {
                ids.push(event.id);
            }
        }
        ids
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.shutdown.cancel();
        drop(self.kill.take());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
