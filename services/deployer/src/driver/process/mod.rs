//! Revisions as local processes.
//!
//! A process gets `PORT`, `MODEL_DIR` and `SLIPWAY_REVISION`, runs in `MODEL_DIR` in a group of its own,
//! writes to a log of bounded size, and listens on loopback. It outlives the deployer: the next one on the
//! same node finds it by its record, and takes charge again of exactly the process that was started (its
//! id, its start time and a token in its environment must all match).
//!
//! Below the data folder: `artifacts/` (the cache), `models/` (a `MODEL_DIR` per revision), `instances/`
//! (the records), `logs/`.

mod config;
mod handle;
mod identity;
mod instance;
mod launch;
mod layout;
mod log;
mod record;

#[cfg(test)]
mod tests;

pub use config::ProcessConfig;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use slipway_platform::names::RevisionName;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{
    ArtifactCache, ArtifactSource, Driver, DriverError, Lost, ProcessSpec, RevisionRun, RunSpec,
    RunningRevision, external,
};
use instance::{Instance, Phase, Shared, Task};
use record::{Record, Records};

/// The most instances of one revision.
pub const INSTANCES_MAX: u32 = 16;
/// What a stop may take beyond its grace.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// See the module. Dropping it leaves every process running.
pub struct ProcessDriver {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    instances: Mutex<BTreeMap<(RevisionName, u32), Instance>>,
}

impl ProcessDriver {
    /// A driver with its files in `data_dir`, which fetches artifacts from `source`. One driver at a time uses
    /// a folder.
    pub fn new(
        config: ProcessConfig,
        data_dir: PathBuf,
        source: Arc<dyn ArtifactSource>,
    ) -> ProcessDriver {
        // Processes run in another folder, so their paths must not depend on this one.
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let shared = Shared {
            config,
            cache: ArtifactCache::new(data_dir.join("artifacts"), source),
            records: Records::new(data_dir.join("instances")),
            data_dir,
            ports: Arc::default(),
            lost: Lost::default(),
            closed: CancellationToken::new(),
        };
        ProcessDriver {
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
            instances: Mutex::default(),
        }
    }

    /// The log of an instance.
    pub fn log_path(&self, revision: &RevisionName, index: u32) -> PathBuf {
        self.shared.log_path(revision, index)
    }

    /// The instance's task: the present one, or a new one if there is none or it is over.
    fn instance(&self, run: &RevisionRun, spec: &ProcessSpec, index: u32) -> Instance {
        let mut instances = self.lock();
        let key = (run.revision.clone(), index);
        if let Some(instance) = instances
            .get(&key)
            .filter(|instance| !instance.phase.borrow().is_over())
        {
            return instance.clone();
        }
        let (task, instance) = Task::new(self.shared.clone(), run.clone(), spec.clone(), index);
        instances.insert(key, instance.clone());
        self.tasks.spawn(task.run());
        instance
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(RevisionName, u32), Instance>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of a revision. Those of another node are refused.
    fn records(&self, revision: &RevisionName) -> Result<Vec<Record>, DriverError> {
        let records =
            (0..INSTANCES_MAX).filter_map(|index| self.shared.records.read(revision, index));
        let records: Vec<_> = records.collect();
        match records
            .iter()
            .find(|record| record.node != self.shared.config.node)
        {
            Some(other) => Err(DriverError::unavailable(format!(
                "{revision} runs on node {}",
                other.node
            ))),
            None => Ok(records),
        }
    }

    /// Adopts what runs of a revision and has no task yet, and forgets what has died.
    async fn take_charge(&self, revision: &RevisionName) -> Result<(), DriverError> {
        for record in self.records(revision)? {
            let key = (revision.clone(), record.index);
            if self
                .lock()
                .get(&key)
                .is_some_and(|instance| !instance.phase.borrow().is_over())
            {
                continue;
            }
            if record.alive().is_some() {
                self.instance(&record.run, spec_of(&record.run)?, record.index);
            } else {
                record.clear().await?;
                self.shared.records.remove(revision, record.index);
            }
        }
        Ok(())
    }

    fn known(&self, revision: &RevisionName) -> Vec<Instance> {
        let instances = self.lock();
        let known = instances.range((revision.clone(), 0)..=(revision.clone(), u32::MAX));
        known.map(|(_, instance)| instance.clone()).collect()
    }
}

#[async_trait]
impl Driver for ProcessDriver {
    async fn provision(&self, run: &RevisionRun) -> Result<Vec<SocketAddr>, DriverError> {
        let spec = spec_of(run)?;
        if !(1..=INSTANCES_MAX).contains(&spec.instances) {
            return Err(DriverError::failed(format!(
                "instances must be between 1 and {INSTANCES_MAX}"
            )));
        }
        self.records(&run.revision)?;
        let instances: Vec<_> = (0..spec.instances)
            .map(|index| self.instance(run, spec, index))
            .collect();
        let mut addresses = Vec::new();
        let mut failure = None;
        for instance in instances {
            match settled(instance).await {
                Ok(address) => addresses.push(address),
                // What cannot be helped is worth more to know than what may pass.
                Err(error) if !matches!(failure, Some(DriverError::Failed { .. })) => {
                    failure = Some(error)
                }
                Err(_) => {}
            }
        }
        failure.map_or(Ok(addresses), Err)
    }

