//! The demo's command line.

use std::path::PathBuf;

use crate::output::Format;

/// Watch a real release: four versions are registered, evaluated and deployed; one is refused, one is rolled back.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End with the story, on free ports, instead of staying up on the usual ones.
    #[arg(long)]
    pub once: bool,

    /// Take free ports instead of the usual ones.
    #[arg(long)]
    pub free_ports: bool,

    /// Where data is kept; must be empty. Without it, a folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// With `json`, the last line on standard output is one JSON object, and everything else goes to standard error.
    #[arg(long, value_enum, default_value_t)]
    pub output: Format,
}

impl DemoArgs {
    pub(super) fn output_json(&self) -> bool {
        self.output == Format::Json
    }
}
