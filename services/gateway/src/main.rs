//! `slipway-gateway [--config FILE] [--insecure]`: the gateway as a process of its own.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use slipway_gateway::{Config, DEFAULTS, SECTION};
use slipway_platform::config::{bind, load};
use slipway_platform::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the command line says.
struct Arguments {
    config: Option<PathBuf>,
    insecure: bool,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        config: None,
        insecure: false,
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--config" => {
                arguments.config = Some(given.next().ok_or("--config needs a file")?.into())
            }
            "--insecure" => arguments.insecure = true,
            other => {
                return Err(format!(
                    "{other:?} is unknown; usage: slipway-gateway [--config FILE] [--insecure]"
                ));
            }
        }
    }
    Ok(arguments)
}

async fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    telemetry::init(&telemetry::TelemetryConfig::default())?;
    let config: Config = load(
        DEFAULTS,
        Some(SECTION),
        arguments.config.as_deref(),
        std::env::vars(),
    )?;
    let listener = bind(&config.listen, "gateway.listen", arguments.insecure)?;
    println!(
        "{{\"ready\":true,\"gateway\":\"{}\"}}",
        listener.local_addr()?
    );
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut serving = pin!(slipway_gateway::run(config, listener, shutdown.clone()));
    tokio::select! {
        served = &mut serving => return Ok(served?),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    Ok(serving.await?)
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => serve(arguments).await,
        Err(problem) => Err(problem.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}
