//! Programs of others on the same servers, which figures of ours stand beside.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Where Debian and its kin keep PostgreSQL's programs.
const POSTGRES_PROGRAMS: &str = "/usr/lib/postgresql";
/// Java's class path of Kafka's own tools; `deploy/local/stack env` says it.
const KAFKA_CLASSPATH: &str = "SLIPWAY_STACK_KAFKA_CLASSPATH";

/// `pgbench` on a schema of its own.
#[derive(Debug, Clone)]
pub struct Pgbench {
    program: PathBuf,
    url: String,
    schema: String,
}

impl Pgbench {
    /// Makes its tables, at a scale of which no row is fought over.
    pub async fn prepare(url: &str, schema: &str, scale: usize) -> Result<Self> {
        let pgbench = Self {
            program: postgres_program("pgbench")?,
            url: url.to_owned(),
            schema: schema.to_owned(),
        };
        let scale = scale.to_string();
        pgbench
            .run(&["--initialize", "--quiet", "--scale", &scale])
            .await?;
        Ok(pgbench)
    }

    /// Simple updates (`-N`) by so many clients, with prepared statements; transactions a second.
    pub async fn simple_updates(&self, clients: usize, length: Duration) -> Result<f64> {
        let (clients, seconds) = (clients.to_string(), length.as_secs().to_string());
        let said = self
            .run(&[
                "--no-vacuum",
                "--skip-some-updates",
                "--protocol=prepared",
                "--client",
                &clients,
                "--jobs",
                "2",
                "--time",
                &seconds,
            ])
            .await?;
        let line = said.lines().find(|line| line.starts_with("tps ="));
        let figure = line.and_then(|line| line.split_whitespace().nth(2));
        figure
            .and_then(|figure| figure.parse().ok())
            .with_context(|| format!("pgbench said no figure: {said}"))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg(&self.url)
            .env("PGOPTIONS", format!("-c search_path={}", self.schema));
        output(command).await
    }
}

/// What Kafka's own producer is to send.
#[derive(Debug, Clone)]
pub struct ProducerRun<'a> {
    /// `host:port`.
    pub brokers: &'a str,
    /// The topic's name on the broker.
    pub topic: &'a str,
    /// How many records.
    pub records: usize,
    /// The bytes of one.
    pub record_bytes: usize,
}

impl ProducerRun<'_> {
    /// Sends with `acks=all` and an idempotent producer, as fast as it goes; records a second.
    pub async fn records_per_second(&self) -> Result<f64> {
        let classpath = std::env::var(KAFKA_CLASSPATH).with_context(|| {
            format!("{KAFKA_CLASSPATH} is not set: see `deploy/local/stack env`")
        })?;
        let mut command = Command::new("java");
        command
            .args(["-cp", &classpath])
            .arg("org.apache.kafka.tools.ProducerPerformance")
            .args(["--topic", self.topic])
            .args(["--num-records", &self.records.to_string()])
            .args(["--record-size", &self.record_bytes.to_string()])
            .args(["--throughput", "-1", "--producer-props"])
            .arg(format!("bootstrap.servers={}", self.brokers))
            .args(["acks=all", "enable.idempotence=true"]);
        let said = output(command).await?;
        // The last line is of all records: `100000 records sent, 81234.5 records/sec (…`.
        let line = said.lines().rfind(|line| line.contains("records/sec"));
        let figure = line.and_then(|line| line.split_whitespace().nth(3));
        figure
            .and_then(|figure| figure.parse().ok())
            .with_context(|| format!("Kafka's producer said no figure: {said}"))
    }
}

async fn output(mut command: Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of PostgreSQL's: of its newest version here, or one that is on the path.
fn postgres_program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir(POSTGRES_PROGRAMS).into_iter().flatten();
    let found = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|program| program.is_file())
        .max();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found
        .or_else(|| {
            std::env::split_paths(&on_path)
                .map(|folder| folder.join(name))
                .find(|program| program.is_file())
        })
        .with_context(|| format!("{name} is not installed"))
}
