//! A service as a program of its own: command line, settings, telemetry, event bus, signals, exit code.
//!
//! Settings are the commented defaults, then `--config FILE`, then the environment; every problem of every section
//! is told at once. One JSON line on standard output says when the program is ready, and where:
//! `{"ready":true,"registry":"http://127.0.0.1:7401","pid":4711}`; before that, the log on standard error says
//! what is waited for. SIGINT and SIGTERM stop it; a second one ends it at once.
//!
//! Exit codes: 0 it was asked to end and has, or the settings are right; 1 it failed; 2 the command line or the
//! settings are wrong.

mod arguments;
mod signals;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, ConfigError, Sections, Validate};
use crate::error::{Error, Result, chain};
use crate::events::EventBus;
use crate::events::config::{self as bus_config, BusConfig, BusKind};
use crate::grpc;
use crate::telemetry::{self, TelemetryConfig};
use arguments::{Asked, Options};
pub use signals::Signals;

/// Overrides the setting `telemetry.filter`.
const FILTER_VARIABLE: &str = "SLIPWAY_LOG";
/// Leaving the consumer groups may take this long; others wait for the session to end otherwise.
const BUS_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// What is still under way when the program ends gets this long.
const LAST_WORK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a program says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// `slipway-registry`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its section of the settings, `registry`.
    pub section: &'static str,
    /// The commented defaults of that section.
    pub defaults: &'static str,
}

/// What a program starts with.
pub struct Start<C> {
    /// Its settings.
    pub config: C,
    /// Whether it may listen on addresses that are not loopback.
    pub insecure: bool,
    /// What time it is.
    pub clock: SharedClock,
    /// Where it listens.
    pub listener: TcpListener,
    /// Cancelled to stop.
    pub shutdown: CancellationToken,
}

/// Runs a service with the event bus of its settings. It is ready when its health says so. `listen` is its
/// address in its settings.
pub fn service<C, F, Fut>(program: Program, listen: fn(&C) -> &str, run: F) -> ExitCode
where
    C: DeserializeOwned + Validate,
    F: FnOnce(Start<C>, Arc<dyn EventBus>) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    program.main(listen, true, async |started: Started<C>| {
        let Started {
            start,
            settings,
            signals,
            url,
        } = started;
        let config = settings
            .bus
            .ok_or_else(|| Error::unavailable("no event bus"))?;
        let bus = bus_config::connect(&config, None, start.clock.clone()).await?;
        let shutdown = start.shutdown.clone();
        let ready = async {
            match grpc::serving(&url).await {
                Ok(()) => program.say_ready(&url),
                Err(error) => tracing::warn!(%error, "nobody learns when it is ready"),
            }
        };
        let run = async {
            let ended = run(start, bus.clone()).await;
            bus.close(BUS_CLOSE_TIMEOUT).await;
            ended
        };
        until_stopped(run, ready, shutdown, signals).await
    })
}

/// Runs a program that has no event bus, and is ready when it listens.
pub fn program<C, F, Fut>(program: Program, listen: fn(&C) -> &str, run: F) -> ExitCode
where
    C: DeserializeOwned + Validate,
    F: FnOnce(Start<C>) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    program.main(listen, false, async |started: Started<C>| {
        let Started {
            start,
            signals,
            url,
            ..
        } = started;
        let shutdown = start.shutdown.clone();
        let ready = async { program.say_ready(&url) };
        until_stopped(run(start), ready, shutdown, signals).await
    })
}

/// A program whose settings are right, and which listens.
struct Started<C> {
    start: Start<C>,
    settings: Platform,
    signals: Signals,
    url: String,
}

/// The settings that every program has.
struct Platform {
    telemetry: TelemetryConfig,
    /// Of programs that have an event bus.
    bus: Option<BusConfig>,
}

