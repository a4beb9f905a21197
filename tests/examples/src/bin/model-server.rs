//! The example model server on its own, with start-up behaviours that tests ask for.

use std::time::Duration;

use clap::Parser;
use slipway_examples::model_server::{self, Startup};

#[derive(Debug, Parser)]
#[command(name = "model-server", version, about)]
struct Command {
    #[command(flatten)]
    args: model_server::Args,

    /// Answer "not ready" for so many milliseconds.
    #[arg(long, value_name = "MILLISECONDS")]
    ready_after_ms: Option<u64>,

    /// Never become ready.
    #[arg(long, conflicts_with = "ready_after_ms")]
    never_ready: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let startup = match (command.never_ready, command.ready_after_ms) {
        (true, _) => Startup::Never,
        (false, Some(delay)) => Startup::After(Duration::from_millis(delay)),
        (false, None) => Startup::AtOnce,
    };
    model_server::run(command.args, startup).await
}
