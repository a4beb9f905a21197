//! Where the programs are that stories run.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Names another `slipway` to run the stories with.
pub const PROGRAM_VARIABLE: &str = "SLIPWAY_PROGRAM";

/// `slipway`: the one that `SLIPWAY_PROGRAM` names, else the one that was built with these tests.
pub fn slipway() -> Result<PathBuf> {
    match std::env::var_os(PROGRAM_VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            ensure!(
                path.is_file(),
                "{PROGRAM_VARIABLE} names {}, which is not a file",
                path.display()
            );
            Ok(path)
        }
        None => built("story-slipway"),
    }
}

/// The example model server with the options that only tests use.
pub fn model_server() -> Result<PathBuf> {
    built("story-model-server")
}

/// The program of one service, by itself: `registry`, `failure-detector`, ….
pub fn service(name: &str) -> Result<PathBuf> {
    built(&format!("story-{name}"))
}

/// A program beside this test: cargo puts tests into `target/{profile}/deps` and programs one folder up.
fn built(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("finding this test's own program")?;
    let folder = here
        .ancestors()
        .nth(2)
        .context("finding the folder of built programs")?;
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run the stories with `cargo test -p slipway-tests`, which builds it, or name a \
         program in {PROGRAM_VARIABLE}",
        path.display()
    );
    Ok(path)
}
