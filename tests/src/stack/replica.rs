//! One service as a process.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use slipway_platform::grpc::channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::settings::Place;
use crate::plane::path_text;
use crate::process::Process;
use crate::{programs, until};

/// Services that are started on real servers answer by then.
const SERVING: Duration = Duration::from_secs(60);

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The registry.
    Registry,
    /// The evaluator.
    Evaluator,
    /// The deployer.
    Deployer,
    /// The failure-detector.
    FailureDetector,
    /// The gateway.
    Gateway,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
        Part::Gateway,
    ];

    /// Those of the control plane.
    pub const SERVICES: [Part; 4] = [
        Part::Registry,
        Part::Evaluator,
        Part::Deployer,
        Part::FailureDetector,
    ];

    /// As in the name of its program, `slipway-failure-detector`.
    pub fn name(self) -> &'static str {
        match self {
            Part::Registry => "registry",
            Part::Evaluator => "evaluator",
            Part::Deployer => "deployer",
            Part::FailureDetector => "failure-detector",
            Part::Gateway => "gateway",
        }
    }

    /// Its section of the settings.
    pub fn section(self) -> &'static str {
        match self {
            Part::FailureDetector => "failure_detector",
            other => other.name(),
        }
    }
}

/// One replica of a service: a process that runs, or is to run again with the same settings.
pub struct Replica {
    part: Part,
    number: usize,
    address: String,
    settings: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Replica {
    pub(super) fn new(
        part: Part,
        number: usize,
        place: &Place,
        extra: &[(Part, String, String)],
    ) -> Result<Self> {
        let address = place.address(part, number).context("a replica's address")?;
        let home = place.home();
        let settings = home.join(format!("{}-{number}.toml", part.name()));
        std::fs::write(&settings, place.settings(part, number, extra))
            .with_context(|| format!("writing {}", settings.display()))?;
        Ok(Self {
            part,
            number,
            address: format!("http://{address}"),
            log: home.join(format!("{}-{number}.log", part.name())),
            settings,
            process: None,
        })
    }

    /// Which service it is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Which of its replicas, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// For people: `deployer 1`.
    pub fn name(&self) -> String {
        format!("{} {}", self.part.name(), self.number)
    }

    /// Where it listens, as a URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its settings file, which is read at its next start.
    pub fn settings(&self) -> &PathBuf {
        &self.settings
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it, and does not wait for anything.
    pub fn spawn(&mut self) -> Result<()> {
        let arguments = ["--config".to_owned(), path_text(&self.settings)?];
        let level = std::env::var("SLIPWAY_LOG").unwrap_or_else(|_| "info".to_owned());
        let process = Process::spawn(
            &self.name(),
            &programs::service(self.part.name())?,
            &arguments,
            &[("SLIPWAY_LOG".to_owned(), level)],
            self.log.clone(),
        )?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it and waits until it serves.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.running()?.first_line().await?;
        self.serving().await
    }

    /// Waits until its health says that it serves.
    pub async fn serving(&mut self) -> Result<()> {
        // The gateway has no gRPC of its own: it serves once it listens.
        if self.part == Part::Gateway {
            return Ok(());
        }
        let what = format!("{} to serve", self.name());
        let mut health = HealthClient::new(channel(&self.address)?);
        let process = self.running()?;
        let waited = until(&what, SERVING, async || {
            if !process.is_running() {
                bail!("it has ended");
            }
            let request = HealthCheckRequest::default();
            let answer = health.check(request).await.ok();
            Ok(answer
                .filter(|answer| answer.get_ref().status() == ServingStatus::Serving)
                .map(drop))
        })
        .await;
        waited.with_context(|| process.end_of_log())
    }

    /// What its health says now: nothing when nobody answers.
    pub async fn health(&self) -> Result<Option<ServingStatus>> {
        let mut health = HealthClient::new(channel(&self.address)?);
        let answer = health.check(HealthCheckRequest::default()).await;
        Ok(answer.ok().map(|answer| answer.get_ref().status()))
    }

    /// Waits until it has logged something with all of these words in one line, and gives the line.
    pub async fn says(&mut self, words: &[&str]) -> Result<String> {
        let what = format!("{} to say {words:?}", self.name());
        let said = until(&what, SERVING, async || {
            let log = self.log();
            let mut lines = log.lines();
            let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
            Ok(line.map(str::to_owned))
        })
        .await;
        said.with_context(|| self.log())
    }

    /// Waits until it has ended by itself, and gives its log. One that ends well, or not at all, is an error.
    pub async fn refuses_to_start(&mut self) -> Result<String> {
        let status = self.running()?.ended().await?;
        ensure!(
            !status.success(),
            "{} has started: {}",
            self.name(),
            self.log()
        );
        Ok(self.log())
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Its process.
    pub fn running(&mut self) -> Result<&mut Process> {
        let name = self.name();
        self.process
            .as_mut()
            .with_context(|| format!("{name} was never started"))
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) -> Result<()> {
        self.running()?.kill().await
    }

    /// Stops it as its administrator would.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.running()?.stop().await
    }

    /// Makes it stand still, as a machine that hangs would.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }
}
