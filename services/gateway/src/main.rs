//! `slipway-gateway`: the gateway as a program of its own.

use std::process::ExitCode;

use slipway_gateway::{Config, DEFAULTS, SECTION, run};
use slipway_platform::process::{Program, program};

fn main() -> ExitCode {
    let gateway = Program {
        name: "slipway-gateway",
        about: "the embedded data plane, a reverse proxy that takes its routes by xDS",
        version: env!("CARGO_PKG_VERSION"),
        section: SECTION,
        defaults: DEFAULTS,
    };
    program(
        gateway,
        |config: &Config| &config.listen,
        |start| run(start.config, start.listener, start.shutdown),
    )
}