impl Program {
    fn main<C>(
        self,
        listen: fn(&C) -> &str,
        has_bus: bool,
        run: impl AsyncFnOnce(Started<C>) -> Result<()>,
    ) -> ExitCode
    where
        C: DeserializeOwned + Validate,
    {
        let options = match arguments::parse(std::env::args().skip(1)) {
            Ok(Asked::Run(options)) => options,
            Ok(Asked::Help) => {
                println!("{}: {}\n\n{}", self.name, self.about, arguments::HELP);
                return ExitCode::SUCCESS;
            }
            Ok(Asked::Version) => {
                println!("{} {}", self.name, self.version);
                return ExitCode::SUCCESS;
            }
            Err(problem) => return self.usage(problem),
        };
        let (config, settings) = match self.settings::<C>(&options, listen, has_bus) {
            Ok(read) => read,
            Err(error) => return self.usage(error),
        };
        if options.check {
            println!("{}: the settings are right", self.name);
            return ExitCode::SUCCESS;
        }
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return self.failed(&error),
        };
        let code = runtime.block_on(async {
            let telemetry = match telemetry::init(&settings.telemetry) {
                Ok(telemetry) => telemetry,
                Err(error) => return self.failed(&error),
            };
            let code = match self.started(config, settings, options.insecure, listen) {
                Ok(started) => match run(started).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        tracing::error!(error = chain(&error), "{} has failed", self.name);
                        ExitCode::FAILURE
                    }
                },
                Err(Unable::Settings(error)) => self.usage(error),
                Err(Unable::Failed(error)) => self.failed(&error),
            };
            // Last: it sends what was said until now.
            drop(telemetry);
            code
        });
        runtime.shutdown_timeout(LAST_WORK_TIMEOUT);
        code
    }

    /// Everything that is wrong with the settings is in one error.
    fn settings<C>(
        &self,
        options: &Options,
        listen: fn(&C) -> &str,
        has_bus: bool,
    ) -> Result<(C, Platform), ConfigError>
    where
        C: DeserializeOwned + Validate,
    {
        let mut sections = Sections::new(options.config.as_deref(), std::env::vars());
        let config: Option<C> = sections.read(self.defaults, self.section);
        if let Some(config) = &config
            && let Err(error) = config::check(listen(config), &self.listen_key(), options.insecure)
        {
            sections.note(error);
        }
        let mut telemetry: Option<TelemetryConfig> =
            sections.read(telemetry::DEFAULTS, telemetry::SECTION);
        if let (Some(telemetry), Ok(filter)) = (&mut telemetry, std::env::var(FILTER_VARIABLE)) {
            telemetry.filter = filter;
        }
        let bus: Option<BusConfig> = if has_bus {
            sections.read(bus_config::DEFAULTS, bus_config::SECTION)
        } else {
            None
        };
        if bus
            .as_ref()
            .is_some_and(|bus| bus.kind == BusKind::Embedded)
        {
            let problem = format!("event_bus.kind: {}", bus_config::NOT_SHARED);
            sections.note(ConfigError::one(problem));
        }
        sections.finish()?;
        match (config, telemetry) {
            (Some(config), Some(telemetry)) => Ok((config, Platform { telemetry, bus })),
            _ => Err(ConfigError::one("the settings could not be read")),
        }
    }

    fn started<C>(
        &self,
        config: C,
        settings: Platform,
        insecure: bool,
        listen: fn(&C) -> &str,
    ) -> Result<Started<C>, Unable> {
        let signals = Signals::install().map_err(Unable::Failed)?;
        let listener = config::bind(listen(&config), &self.listen_key(), insecure)
            .map_err(Unable::Settings)?;
        let url = config::url_of(&listener).map_err(Unable::Failed)?;
        tracing::info!(version = self.version, url, "{} starts", self.name);
        Ok(Started {
            start: Start {
                config,
                insecure,
                clock: SystemClock::shared(),
                listener,
                shutdown: CancellationToken::new(),
            },
            settings,
            signals,
            url,
        })
    }

    fn listen_key(&self) -> String {
        format!("{}.listen", self.section)
    }

    fn say_ready(&self, url: &str) {
        let pid = std::process::id();
        println!(
            "{}",
            serde_json::json!({"ready": true, self.section: url, "pid": pid})
        );
        tracing::info!(url, "{} is ready", self.name);
    }

    fn usage(&self, problem: impl std::fmt::Display) -> ExitCode {
        eprintln!("{}: {problem}", self.name);
        ExitCode::from(2)
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> ExitCode {
        eprintln!("{}: {}", self.name, chain(error));
        ExitCode::FAILURE
    }
}

/// Why a program does not start.
enum Unable {
    Settings(ConfigError),
    Failed(Error),
}

/// Runs until `run` ends: by itself, or after the first signal. A second signal means now.
async fn until_stopped(
    run: impl Future<Output = Result<()>>,
    ready: impl Future<Output = ()>,
    shutdown: CancellationToken,
    mut signals: Signals,
) -> Result<()> {
    let asked = async {
        signals.next().await;
        tracing::info!("stopping");
        shutdown.cancel();
        signals.next().await;
    };
    let ready = async {
        ready.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = run => ended,
        () = asked => Err(Error::unavailable("told twice to stop: ended before everything was done")),
        () = ready => Ok(()),
    }
}
