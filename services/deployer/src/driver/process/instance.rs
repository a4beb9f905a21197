//! One instance of a revision from its start to its end: a task that alone starts, watches, restarts and
//! ends its process. Others see its [`Phase`] and may ask it to stop.
//!
//! ```text
//! Starting ──ready──▶ Ready ──exited──▶ Starting (again, after a pause) ──too often──▶ Failed
//!     │ └─exited, never ready─▶ Failed    │
//!     └────────────────stop───────────────┴──▶ Stopped
//! ```
//!
//! When the driver goes away the task ends and leaves the process as it is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use slipway_platform::names::RevisionName;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::{ArtifactCache, DriverError, Lost, ProcessSpec, RevisionRun, health};
use super::config::ProcessConfig;
use super::handle::Process;
use super::launch::{Launch, Port, Ports, is_free, launch};
use super::layout::lay_out;
use super::log;
use super::record::{Record, Records};

/// A process that was ready for this long had started well: its next exit is the first in a row.
const STEADY_AFTER: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A process that never became ready is asked to end, and not for long.
const FAILED_GRACE: Duration = Duration::from_secs(1);
/// A port may be taken by somebody else between its choice and the process's start.
const PORT_ATTEMPTS_MAX: u32 = 3;
const LOG_CUT_INTERVAL: Duration = Duration::from_millis(500);

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready(SocketAddr),
    Failed(DriverError),
    Stopped,
}

impl Phase {
    pub fn is_over(&self) -> bool {
        matches!(self, Phase::Failed(_) | Phase::Stopped)
    }
}

/// What all instances of a driver use.
pub(super) struct Shared {
    pub config: ProcessConfig,
    pub data_dir: PathBuf,
    pub cache: ArtifactCache,
    pub records: Records,
    pub ports: Arc<Ports>,
    pub lost: Lost,
    /// The driver is gone.
    pub closed: CancellationToken,
}

impl Shared {
    pub fn log_path(&self, revision: &RevisionName, index: u32) -> PathBuf {
        self.data_dir
            .join("logs")
            .join(revision.environment().id())
            .join(format!("{}.{index}.log", revision.id()))
    }

    pub fn model_dir(&self, revision: &RevisionName) -> PathBuf {
        self.data_dir
            .join("models")
            .join(revision.environment().id())
            .join(revision.id())
    }
}

/// A view of an instance's task.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub phase: watch::Receiver<Phase>,
    pub stop: watch::Sender<Option<Duration>>,
}

/// How a part of the task's life ended early.
enum End {
    /// The driver is gone; the process stays.
    Left,
    Stopped,
    Failed(DriverError),
}

/// The task.
pub(super) struct Task {
    shared: Arc<Shared>,
    run: RevisionRun,
    spec: ProcessSpec,
    index: u32,
    phase: watch::Sender<Phase>,
    stop: watch::Receiver<Option<Duration>>,
    /// The port that the instance had, to be had again if it is free.
    last_port: Option<u16>,
}

/// A process with what belongs to it.
struct Running {
    process: Process,
    port: Port,
}

impl Task {
    /// The task of instance `index`, to be run, and the view of it.
    pub fn new(
        shared: Arc<Shared>,
        run: RevisionRun,
        spec: ProcessSpec,
        index: u32,
    ) -> (Task, Instance) {
        let (phase, phase_seen) = watch::channel(Phase::Starting);
        let (stop_sent, stop) = watch::channel(None);
        (
            Task {
                shared,
                run,
                spec,
                index,
                phase,
                stop,
                last_port: None,
            },
            Instance {
                phase: phase_seen,
                stop: stop_sent,
            },
        )
    }

    /// Runs until the instance is over, or the driver is gone.
    pub async fn run(mut self) {
        let revision = self.run.revision.clone();
        match self.live().await {
            End::Left => {}
            End::Stopped => {
                tracing::info!(%revision, index = self.index, "instance stopped");
                self.phase.send_replace(Phase::Stopped);
            }
            End::Failed(error) => {
                tracing::warn!(%revision, index = self.index, %error, "instance failed");
                self.phase.send_replace(Phase::Failed(error));
            }
        }
    }

