//! `slipway-registry`: the registry as a program of its own.

use std::process::ExitCode;

use slipway_platform::process::{Program, service};
use slipway_registry::{Config, DEFAULTS, Deps, run};

fn main() -> ExitCode {
    let program = Program {
        name: "slipway-registry",
        about: "models, versions, artifacts and aliases",
        version: env!("CARGO_PKG_VERSION"),
        section: "registry",
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
