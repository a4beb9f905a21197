//! Where the services are, and the clients that reach them.
//!
//! An address comes from its flag or environment variable, else from `addresses.json` in the data
//! directory that `slipway up` wrote, else it is the service's usual port on this machine.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use slipway_platform::grpc::{TracedChannel, channel};
use slipway_proto::deployer::v1::deployer_service_client::DeployerServiceClient;
use slipway_proto::detector::v1::failure_detector_service_client::FailureDetectorServiceClient;
use slipway_proto::evaluator::v1::evaluator_service_client::EvaluatorServiceClient;
use slipway_proto::event::v1::event_service_client::EventServiceClient;
use slipway_proto::registry::v1::registry_service_client::RegistryServiceClient;
use tonic::Status;

use crate::failure::Failure;
use crate::output::{Format, Output};

/// The data directory unless one is named.
pub const DATA_DIR: &str = ".slipway";
/// The file of the data directory that holds [`Addresses`] while `slipway up` runs.
pub const ADDRESSES_FILE: &str = "addresses.json";

/// Where everything listens, as URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The registry's gRPC port.
    pub registry: String,
    /// The evaluator's gRPC port.
    pub evaluator: String,
    /// The deployer's port: gRPC, xDS, and `/model-status/…` over HTTP.
    pub deployer: String,
    /// The failure-detector's port: gRPC and access logs.
    pub failure_detector: String,
    /// The gateway's port; `None` when it does not run with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

impl Addresses {
    /// The usual ports on this machine.
    pub fn usual() -> Self {
        let on = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            registry: on(7401),
            evaluator: on(7402),
            deployer: on(7403),
            failure_detector: on(7404),
            gateway: Some(on(7400)),
        }
    }

    /// Those that `slipway up` wrote into `data_dir`.
    pub fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(data_dir.join(ADDRESSES_FILE))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Where the services are, and how answers are shown.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// The registry's address.
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_REGISTRY",
        value_name = "ADDRESS",
        help_heading = "Connection"
    )]
    pub registry: Option<String>,
    /// The evaluator's address.
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_EVALUATOR",
        value_name = "ADDRESS",
        help_heading = "Connection"
    )]
    pub evaluator: Option<String>,
    /// The deployer's address.
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_DEPLOYER",
        value_name = "ADDRESS",
        help_heading = "Connection"
    )]
    pub deployer: Option<String>,
    /// The failure-detector's address.
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_FAILURE_DETECTOR",
        value_name = "ADDRESS",
        help_heading = "Connection"
    )]
    pub failure_detector: Option<String>,
    /// The data directory of a running `slipway up`, to take the addresses from.
    #[arg(
        long,
        global = true,
        env = "SLIPWAY_DATA_DIR",
        value_name = "DIR",
        help_heading = "Connection"
    )]
    pub data_dir: Option<PathBuf>,
    /// How answers are shown.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl ClientArgs {
    /// Where the services are.
    pub fn addresses(&self) -> Result<Addresses, Failure> {
        let found = match &self.data_dir {
            Some(dir) => Addresses::read(dir).map_err(|error| {
                let what = format!(
                    "{}: is `slipway up` running there?",
                    dir.join(ADDRESSES_FILE).display()
                );
                Failure::other(what, error)
            })?,
            None => Addresses::read(Path::new(DATA_DIR)).unwrap_or_else(|_| Addresses::usual()),
        };
        let or = |given: &Option<String>, found: String| given.as_deref().map_or(found, url);
        Ok(Addresses {
            registry: or(&self.registry, found.registry),
            evaluator: or(&self.evaluator, found.evaluator),
            deployer: or(&self.deployer, found.deployer),
            failure_detector: or(&self.failure_detector, found.failure_detector),
            gateway: found.gateway,
        })
    }

    /// The clients, and where answers go.
    pub fn connect(&self) -> Result<(Clients, Output), Failure> {
        Ok((Clients::new(&self.addresses()?)?, Output::new(self.output)))
    }
}

/// An address as a URL: `127.0.0.1:7401` is taken as well.
pub fn url(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// Models, versions, artifacts, aliases.
    Registry,
    /// Suites and evaluations.
    Evaluator,
    /// Environments, endpoints, rollouts, rules.
    Deployer,
    /// Verdicts and alerts.
    FailureDetector,
}

impl Service {
    /// What its events say that they are from.
    pub fn source(self) -> String {
        format!("//slipway/{self}")
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Service::Registry => "registry",
            Service::Evaluator => "evaluator",
            Service::Deployer => "deployer",
            Service::FailureDetector => "failure-detector",
        })
    }
}