    async fn live(&mut self) -> End {
        let mut running = match self.start().await {
            Ok(running) => running,
            Err(end) => return end,
        };
        let mut exits = 0;
        loop {
            let ready_since = Instant::now();
            let why = match self.watch(&mut running).await {
                Ok(why) => why,
                Err(end) => return end,
            };
            self.phase.send_replace(Phase::Starting);
            self.announce_lost(&why);
            self.forget();
            if let Err(error) = running.process.clear().await {
                return End::Failed(error);
            }
            self.last_port = Some(running.port.number);
            drop(running);
            if ready_since.elapsed() >= STEADY_AFTER {
                exits = 0;
            }
            running = match self.start_again(&mut exits, why).await {
                Ok(running) => running,
                Err(end) => return end,
            };
        }
    }

    /// Watches a ready process until it exits, and says how it did.
    async fn watch(&mut self, running: &mut Running) -> Result<String, End> {
        self.phase
            .send_replace(Phase::Ready(running.port.address()));
        let log = self.shared.log_path(&self.run.revision, self.index);
        let mut cut = tokio::time::interval(LOG_CUT_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => return Err(End::Left),
                grace = stopped(&mut self.stop) => return Err(self.end(&mut running.process, grace).await),
                why = running.process.exited() => return Ok(why),
                _ = cut.tick() => self.cut(&log).await,
            }
        }
    }

    async fn cut(&self, log: &std::path::Path) {
        let (log, bytes_max) = (log.to_owned(), self.shared.config.log_bytes_max);
        let done = tokio::task::spawn_blocking(move || log::cut(&log, bytes_max)).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(revision = %self.run.revision, %error, "log cannot be cut");
        }
    }

    async fn start_again(&mut self, exits: &mut u32, mut why: String) -> Result<Running, End> {
        loop {
            *exits += 1;
            if *exits > self.shared.config.restarts_max {
                self.forget();
                return Err(End::Failed(DriverError::failed(format!(
                    "exited {exits} times in a row: {why}"
                ))));
            }
            let pause = BACKOFF_MIN
                .saturating_mul(1 << (*exits - 1).min(16))
                .min(BACKOFF_MAX);
            tokio::select! {
                biased;
                () = self.shared.closed.cancelled() => return Err(End::Left),
                _ = stopped(&mut self.stop) => {
                    self.forget();
                    return Err(End::Stopped);
                }
                () = tokio::time::sleep(pause) => {}
            }
            match self.start().await {
                Ok(running) => return Ok(running),
                Err(End::Failed(error)) => why = error.to_string(),
                Err(end) => return Err(end),
            }
        }
    }

    /// Starts the process, or takes charge of the one that the record names, and waits until it is ready.
    async fn start(&mut self) -> Result<Running, End> {
        for attempt in 1.. {
            let mut record = self.shared.records.read(&self.run.revision, self.index);
            let found = match &record {
                Some(record) => self.find(record).await?,
                None => None,
            };
            let (mut running, record) = match (found, record.take()) {
                (Some(process), Some(record)) => {
                    let port = self.shared.ports.hold(record.port);
                    (Running { process, port }, record)
                }
                (_, earlier) => {
                    self.last_port = earlier.map(|record| record.port).or(self.last_port);
                    self.spawn().await?
                }
            };
            if record.ready {
                return Ok(running);
            }
            match self.until_ready(&mut running, record).await? {
                None => return Ok(running),
                Some(_) if attempt < PORT_ATTEMPTS_MAX && !is_free(running.port.number) => {
                    tracing::info!(revision = %self.run.revision, "another process took the port: trying another");
                }
                Some(why) => {
                    let log = self.shared.log_path(&self.run.revision, self.index);
                    let reason = format!(
                        "exited before it was ready ({why}); its log is {}",
                        log.display()
                    );
                    return Err(End::Failed(DriverError::failed(reason)));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// The record's process if it is there; what else has its token is ended.
    async fn find(&self, record: &Record) -> Result<Option<Process>, End> {
        let earlier = record.clone();
        let identity = tokio::task::spawn_blocking(move || earlier.alive())
            .await
            .ok()
            .flatten();
        if let Some(process) = identity.and_then(Process::adopt) {
            return Ok(Some(process));
        }
        if record.ready {
            self.announce_lost("it went while nobody watched");
        }
        record.clear().await.map_err(End::Failed)?;
        Ok(None)
    }

    fn announce_lost(&self, why: &str) {
        tracing::warn!(revision = %self.run.revision, index = self.index, why, "instance is gone: it is started again");
        self.shared.lost.announce(&self.run.revision);
    }

    async fn spawn(&mut self) -> Result<(Running, Record), End> {
        let shared = self.shared.clone();
        let revision = &self.run.revision;
        let dir = shared.model_dir(revision);
        let model_dir = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return Err(End::Left),
            _ = stopped(&mut self.stop) => {
                self.forget();
                return Err(End::Stopped);
            }
            laid_out = lay_out(&self.run, dir, &shared.cache) => laid_out.map_err(End::Failed)?,
        };
        let port = shared
            .ports
            .take(&shared.config, self.last_port)
            .map_err(End::Failed)?;
        let token = Uuid::new_v4().to_string();
        let mut record = Record {
            run: self.run.clone(),
            index: self.index,
            node: shared.config.node.clone(),
            port: port.number,
            token: token.clone(),
            identity: None,
            ready: false,
        };
        self.note(&record).await?;
        let log = shared.log_path(revision, self.index);
        let how = Launch {
            config: &shared.config,
            model_dir: &model_dir,
            log: &log,
            port: port.number,
            token: &token,
        };
        let child = launch(&self.run, &self.spec, &how).map_err(|error| {
            self.forget();
            End::Failed(error)
        })?;
        let process = Process::ours(child, &token);
        record.identity = process.identity().cloned();
        tracing::info!(%revision, index = self.index, port = port.number, pid = record.identity.as_ref().map(|i| i.pid), "instance started");
        let mut running = Running { process, port };
        if let Err(end) = self.note(&record).await {
            // It would not be found again after a restart.
            let _ = running.process.end(FAILED_GRACE).await;
            return Err(end);
        }
        Ok((running, record))
    }

    /// `None` when it is ready, or how it exited before.
    async fn until_ready(
        &mut self,
        running: &mut Running,
        mut record: Record,
    ) -> Result<Option<String>, End> {
        let address = running.port.address();
        let limit = self.spec.ready_within;
        let why = tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => return Err(End::Left),
            grace = stopped(&mut self.stop) => return Err(self.end(&mut running.process, grace).await),
            why = running.process.exited() => why,
            ready = health::ready_within(address, &self.spec.health_path, limit) => match ready {
                Ok(()) => {
                    record.ready = true;
                    self.note(&record).await?;
                    return Ok(None);
                }
                Err(why) => {
                    running.process.end(FAILED_GRACE).await.map_err(End::Failed)?;
                    self.forget();
                    return Err(End::Failed(DriverError::failed(why)));
                }
            },
        };
        running.process.clear().await.map_err(End::Failed)?;
        self.forget();
        Ok(Some(why))
    }

    async fn end(&self, process: &mut Process, grace: Duration) -> End {
        match process.end(grace).await {
            Ok(()) => {
                self.forget();
                End::Stopped
            }
            Err(error) => End::Failed(error),
        }
    }

    async fn note(&self, record: &Record) -> Result<(), End> {
        let (records, record) = (self.shared.records.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || records.write(&record))
            .await
            .map_err(std::io::Error::other);
        let failed = |error| {
            End::Failed(DriverError::unavailable(format!(
                "cannot note the instance: {error}"
            )))
        };
        written.flatten().map_err(failed)
    }

    fn forget(&self) {
        self.shared.records.remove(&self.run.revision, self.index);
    }
}

/// Waits until a stop is asked for, and for how long the process may take.
async fn stopped(stop: &mut watch::Receiver<Option<Duration>>) -> Duration {
    let asked = stop
        .wait_for(Option::is_some)
        .await
        .map(|grace| grace.unwrap_or_default());
    match asked {
        Ok(grace) => grace,
        // The view is gone, so nobody can ask any more.
        Err(_) => std::future::pending().await,
    }
}
