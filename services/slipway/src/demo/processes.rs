//! Ends the model servers of a control plane that has stopped. They outlive it by design, to be adopted by the
//! next one; after a demo there is no next one.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A killed process is gone by then.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Asks every process that runs a model of this data folder to end, kills what has not ended after `grace`, and
/// returns when all are gone.
pub fn end_all(data_dir: &Path, grace: Duration) -> anyhow::Result<()> {
    let data_dir = data_dir.canonicalize().context("finding the data folder")?;
    for (signal, limit) in [(Signal::TERM, grace), (Signal::KILL, KILL_LIMIT)] {
        for pid in running(&data_dir)? {
            // It may end at this very moment, which is what is wanted.
            let _ = kill_process(pid, signal);
        }
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if running(&data_dir)?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    let left = running(&data_dir)?.len();
    ensure!(left == 0, "{left} model servers do not end");
    Ok(())
}

/// The processes whose `MODEL_DIR` lies in the folder. Those that have ended have no environment.
fn running(data_dir: &Path) -> anyhow::Result<Vec<Pid>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("looking for processes")? {
        let Ok(entry) = entry else { continue };
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        // A process of somebody else cannot be read, and is not ours.
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| is_below(variable, data_dir))
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn is_below(variable: &[u8], data_dir: &Path) -> bool {
    let value = variable.strip_prefix(b"MODEL_DIR=");
    value.is_some_and(|value| Path::new(std::ffi::OsStr::from_bytes(value)).starts_with(data_dir))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn ends_what_runs_a_model_of_the_folder_and_nothing_else() {
        let ours = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let sleeper = |dir: &Path| {
            let model_dir = dir
                .canonicalize()
                .unwrap()
                .join("models/production/tumor-00001");
            Command::new("sleep")
                .arg("600")
                .env("MODEL_DIR", model_dir)
                .spawn()
                .unwrap()
        };
        let mut mine = sleeper(ours.path());
        let mut theirs = sleeper(other.path());
        let deadline = Instant::now() + KILL_LIMIT;
        while running(&ours.path().canonicalize().unwrap())
            .unwrap()
            .is_empty()
        {
            assert!(Instant::now() < deadline, "the process did not start");
            std::thread::yield_now();
        }
        let folder = ours.path().to_owned();
        let ending = std::thread::spawn(move || end_all(&folder, KILL_LIMIT));
        assert!(!mine.wait().unwrap().success());
        ending.join().unwrap().unwrap();
        assert!(theirs.try_wait().unwrap().is_none());
        theirs.kill().unwrap();
        theirs.wait().unwrap();
    }
}