/// The events of one service.
#[derive(Debug, Clone)]
pub struct Events {
    /// Whose.
    pub service: Service,
    /// Its client.
    pub client: EventServiceClient<TracedChannel>,
}

/// The clients of the four services. Connections are made at the first call.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Models, versions, artifacts, aliases.
    pub registry: RegistryServiceClient<TracedChannel>,
    /// Suites and evaluations.
    pub evaluator: EvaluatorServiceClient<TracedChannel>,
    /// Environments, endpoints, rollouts, rules.
    pub deployer: DeployerServiceClient<TracedChannel>,
    /// Verdicts and alerts.
    pub detector: FailureDetectorServiceClient<TracedChannel>,
    /// The events of each.
    pub events: [Events; 4],
}

impl Clients {
    /// Clients of these addresses. Must be called within a tokio runtime.
    pub fn new(addresses: &Addresses) -> Result<Self, Failure> {
        let channel =
            |address: &str| channel(address).map_err(|error| Failure::usage(error.to_string()));
        let (registry, evaluator) = (
            channel(&addresses.registry)?,
            channel(&addresses.evaluator)?,
        );
        let deployer = channel(&addresses.deployer)?;
        let detector = channel(&addresses.failure_detector)?;
        let events = |service, channel: &TracedChannel| Events {
            service,
            client: EventServiceClient::new(channel.clone()),
        };
        Ok(Self {
            events: [
                events(Service::Registry, &registry),
                events(Service::Evaluator, &evaluator),
                events(Service::Deployer, &deployer),
                events(Service::FailureDetector, &detector),
            ],
            registry: RegistryServiceClient::new(registry),
            evaluator: EvaluatorServiceClient::new(evaluator),
            deployer: DeployerServiceClient::new(deployer),
            detector: FailureDetectorServiceClient::new(detector),
        })
    }

    /// The events of one service.
    pub fn events_of(&self, service: Service) -> &Events {
        // In the order of the enum.
        &self.events[service as usize]
    }
}

/// How much of a listing is shown.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ListArgs {
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

impl ListArgs {
    /// Reads pages until there are no more or the limit is reached; gives the items and the token that
    /// goes on after them.
    pub async fn pages<T>(
        self,
        mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Status>,
    ) -> Result<(Vec<T>, String), Failure> {
        let limit = self.limit as usize;
        let mut items: Vec<T> = Vec::new();
        let mut token = String::new();
        loop {
            let size = (limit - items.len()).min(1000);
            let (more, next) = page(i32::try_from(size).unwrap_or(1000), token).await?;
            items.extend(more);
            if next.is_empty() || items.len() >= limit {
                return Ok((items, next));
            }
            token = next;
        }
    }
}

/// The id that makes a repeated request have its effect once.
#[derive(Debug, Clone, clap::Args)]
pub struct RequestId {
    /// Repeating the command with the same id and the same content has no second effect.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl RequestId {
    /// The given id, or a new one.
    pub fn get(&self) -> String {
        self.request_id.clone().unwrap_or_else(new_request_id)
    }
}

/// An id for a request that is made once.
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        client: ClientArgs,
    }

    #[test]
    fn a_flag_wins_over_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = Addresses::usual();
        written.registry = "http://127.0.0.1:1".into();
        written.deployer = "http://127.0.0.1:2".into();
        std::fs::write(
            dir.path().join(ADDRESSES_FILE),
            serde_json::to_string(&written).unwrap(),
        )
        .unwrap();
        let dir = dir.path().to_str().unwrap();
        let line = Line::parse_from(["x", "--data-dir", dir, "--deployer", "127.0.0.1:9"]);
        let addresses = line.client.addresses().unwrap();
        assert_eq!(addresses.registry, "http://127.0.0.1:1");
        assert_eq!(addresses.deployer, "http://127.0.0.1:9");
    }

    #[test]
    fn a_data_directory_without_addresses_is_said() {
        let line = Line::parse_from(["x", "--data-dir", "/nowhere"]);
        assert!(matches!(line.client.addresses(), Err(Failure::Other(_))));
    }

    #[tokio::test]
    async fn pages_are_read_to_the_limit() {
        let mut asked = Vec::new();
        let (items, next) = ListArgs { limit: 5 }
            .pages(async |size, token: String| {
                asked.push((size, token.clone()));
                let first: i32 = token.parse().unwrap_or(0);
                let last = (first + size.min(2)).min(9);
                Ok(((first..last).collect(), last.to_string()))
            })
            .await
            .unwrap();
        assert_eq!(items, [0, 1, 2, 3, 4]);
        assert_eq!((next.as_str(), asked.len()), ("5", 3));
    }
}
