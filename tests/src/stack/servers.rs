//! The servers that `deploy/local/stack` runs: where they are; stopping and starting them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::process::Command;

/// A server that a story stops and starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// PostgreSQL.
    Postgres,
    /// Apache Kafka.
    Kafka,
}

/// Where the servers are.
#[derive(Debug, Clone)]
pub struct Servers {
    /// PostgreSQL, as a URL with user and database.
    pub postgres: String,
    /// Kafka, as `host:port`.
    pub kafka: String,
    /// Kafka's listener that asks for a password, as `host:port`.
    pub kafka_sasl: String,
    /// The file with the password that the user `slipway` has there.
    pub kafka_password_file: PathBuf,
    /// Envoy's binary.
    pub envoy: PathBuf,
    /// Prometheus' binary.
    pub prometheus: PathBuf,
    script: PathBuf,
    folder: PathBuf,
}

impl Servers {
    /// What `deploy/local/stack env` says.
    pub fn find() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).with_context(|| {
                format!(
                    "{name} is not set: these stories need real servers. `deploy/local/stack test` starts them and \
                     runs the stories; or start them with `deploy/local/stack up`, and then \
                     `eval \"$(deploy/local/stack env)\"`"
                )
            })
        };
        Ok(Self {
            postgres: variable("SLIPWAY_STACK_POSTGRES")?,
            kafka: variable("SLIPWAY_STACK_KAFKA")?,
            kafka_sasl: variable("SLIPWAY_STACK_KAFKA_SASL")?,
            kafka_password_file: variable("SLIPWAY_STACK_KAFKA_PASSWORD_FILE")?.into(),
            envoy: variable("SLIPWAY_STACK_ENVOY")?.into(),
            prometheus: variable("SLIPWAY_STACK_PROMETHEUS")?.into(),
            script: variable("SLIPWAY_STACK")?.into(),
            folder: variable("SLIPWAY_STACK_DIR")?.into(),
        })
    }

    /// The stack's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops a server, in order.
    pub async fn stop(&self, component: Component) -> Result<()> {
        self.control(component, "stop").await
    }

    /// Starts a server again, on the same port, and waits until it answers.
    pub async fn start(&self, component: Component) -> Result<()> {
        self.control(component, "start").await
    }

    /// Ends a server as a crash would.
    pub async fn kill(&self, component: Component) -> Result<()> {
        self.control(component, "kill").await
    }

    async fn control(&self, component: Component, action: &str) -> Result<()> {
        let component = match component {
            Component::Postgres => "postgres",
            Component::Kafka => "kafka",
        };
        let output = Command::new(&self.script)
            .args([component, action])
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {}", self.script.display()))?;
        ensure!(
            output.status.success(),
            "{} {component} {action}: {}",
            self.script.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// A connection to PostgreSQL.
    pub async fn connect(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.postgres)
            .await
            .context("connecting to PostgreSQL")
    }

    pub(super) async fn drop_schemas(&self, schemas: &[String]) -> Result<()> {
        let mut connection = self.connect().await?;
        for schema in schemas {
            // The names are made by the harness, of letters, digits and underscores.
            sqlx::query(AssertSqlSafe(format!(
                "DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"
            )))
            .execute(&mut connection)
            .await?;
        }
        Ok(())
    }
}
