//! `slipway-failure-detector`: the failure-detector as a program of its own.

use std::process::ExitCode;

use slipway_failure_detector::{Config, DEFAULTS, Deps, run};
use slipway_platform::process::{Program, service};

fn main() -> ExitCode {
    let program = Program {
        name: "slipway-failure-detector",
        about: "what was served, judged; alerts; notifications",
        version: env!("CARGO_PKG_VERSION"),
        section: "failure_detector",
        defaults: DEFAULTS,
    };
    service(
        program,
        |config: &Config| &config.listen,
        |start, bus| {
            let deps = Deps {
                bus,
                clock: start.clock,
            };
            run(start.config, deps, start.listener, start.shutdown)
        },
    )
}
