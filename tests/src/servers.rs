//! The model servers that run for a control plane. They outlive it by design; a story ends them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// One model server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelServer {
    /// Its process id.
    pub pid: i32,
    /// When it started, in ticks since the machine did: with the pid, who it is.
    pub started: u64,
    /// The revision that it runs.
    pub revision: String,
}

/// Everything that runs a model below this data folder.
pub fn running(data_dir: &Path) -> BTreeSet<ModelServer> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    processes
        .flatten()
        .filter_map(|process| model_server(&process.path(), data_dir))
        .collect()
}

/// The servers of one revision, named by its last part.
pub fn of_revision(data_dir: &Path, revision: &str) -> BTreeSet<ModelServer> {
    running(data_dir)
        .into_iter()
        .filter(|server| server.revision.ends_with(revision))
        .collect()
}

fn model_server(process: &Path, data_dir: &Path) -> Option<ModelServer> {
    let pid = process.file_name()?.to_str()?.parse().ok()?;
    // A process of somebody else cannot be read; one that has ended has no environment.
    let environment = std::fs::read(process.join("environ")).ok()?;
    let value = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let model_dir = PathBuf::from(OsStr::from_bytes(value("MODEL_DIR")?));
    let revision = String::from_utf8_lossy(value("SLIPWAY_REVISION")?).into_owned();
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    // Field 22, counted from after the name, which may contain anything.
    let started = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    model_dir.starts_with(data_dir).then_some(ModelServer {
        pid,
        started,
        revision,
    })
}

/// A data folder that ends its model servers when it is dropped.
#[derive(Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Takes charge of this folder's model servers.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        for server in running(&self.0) {
            if let Some(pid) = Pid::from_raw(server.pid) {
                // It may have ended by itself, which is as well.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
