//! `slipway-evaluator`: the evaluator as a program of its own.

use std::process::ExitCode;

use slipway_evaluator::{Config, DEFAULTS, Deps, run};
use slipway_platform::process::{Program, service};

fn main() -> ExitCode {
    let program = Program {
        name: "slipway-evaluator",
        about: "suites, and evaluations of versions by them",
        version: env!("CARGO_PKG_VERSION"),
        section: "evaluator",
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
