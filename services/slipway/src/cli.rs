//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::client::ClientArgs;
use crate::demo::{DemoArgs, ModelServerArgs};
use crate::{commands, gateway, up};

/// What every exit code means, as `--help` shows it.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; an evaluation that was waited for is PASS, a rollout that was watched SUCCEEDED
  1  refused, or failed: the reason is on standard error
  2  the command line, a file or a name is wrong
  3  the evaluation is FAIL, or the rollout was rolled back
  4  the evaluation is INCONCLUSIVE
  5  the evaluation is ERROR, or the rollout FAILED

Names may be short: dev/tumor is a model or a suite, dev/tumor:3 a version, dev/tumor@champion an alias,
production/tumor an endpoint. Every command takes --output json.";

/// A release control plane for machine-learning models: no version serves traffic without evidence, and
/// no bad version keeps traffic.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A group of commands with what they all take.
#[derive(Debug, Args)]
pub struct Group<T: Subcommand> {
    /// Where the services are, and how answers are shown.
    #[command(flatten)]
    pub client: ClientArgs,
    /// The command.
    #[command(subcommand)]
    pub action: T,
}

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole control plane in this process.
    Up(up::UpArgs),
    /// Run the embedded gateway as a process of its own.
    Gateway(gateway::GatewayArgs),
    /// Watch a real release, with an automatic rollback, on real data.
    Demo(DemoArgs),
    /// Serve one model file by the Open Inference Protocol.
    #[command(hide = true)]
    ModelServer(ModelServerArgs),
    /// Models: named families of versions.
    Model(Group<commands::model::Action>),
    /// Versions of a model: register, list, tag, quarantine.
    Version(Group<commands::version::Action>),
    /// Aliases: movable names for versions, with their history.
    Alias(Group<commands::alias::Action>),
    /// Suites: what must hold of a version.
    Suite(Group<commands::suite::Action>),
    /// Evaluate a version by a suite and wait for the verdict.
    #[command(after_help = EXIT_CODES)]
    Evaluate(commands::evaluate::EvaluateArgs),
    /// Environments, with the policy that guards them.
    Environment(Group<commands::environment::Action>),
    /// Endpoints: what serves, and how it is doing.
    Endpoint(Group<commands::endpoint::Action>),
    /// Start a rollout of a version on an endpoint.
    #[command(after_help = EXIT_CODES)]
    Deploy(commands::deploy::DeployArgs),
    /// Rollouts: watch, pause, resume, promote, abort.
    Rollout(Group<commands::rollout::Action>),
    /// Traffic: see it, or set it by hand with a pin.
    Traffic(Group<commands::traffic::Action>),
    /// Put all traffic of an endpoint back.
    Rollback(commands::rollback::RollbackArgs),
    /// Blocks: what may not run on an endpoint.
    Blocks(Group<commands::blocks::Action>),
    /// Rules: what follows from which event, and why it did or did not.
    Rules(Group<commands::rules::Action>),
    /// Alerts: anomalies on endpoints.
    Alerts(Group<commands::alerts::Action>),
    /// The databases themselves, while nothing runs on them.
    #[command(subcommand)]
    Storage(commands::storage::Action),
    /// Everything that happens, as it happens.
    Events(Group<commands::events::Action>),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_for_people_takes_output_json() {
        for line in [
            "slipway model list --output json",
            "slipway version --output json get dev/tumor:3",
            "slipway evaluate dev/tumor:3 --suite dev/quality --output json",
            "slipway rollback production/tumor --output json",
            "slipway up --output json --free-ports",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }

    /// What follows `slipway ` at the start of a line of a listing, or in a code span.
    fn commands_in(page: &str) -> impl Iterator<Item = &str> {
        let spans = page.split('`').skip(1).step_by(2);
        let lines = page
            .lines()
            .map(|line| line.trim_start().trim_start_matches("$ "));
        spans
            .chain(lines)
            .filter_map(|text| text.strip_prefix("slipway "))
    }

    #[test]
    fn the_documentation_names_commands_that_there_are() {
        for (page, least) in [
            (include_str!("../../../README.md"), 8),
            (include_str!("../../../docs/operations.md"), 8),
        ] {
            let mut seen = 0;
            for line in commands_in(page) {
                let mut command = Cli::command();
                for word in line.split_whitespace() {
                    if !command.has_subcommands() || word.starts_with('-') {
                        break;
                    }
                    let next = command.find_subcommand(word).cloned();
                    command =
                        next.unwrap_or_else(|| panic!("there is no `slipway {line}`: {word}"));
                }
                seen += 1;
            }
            assert!(seen >= least, "only {seen} commands found");
        }
    }
}
