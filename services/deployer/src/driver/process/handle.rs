//! A running process: a child of ours, or one that an earlier deployer started.

use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;

use super::super::DriverError;
use super::identity::{Identity, kill_all};

/// Nobody tells of the exit of somebody else's child, so such a process is looked at this often.
const POLL: Duration = Duration::from_millis(50);
/// A killed process that is still there after this hangs in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const LEFTOVER_PAUSE: Duration = Duration::from_millis(20);

/// See the module. Dropping it leaves the process alone.
#[derive(Debug)]
pub(super) enum Process {
    Ours {
        child: Box<Child>,
        token: String,
        identity: Option<Identity>,
    },
    Adopted {
        identity: Identity,
    },
}

impl Process {
    /// A child that was just started. It may have exited already, and then has no identity.
    pub fn ours(child: Child, token: &str) -> Process {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let identity = pid.and_then(|pid| Identity::of_child(pid, token));
        Process::Ours {
            child: Box::new(child),
            token: token.to_owned(),
            identity,
        }
    }

    /// Somebody else's child, if it is still there.
    pub fn adopt(identity: Identity) -> Option<Process> {
        identity.is_alive().then_some(Process::Adopted { identity })
    }

    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Process::Ours { identity, .. } => identity.as_ref(),
            Process::Adopted { identity } => Some(identity),
        }
    }

    /// Waits until it has exited, and says how. May be given up and called again.
    pub async fn exited(&mut self) -> String {
        match self {
            Process::Ours { child, .. } => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("cannot be waited for: {error}"),
            },
            Process::Adopted { identity } => {
                while identity.is_running() {
                    tokio::time::sleep(POLL).await;
                }
                "exit status unknown, since it was adopted".to_owned()
            }
        }
    }

    /// Asks the process's group to end, waits for `grace`, kills it, and returns when all of it is gone.
    pub async fn end(&mut self, grace: Duration) -> Result<(), DriverError> {
        self.signal(Signal::TERM);
        if tokio::time::timeout(grace, self.exited()).await.is_err() {
            self.signal(Signal::KILL);
            if tokio::time::timeout(KILL_TIMEOUT, self.exited())
                .await
                .is_err()
            {
                let pid = self.identity().map(|identity| identity.pid);
                return Err(DriverError::unavailable(format!(
                    "process {pid:?} cannot be killed"
                )));
            }
        }
        clear(
            self.token().to_owned(),
            self.identity().map(|identity| identity.pid),
        )
        .await
    }

    /// Kills what the exited process has left behind.
    pub async fn clear(&self) -> Result<(), DriverError> {
        clear(
            self.token().to_owned(),
            self.identity().map(|identity| identity.pid),
        )
        .await
    }

    fn token(&self) -> &str {
        match self {
            Process::Ours { token, .. } => token,
            Process::Adopted { identity } => &identity.token,
        }
    }

    fn signal(&self, signal: Signal) {
        match self {
            Process::Ours {
                identity: Some(identity),
                ..
            } if identity.is_running() => identity.signal_group(signal),
            Process::Adopted { identity } if identity.is_alive() => identity.signal_group(signal),
            Process::Ours { .. } | Process::Adopted { .. } => {}
        }
    }
}

/// Kills every process with this token, and waits until they and what is leaving the group are gone.
pub(super) async fn clear(token: String, group: Option<i32>) -> Result<(), DriverError> {
    let gone = async {
        loop {
            let token = token.clone();
            match tokio::task::spawn_blocking(move || kill_all(&token, group)).await {
                Ok(true) => break,
                Ok(false) | Err(_) => tokio::time::sleep(LEFTOVER_PAUSE).await,
            }
        }
    };
    let gone = tokio::time::timeout(KILL_TIMEOUT, gone).await;
    gone.map_err(|_| DriverError::unavailable("children of the process cannot be killed"))
}
