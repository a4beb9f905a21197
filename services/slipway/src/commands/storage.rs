//! `slipway storage`: the databases themselves, while nothing runs on them.

use std::path::{Path, PathBuf};

use slipway_platform::config;
use slipway_platform::db::{StorageConfig, transfer};
use slipway_platform::migrate::Migrations;

use crate::client::DATA_DIR;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::progress;

/// What can be done with databases.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Copy the databases of `slipway up` into those that a settings file names, such as PostgreSQL.
    ///
    /// Stop `slipway up` first, and start nothing on the new databases before. A service whose new database
    /// has been used is refused; each service is copied whole or not at all. Artifacts are not touched.
    Copy(CopyArgs),
}

/// The command line of `slipway storage copy`.
#[derive(Debug, Clone, clap::Args)]
pub struct CopyArgs {
    /// The folder of `slipway up`.
    #[arg(long, env = "SLIPWAY_DATA_DIR", value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The settings file of the services; [registry.storage] and so on say where to.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this service; may be given several times.
    #[arg(long, value_name = "SERVICE", value_enum)]
    service: Vec<Service>,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// A service with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// The registry.
    Registry,
    /// The evaluator.
    Evaluator,
    /// The deployer.
    Deployer,
    /// The failure-detector.
    FailureDetector,
}

const SERVICES: [Service; 4] = [
    Service::Registry,
    Service::Evaluator,
    Service::Deployer,
    Service::FailureDetector,
];

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Registry => "registry",
            Service::Evaluator => "evaluator",
            Service::Deployer => "deployer",
            Service::FailureDetector => "failure-detector",
        }
    }

    /// Of its settings.
    fn section(self) -> &'static str {
        match self {
            Service::FailureDetector => "failure_detector",
            other => other.name(),
        }
    }

    fn migrations(self) -> &'static Migrations {
        match self {
            Service::Registry => &slipway_registry::store::MIGRATIONS,
            Service::Evaluator => &slipway_evaluator::store::MIGRATIONS,
            Service::Deployer => &slipway_deployer::store::MIGRATIONS,
            Service::FailureDetector => &slipway_failure_detector::store::MIGRATIONS,
        }
    }

    /// Where the settings say that its database is.
    fn storage(self, file: Option<&Path>) -> Result<StorageConfig, Failure> {
        let env = std::env::vars();
        Ok(match self {
            Service::Registry => {
                let settings: slipway_registry::Config =
                    config::load(slipway_registry::DEFAULTS, Some("registry"), file, env)?;
                settings.storage
            }
            Service::Evaluator => {
                let settings: slipway_evaluator::Config =
                    config::load(slipway_evaluator::DEFAULTS, Some("evaluator"), file, env)?;
                settings.storage
            }
            Service::Deployer => {
                let settings: slipway_deployer::Config =
                    config::load(slipway_deployer::DEFAULTS, Some("deployer"), file, env)?;
                settings.storage
            }
            Service::FailureDetector => {
                let settings: slipway_failure_detector::Config = config::load(
                    slipway_failure_detector::DEFAULTS,
                    Some("failure_detector"),
                    file,
                    env,
                )?;
                settings.storage
            }
        })
    }
}

/// Does what `slipway storage …` says.
pub async fn run(action: Action) -> Result<Exit, Failure> {
    match action {
        Action::Copy(args) => copy(args).await,
    }
}

async fn copy(args: CopyArgs) -> Result<Exit, Failure> {
    let output = Output::new(args.output);
    let wanted = |service: &Service| args.service.is_empty() || args.service.contains(service);
    let mut plan = Vec::new();
    for service in SERVICES.into_iter().filter(wanted) {
        let file = args.data_dir.join(format!("{}.db", service.name()));
        // Opening would make it.
        if !file.is_file() {
            let text = format!(
                "{} is not there; --data-dir names the folder of slipway up",
                file.display()
            );
            return Err(Failure::usage(text));
        }
        let to = service.storage(args.config.as_deref())?;
        if !to.is_postgres() {
            return Err(Failure::usage(format!(
                "{}.storage.url is not that of a PostgreSQL database; --config names the settings file that has it",
                service.section()
            )));
        }
        plan.push((service, StorageConfig::sqlite(&file), to));
    }
    for (service, from, to) in plan {
        let bar = progress::count(output, service.name());
        let copied = transfer::copy(&from, &to, service.migrations(), |table, rows| {
            bar.set_message(format!("{} {table}", service.name()));
            bar.set_position(rows);
        })
        .await;
        bar.finish_and_clear();
        let copied = copied.map_err(|error| {
            let what = format!(
                "copy the {0} (what was said before is copied; go on with --service {0} and those that follow)",
                service.name()
            );
            Failure::other(what, error)
        })?;
        show(output, service, &copied);
    }
    Ok(Exit::Ok)
}

fn show(output: Output, service: Service, copied: &[transfer::Copied]) {
    if output.is_json() {
        let tables: serde_json::Map<String, serde_json::Value> = copied
            .iter()
            .map(|table| (table.table.clone(), table.rows.into()))
            .collect();
        output.line(&serde_json::json!({ "service": service.name(), "rows": tables }).to_string());
        return;
    }
    let rows: Vec<Vec<String>> = copied
        .iter()
        .filter(|table| table.rows > 0)
        .map(|table| {
            vec![
                service.name().to_owned(),
                table.table.clone(),
                table.rows.to_string(),
            ]
        })
        .collect();
    output.rows(&["SERVICE", "TABLE", "ROWS"], &rows);
}
