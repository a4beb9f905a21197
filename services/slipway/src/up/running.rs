//! A control plane that runs in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::clock::SystemClock;
use slipway_platform::events::EventBus;
use slipway_platform::events::config::{self as bus_config, Embedded};
use slipway_platform::grpc;
use slipway_platform::tasks::{State, Tasks};
use tokio_util::sync::CancellationToken;

use super::settings::Bound;
use super::{Addresses, announce, services};
use crate::failure::Failure;

/// Services that are not ready after this time are not going to be.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What one service may take to stop, beyond which it is aborted: a little more than the deadlines that
/// the services themselves have for their calls, their tasks and their databases.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Leaving the consumer groups may take this long; others wait for the session to end otherwise.
const BUS_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A control plane that runs. Dropping it leaves it running; [`Running::stop`] ends it.
pub struct Running {
    addresses: Addresses,
    data_dir: PathBuf,
    /// In the order in which they stop.
    services: Vec<Service>,
    bus: Arc<dyn EventBus>,
    /// What the event bus does by itself.
    bus_tasks: Tasks,
}

/// One service, with its own moment of stopping.
pub(super) struct Service {
    pub(super) name: &'static str,
    token: CancellationToken,
    tasks: Tasks,
}

impl Service {
    /// Runs what `run` makes of the service's shutdown token.
    pub(super) fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = slipway_platform::Result<()>> + Send + 'static,
    {
        let token = CancellationToken::new();
        let tasks = Tasks::new(token.clone());
        tasks.spawn(name, run(token.clone()));
        Self { name, token, tasks }
    }

    async fn lost(&self) -> String {
        let mut states = self.tasks.readiness().subscribe();
        match states
            .wait_for(|state| matches!(state, State::Failed(_)))
            .await
            .as_deref()
        {
            Ok(State::Failed(reason)) => reason.clone(),
            _ => format!("{} was lost", self.name),
        }
    }

    async fn stop(&self) {
        self.token.cancel();
        self.tasks.join(STOP_TIMEOUT).await;
    }
}

pub(super) async fn start(
    bound: Bound,
    stop: impl Future<Output = ()>,
) -> Result<Option<Running>, Failure> {
    let clock = SystemClock::shared();
    let bus_tasks = Tasks::new(CancellationToken::new());
    let embedded = Embedded {
        path: &bound.data_dir.join("events.db"),
        tasks: &bus_tasks,
    };
    let bus = bus_config::connect(&bound.event_bus, Some(embedded), clock.clone()).await?;
    let (addresses, data_dir) = (bound.addresses.clone(), bound.data_dir.clone());
    let waits = bound.waits_for_others();
    let running = Running {
        services: services::start(bound, bus.clone(), clock),
        addresses,
        data_dir,
        bus,
        bus_tasks,
    };
    let ready = tokio::select! {
        ready = running.ready(waits) => ready.map(|()| true),
        reason = running.lost() => Err(Failure::Other(anyhow::anyhow!(reason))),
        () = stop => Ok(false),
    };
    let announced = ready.and_then(|ready| {
        if ready {
            announce::write(&running.addresses, &running.data_dir)?;
        }
        Ok(ready)
    });
    match announced {
        Ok(true) => Ok(Some(running)),
        Ok(false) => {
            running.end().await;
            Ok(None)
        }
        Err(failure) => {
            running.end().await;
            Err(failure)
        }
    }
}

impl Running {
    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Waits until a service is lost, and says which and why.
    pub async fn lost(&self) -> String {
        let all = self.services.iter().map(|service| Box::pin(service.lost()));
        futures::future::select_all(all).await.0
    }

    /// Stops everything in order; calls and requests that were begun are finished up to a deadline.
    pub async fn stop(self) {
        announce::remove(&self.data_dir);
        self.end().await;
    }

    async fn end(&self) {
        for service in &self.services {
            tracing::debug!(service = service.name, "stopping");
            service.stop().await;
        }
        self.bus.close(BUS_CLOSE_TIMEOUT).await;
        self.bus_tasks.join(STOP_TIMEOUT).await;
    }

    /// Waits until every service answers that it serves; without a limit where what they need belongs to others, whom
    /// the log names.
    async fn ready(&self, waits_for_others: bool) -> Result<(), Failure> {
        let Addresses {
            registry,
            evaluator,
            deployer,
            failure_detector,
            gateway: _,
        } = &self.addresses;
        let services = [
            ("registry", registry),
            ("evaluator", evaluator),
            ("deployer", deployer),
            ("failure-detector", failure_detector),
        ];
        let all = services.map(|(name, address)| serving(name, address));
        let all = futures::future::try_join_all(all);
        if waits_for_others {
            return all.await.map(|_| ());
        }
        match tokio::time::timeout(READY_TIMEOUT, all).await {
            Ok(all) => all.map(|_| ()),
            Err(_) => Err(Failure::Other(anyhow::anyhow!(
                "the services were not ready within {} s; the log says why",
                READY_TIMEOUT.as_secs()
            ))),
        }
    }
}

async fn serving(name: &'static str, address: &str) -> Result<(), Failure> {
    grpc::serving(address).await?;
    tracing::debug!(service = name, "ready");
    Ok(())
}
