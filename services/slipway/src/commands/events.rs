//! `slipway events`: everything that happens, as it happens, and what could not be handled.
//!
//! Every service shows its own events over gRPC; here those of all are put together. Nothing is taken from
//! the event bus, so this works against any control plane.

mod follow;
mod letters;
mod show;
mod watch;

use slipway_platform::events::catalog::CATALOG;

use crate::cli::Group;
use crate::client::{ListArgs, Service};
use crate::failure::{Exit, Failure};

/// What can be done with events.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Show what happens, until interrupted.
    Watch(WatchArgs),
    /// List what consumers could not handle, newest first.
    DeadLetters {
        /// Only of this service.
        #[arg(long, value_enum)]
        service: Option<Service>,
        /// Such as: state = WAITING AND group = "evaluator.versions".
        #[arg(long, default_value = "state = WAITING")]
        filter: String,
        /// How many of each service.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Have a dead letter handled again.
    Replay {
        /// The service that could not handle it.
        #[arg(value_enum)]
        service: Service,
        /// The dead letter, as `dead-letters` names it.
        id: String,
    },
}

/// Which events to show.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Only of these services.
    #[arg(long, value_enum)]
    service: Vec<Service>,
    /// Only on these topics: registry, evaluation, deployment, anomaly, dead-letter.
    #[arg(long)]
    topic: Vec<String>,
    /// Only of these types, such as rollout.changed.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only of the resource with this full name, a model or an endpoint, such as
    /// environments/production/endpoints/tumor.
    #[arg(long, default_value = "")]
    key: String,
    /// Only about the resource with this full name.
    #[arg(long, default_value = "")]
    subject: String,
    /// Show this many of the past first.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    past: u32,
    /// End after this many; never when left out.
    #[arg(long)]
    count: Option<u64>,
}

/// Does what `slipway events …` says.
pub async fn run(group: Group<Action>) -> Result<Exit, Failure> {
    let (clients, output) = group.client.connect()?;
    match group.action {
        Action::Watch(args) => watch::run(&clients, output, args).await,
        Action::DeadLetters {
            service,
            filter,
            list,
        } => letters::list(&clients, output, service, &filter, list).await,
        Action::Replay { service, id } => letters::replay(&clients, output, service, &id).await,
    }
}

/// A topic with its prefix.
fn topic(text: &str) -> String {
    match text.strip_prefix("slipway.") {
        Some(_) => text.to_owned(),
        None => format!("slipway.{text}"),
    }
}

/// A type in full: as it is given, or the one that this tool knows by the short name.
fn full_type(text: &str) -> Result<String, Failure> {
    if text.starts_with("io.") {
        return Ok(text.to_owned());
    }
    let known = CATALOG.iter().map(|(full, _, _)| *full);
    let mut found = known.clone().filter(|full| show::short_type(full) == text);
    match found.next() {
        Some(full) => Ok(full.to_owned()),
        None => {
            let names: Vec<_> = known.map(show::short_type).collect();
            Err(Failure::usage(format!(
                "there is no event type {text:?}; there are {}",
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_types_may_be_short() {
        assert_eq!(topic("registry"), "slipway.registry");
        assert_eq!(topic("slipway.registry"), "slipway.registry");
        let full = "io.slipway.rollout.changed.v1";
        assert_eq!(full_type("rollout.changed").unwrap(), full);
        assert_eq!(full_type("io.example.v2").unwrap(), "io.example.v2");
        assert!(full_type("rollout").is_err());
    }
}
