//! `slipway`: the command-line tool, and `slipway up`, which runs the whole control plane in one process.
//!
//! It owns nothing but what it shows: every command for people is a call of a service's gRPC API, made by
//! [`client`] and shown by [`output`]; there is one file for each group of commands under [`commands`].
//! [`up`] binds every listener, starts the services in the order of their dependencies, and stops them in
//! the reverse order; `gateway` runs the data plane as a process of its own. [`demo`] lives a whole release.
//!
//! Exit codes are the same everywhere and are in `--help`: [`failure`] has them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod cli;
pub mod client;
pub mod commands;
pub mod demo;
pub mod documents;
pub mod failure;
pub mod gateway;
pub mod names;
pub mod output;
pub mod progress;
pub mod strategies;
pub mod up;
pub mod watch;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::{Exit, Failure};
use output::Format;
use slipway_platform::telemetry::{self, TelemetryConfig};

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.command.format();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other("cannot start", error).report(format),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(format),
    }
}

async fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Demo(args) => {
            log("error")?;
            Ok(Exit::from(demo::run(args).await?))
        }
        Command::ModelServer(args) => {
            log("info")?;
            Ok(Exit::from(demo::run_model_server(args).await?))
        }
        Command::Model(group) => commands::model::run(group).await,
        Command::Version(group) => commands::version::run(group).await,
        Command::Alias(group) => commands::alias::run(group).await,
        Command::Suite(group) => commands::suite::run(group).await,
        Command::Evaluate(args) => commands::evaluate::run(args).await,
        Command::Environment(group) => commands::environment::run(group).await,
        Command::Endpoint(group) => commands::endpoint::run(group).await,
        Command::Deploy(args) => commands::deploy::run(args).await,
        Command::Rollout(group) => commands::rollout::run(group).await,
        Command::Traffic(group) => commands::traffic::run(group).await,
        Command::Rollback(args) => commands::rollback::run(args).await,
        Command::Blocks(group) => commands::blocks::run(group).await,
        Command::Rules(group) => commands::rules::run(group).await,
        Command::Alerts(group) => commands::alerts::run(group).await,
        Command::Events(group) => commands::events::run(group).await,
    }
}

/// Logs to standard error; `SLIPWAY_LOG` overrides the filter.
fn log(filter: &str) -> Result<(), Failure> {
    let filter = std::env::var("SLIPWAY_LOG").unwrap_or_else(|_| filter.to_owned());
    telemetry::init(&TelemetryConfig {
        filter,
        ..TelemetryConfig::default()
    })?;
    Ok(())
}

impl Command {
    /// How a failure of this command is told.
    fn format(&self) -> Format {
        match self {
            Command::Up(args) => args.output,
            Command::Gateway(_) | Command::Demo(_) | Command::ModelServer(_) => Format::Table,
            Command::Model(group) => group.client.output,
            Command::Version(group) => group.client.output,
            Command::Alias(group) => group.client.output,
            Command::Suite(group) => group.client.output,
            Command::Evaluate(args) => args.client.output,
            Command::Environment(group) => group.client.output,
            Command::Endpoint(group) => group.client.output,
            Command::Deploy(args) => args.client.output,
            Command::Rollout(group) => group.client.output,
            Command::Traffic(group) => group.client.output,
            Command::Rollback(args) => args.client.output,
            Command::Blocks(group) => group.client.output,
            Command::Rules(group) => group.client.output,
            Command::Alerts(group) => group.client.output,
            Command::Events(group) => group.client.output,
        }
    }
}
