//! `slipway-deployer`: the deployer as a program of its own.

use std::process::ExitCode;

use slipway_deployer::{Config, DEFAULTS, Deps, run};
use slipway_platform::process::{Program, service};

fn main() -> ExitCode {
    let program = Program {
        name: "slipway-deployer",
        about: "environments, endpoints, rollouts and rules, and the xDS server of the proxies",
        version: env!("CARGO_PKG_VERSION"),
        section: "deployer",
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
