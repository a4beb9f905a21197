//! A driver that pretends: what a test says does not start, does not; everything else is ready at once.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use slipway_deployer::driver::{Driver, DriverError, Lost, RevisionRun, RunningRevision};
use slipway_platform::names::RevisionName;
use tokio::sync::watch;

#[derive(Default)]
pub struct PretendDriver {
    state: Mutex<State>,
    held: watch::Sender<bool>,
    lost: Lost,
}

#[derive(Default)]
struct State {
    running: BTreeSet<RevisionName>,
    stopped: Vec<RevisionName>,
    stops_refused: u32,
    does_not_start: HashSet<u32>,
    is_not_ready: HashSet<u32>,
    provisioned: Vec<RevisionName>,
    hangs: bool,
    away: bool,
    dies_once_adopted: Option<u32>,
}

impl PretendDriver {
    /// From now on, the revision with this number cannot be started.
    pub fn fails_to_start(&self, number: u32) {
        self.state.lock().unwrap().does_not_start.insert(number);
    }

    /// From now on, the revision with this number is not ready.
    pub fn never_ready(&self, number: u32) {
        self.state.lock().unwrap().is_not_ready.insert(number);
    }

    /// From now on, nothing can be started or stopped.
    pub fn goes_away(&self) {
        self.state.lock().unwrap().away = true;
    }

    pub fn comes_back(&self) {
        self.state.lock().unwrap().away = false;
    }

    /// Whether starts wait from now on; those that wait go on when they need not any more.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn holds_back(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// From now on, a start that is begun never ends.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn hangs(&self) {
        self.state.lock().unwrap().hangs = true;
    }

    /// Starts that were begun here.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn provisioned(&self) -> Vec<RevisionName> {
        self.state.lock().unwrap().provisioned.clone()
    }

    /// The revision with this number dies, and the driver says so.
    pub fn dies(&self, number: u32) {
        let name = {
            let mut state = self.state.lock().unwrap();
            let name = state
                .running
                .iter()
                .find(|name| name.number() == number)
                .unwrap()
                .clone();
            state.running.remove(&name);
            name
        };
        self.lost.announce(&name);
    }

    /// The revision with this number is found when it is next looked for, and dies before anything comes of that.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn dies_once_adopted(&self, number: u32) {
        self.state.lock().unwrap().dies_once_adopted = Some(number);
    }

    /// Stops that were asked for while nothing could be stopped.
    #[allow(dead_code, reason = "not every suite needs it")]
    pub fn stops_refused(&self) -> u32 {
        self.state.lock().unwrap().stops_refused
    }

    pub fn running(&self) -> Vec<u32> {
        self.state
            .lock()
            .unwrap()
            .running
            .iter()
            .map(RevisionName::number)
            .collect()
    }

    pub fn stopped(&self) -> Vec<u32> {
        self.state
            .lock()
            .unwrap()
            .stopped
            .iter()
            .map(RevisionName::number)
            .collect()
    }
}

#[async_trait]
impl Driver for PretendDriver {
    async fn provision(&self, run: &RevisionRun) -> Result<Vec<SocketAddr>, DriverError> {
        let number = run.revision.number();
        let hangs = {
            let mut state = self.state.lock().unwrap();
            if state.away {
                return Err(DriverError::unavailable("the driver is away"));
            }
            state.provisioned.push(run.revision.clone());
            state.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        let mut state = self.state.lock().unwrap();
        if state.does_not_start.contains(&number) {
            return Err(DriverError::failed("no such program"));
        }
        state.running.insert(run.revision.clone());
        let port = 20_000 + u16::try_from(number).unwrap();
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }

    async fn check(&self, run: &RevisionRun, _addresses: &[SocketAddr]) -> Result<(), DriverError> {
        let state = self.state.lock().unwrap();
        if state.is_not_ready.contains(&run.revision.number()) {
            return Err(DriverError::unavailable("503"));
        }
        Ok(())
    }

    async fn stop(&self, revision: &RevisionName, _grace: Duration) -> Result<(), DriverError> {
        let mut state = self.state.lock().unwrap();
        if state.away {
            state.stops_refused += 1;
            return Err(DriverError::unavailable("the driver is away"));
        }
        state.running.remove(revision);
        state.stopped.push(revision.clone());
        Ok(())
    }

    async fn adopt(&self) -> Result<Vec<RunningRevision>, DriverError> {
        let running = self.state.lock().unwrap().running.clone();
        let dies = self.state.lock().unwrap().dies_once_adopted.take();
        if let Some(number) = dies {
            self.dies(number);
        }
        let adopted = running.iter().map(|revision| RunningRevision {
            revision: revision.clone(),
            addresses: vec![SocketAddr::from((
                [127, 0, 0, 1],
                20_000 + u16::try_from(revision.number()).unwrap(),
            ))],
            ready: true,
        });
        Ok(adopted.collect())
    }

    fn lost(&self) -> Lost {
        self.lost.clone()
    }

    fn verifies_digests(&self, _run: &RevisionRun) -> bool {
        true
    }
}
