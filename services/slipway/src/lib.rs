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
mod telemetry;
pub mod up;
pub mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing::{Instrument, Span};

use cli::{Cli, Command};
use failure::{Exit, Failure};
use output::Format;

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let format = cli.command.format();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other("cannot start", error).report(format),
    };
    match runtime.block_on(run(cli.command, &name)) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(format),
    }
}

async fn run(command: Command, name: &str) -> Result<Exit, Failure> {
    let (_telemetry, span) = match &command {
        // They read the settings file that they are given.
        Command::Up(_) | Command::Gateway(_) => (None, Span::none()),
        Command::ModelServer(_) => (Some(telemetry::of_command("info")?), Span::none()),
        // It has a whole control plane in it, which is not part of one call.
        Command::Demo(_) => (Some(telemetry::of_command("error")?), Span::none()),
        // It may take long, and what happens on the way is worth a line.
        Command::Storage(_) => (Some(telemetry::of_command("warn")?), Span::none()),
        _ => {
            let telemetry = telemetry::of_command("error")?;
            (Some(telemetry), telemetry::span(name))
        }
    };
    dispatch(command).instrument(span).await
}

async fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Demo(args) => Ok(Exit::from(demo::run(args).await?)),
        Command::ModelServer(args) => Ok(Exit::from(demo::run_model_server(args).await?)),
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
        Command::Storage(action) => commands::storage::run(action).await,
        Command::Events(group) => commands::events::run(group).await,
    }
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
            Command::Storage(commands::storage::Action::Copy(args)) => args.output,
            Command::Events(group) => group.client.output,
        }
    }
}
