//! A program that runs as a process: its first line, its log, its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// A program that says nothing for this long is not going to.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// A program that was asked to stop has stopped by then.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// How much of a log a failed story shows.
const LOG_LINES_SHOWN: usize = 60;

/// A running program. Dropping it kills it, and prints the end of its log unless it has ended well: a story that
/// failed has stopped nothing, and shows them.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    has_ended_well: bool,
    // Kept open, so that the program can go on writing.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a program, with its standard error in `log`, and waits for its first line, a JSON object.
    pub async fn start(
        name: &str,
        program: &Path,
        arguments: &[String],
        env: &[(String, String)],
        log: PathBuf,
    ) -> Result<(Self, serde_json::Value)> {
        let mut process = Self::spawn(name, program, arguments, env, log)?;
        let ready = process.first_line().await?;
        Ok((process, ready))
    }

    /// Starts a program that may take its time, or never get there.
    pub fn spawn(
        name: &str,
        program: &Path,
        arguments: &[String],
        env: &[(String, String)],
        log: PathBuf,
    ) -> Result<Self> {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("opening a log")?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove("SLIPWAY_DATA_DIR")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let output = child
            .stdout
            .take()
            .context("a program without standard output")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            has_ended_well: false,
            _output: BufReader::new(output),
        })
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("killing {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Sends it a signal: `STOP` and `CONT` make it stand still and go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("{} has ended already", self.name))?;
        kill_process(pid, signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await;
        let status = ended
            .with_context(|| format!("{} did not stop\n{}", self.name, self.end_of_log()))??;
        self.has_ended_well = status.success();
        Ok(status)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its first line, a JSON object; a program that ends without one is an error with its log.
    pub async fn first_line(&mut self) -> Result<serde_json::Value> {
        let mut line = String::new();
        let read = tokio::time::timeout(READY_DEADLINE, self._output.read_line(&mut line)).await;
        match read {
            Ok(Ok(length)) if length > 0 => serde_json::from_str(&line).with_context(|| {
                format!("{} began with {line:?}\n{}", self.name, self.end_of_log())
            }),
            Ok(Ok(_)) => bail!(
                "{} ended before it was ready\n{}",
                self.name,
                self.end_of_log()
            ),
            Ok(Err(error)) => Err(error).with_context(|| format!("reading from {}", self.name)),
            Err(_) => bail!("{} was not ready in time\n{}", self.name, self.end_of_log()),
        }
    }

    /// The last lines that it has written.
    pub fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!(
            "--- the end of the log of {}\n{}\n---",
            self.name,
            shown.join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended_well {
            // Shown by the test harness when the story has failed, and only then.
            println!("{}", self.end_of_log());
        }
    }
}