    async fn check(&self, run: &RevisionRun, addresses: &[SocketAddr]) -> Result<(), DriverError> {
        external::check(addresses, &spec_of(run)?.health_path).await
    }

    async fn stop(&self, revision: &RevisionName, grace: Duration) -> Result<(), DriverError> {
        self.take_charge(revision).await?;
        let instances = self.known(revision);
        for instance in &instances {
            instance.stop.send_if_modified(|wanted| {
                let sooner = wanted.is_none_or(|wanted| grace < wanted);
                if sooner {
                    *wanted = Some(grace);
                }
                sooner
            });
        }
        for mut instance in instances {
            let over =
                tokio::time::timeout(grace + STOP_MARGIN, instance.phase.wait_for(Phase::is_over))
                    .await;
            match over {
                Ok(Ok(phase))
                    if matches!(*phase, Phase::Failed(DriverError::Unavailable { .. })) =>
                {
                    // It may have failed before, and not in stopping.
                    if self
                        .records(revision)?
                        .iter()
                        .any(|record| record.alive().is_some())
                    {
                        return Err(DriverError::unavailable(format!("{revision} does not end")));
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return Err(DriverError::unavailable("the driver is closing")),
                Err(_) => return Err(DriverError::unavailable(format!("{revision} does not end"))),
            }
        }
        self.lock()
            .retain(|(of, _), instance| of != revision || !instance.phase.borrow().is_over());
        let model_dir = self.shared.model_dir(revision);
        match tokio::fs::remove_dir_all(&model_dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%revision, %error, "model folder cannot be removed");
            }
            _ => {}
        }
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<RunningRevision>, DriverError> {
        let records = self.shared.records.clone();
        let look = move || {
            records
                .all()
                .into_iter()
                .map(|record| (record.alive().is_some(), record))
                .collect()
        };
        let found: Vec<(bool, Record)> = tokio::task::spawn_blocking(look)
            .await
            .map_err(|_| DriverError::unavailable("cannot look for processes"))?;
        let mut revisions: BTreeMap<RevisionName, (u32, RunningRevision)> = BTreeMap::new();
        for (alive, record) in found {
            let Ok(spec) = spec_of(&record.run) else {
                continue;
            };
            let revision = &record.run.revision;
            if record.node != self.shared.config.node {
                tracing::warn!(%revision, node = record.node, "process of another node is not adopted");
                continue;
            }
            if !alive {
                tracing::info!(%revision, index = record.index, "process has gone while nobody watched");
                record.clear().await?;
                self.shared.records.remove(revision, record.index);
                continue;
            }
            self.instance(&record.run, spec, record.index);
            let (ready, running) = revisions.entry(revision.clone()).or_insert_with(|| {
                (
                    0,
                    RunningRevision {
                        revision: revision.clone(),
                        addresses: Vec::new(),
                        ready: false,
                    },
                )
            });
            *ready += u32::from(record.ready);
            running
                .addresses
                .push(SocketAddr::from(([127, 0, 0, 1], record.port)));
            running.ready = *ready == spec.instances;
        }
        Ok(revisions
            .into_values()
            .map(|(_, running)| running)
            .collect())
    }

    fn lost(&self) -> Lost {
        self.shared.lost.clone()
    }

    fn verifies_digests(&self, _run: &RevisionRun) -> bool {
        true
    }
}

impl Drop for ProcessDriver {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

/// Waits until the instance is ready or over.
async fn settled(mut instance: Instance) -> Result<SocketAddr, DriverError> {
    let phase = instance
        .phase
        .wait_for(|phase| *phase != Phase::Starting)
        .await
        .map(|phase| phase.clone());
    match phase {
        Ok(Phase::Ready(address)) => Ok(address),
        Ok(Phase::Failed(error)) => Err(error),
        Ok(Phase::Stopped | Phase::Starting) => {
            Err(DriverError::unavailable("it was stopped while it started"))
        }
        Err(_) => Err(DriverError::unavailable("the driver is closing")),
    }
}

fn spec_of(run: &RevisionRun) -> Result<&ProcessSpec, DriverError> {
    match &run.spec {
        RunSpec::Process(spec) => Ok(spec),
        RunSpec::External(_) => Err(DriverError::failed("this revision is not run as a process")),
    }
}
