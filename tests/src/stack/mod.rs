//! The real stack: every service as a process of its own, with PostgreSQL, Kafka and Envoy.
//!
//! Stories on it need the servers that `deploy/local/stack` runs, and say so when they are not there. Each has a
//! database schema per service, topics and consumer groups of its own, so that several run at once; a
//! story that stops a server has the stack alone.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`servers`] | where PostgreSQL, Kafka and Envoy are; stopping and starting them |
//! | [`settings`] | the settings file of each service |
//! | [`replica`] | one service as a process: start, kill, stand still, restart |
//! | [`envoy`] | Envoys with their bootstrap, and their own statistics |
//! | [`prometheus`] | a Prometheus with the alerting rules |
//! | [`kafka`] | what is on the topics; raw messages; groups put back |
//! | [`effects`] | nothing lost, nothing done twice |
//! | [`release`] | versions that are released while users send requests |

pub mod effects;
pub mod envoy;
pub mod http;
pub mod kafka;
mod ports;
pub mod prometheus;
pub mod release;
pub mod replica;
pub mod servers;
pub mod settings;
mod turn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;

pub use effects::Effects;
pub use envoy::{Bootstrap, Envoy};
pub use kafka::Topics;
pub use replica::{Part, Replica};
pub use servers::{Component, Servers};

use crate::plane::Addresses;
use crate::servers::DataDir;
use crate::{Clients, Users};
use settings::Place;

/// How a stack is to be started.
pub struct Starting {
    story: String,
    replicas: BTreeMap<Part, usize>,
    envoys: usize,
    logs_apart: bool,
    alone: bool,
    settings: Vec<(Part, String, String)>,
}

impl Starting {
    /// So many replicas of a service.
    pub fn replicas(mut self, part: Part, count: usize) -> Self {
        self.replicas.insert(part, count);
        self
    }

    /// Envoys in the gateway's place.
    pub fn envoys(mut self, count: usize) -> Self {
        self.replicas.insert(Part::Gateway, 0);
        self.envoys = count;
        self
    }

    /// Each Envoy reports to a failure-detector of its own, the first to the first.
    pub fn logs_apart(mut self) -> Self {
        self.logs_apart = true;
        self
    }

    /// No other story runs meanwhile: this one stops servers.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// A setting of a service, `storage.connections_max`, as TOML.
    pub fn with(mut self, part: Part, key: &str, value: &str) -> Self {
        self.settings.push((part, key.to_owned(), value.to_owned()));
        self
    }

    /// Has everything ready, and starts nothing yet.
    pub async fn prepare(self) -> Result<Stack> {
        let servers = Servers::find()?;
        let turn = turn::take(self.alone).await;
        // A story that failed may have left one of them stopped.
        for component in [Component::Postgres, Component::Kafka] {
            servers.start(component).await?;
        }
        let run = turn::unique();
        let home = servers.folder().join("stories").join(&self.story);
        if home.exists() {
            std::fs::remove_dir_all(&home).context("removing what an earlier run has left")?;
        }
        let data_dir = home.join("data");
        std::fs::create_dir_all(&data_dir)?;
        let place = Place::choose(&servers, &self.story, &run, &home, &self.replicas)?;
        let mut replicas = Vec::new();
        for (part, ports) in place.ports() {
            for number in 0..ports.len() {
                replicas.push(Replica::new(*part, number, &place, &self.settings)?);
            }
        }
        let addresses = place.addresses();
        let gateway = match self.envoys {
            0 => addresses.gateway.clone(),
            _ => Some(format!("http://{}", place.proxy())),
        };
        Ok(Stack {
            topics: Topics::new(&servers.kafka, &place.prefix()),
            clients: Clients::new(&addresses)?,
            replicas,
            envoys: Vec::new(),
            envoys_wanted: self.envoys,
            logs_apart: self.logs_apart,
            gateway,
            data_dir: DataDir::new(data_dir),
            home,
            place,
            servers,
            _turn: turn,
        })
    }

    /// Starts everything and waits until it is ready.
    pub async fn start(self) -> Result<Stack> {
        let mut stack = self.prepare().await?;
        try_join_all(stack.replicas.iter_mut().map(Replica::start)).await?;
        stack.start_envoys().await?;
        Ok(stack)
    }
}

/// Every service as processes, on real servers.
pub struct Stack {
    replicas: Vec<Replica>,
    envoys: Vec<Envoy>,
    envoys_wanted: usize,
    logs_apart: bool,
    gateway: Option<String>,
    clients: Clients,
    topics: Topics,
    place: Place,
    // The processes above end before the model servers, and those before the next story begins.
    data_dir: DataDir,
    home: PathBuf,
    servers: Servers,
    _turn: turn::Turn,
}

impl Stack {
    /// A stack with one replica of each service and a gateway; `story` names its folder, schemas and topics.
    pub fn of(story: &str) -> Starting {
        Starting {
            story: story.to_owned(),
            replicas: Part::ALL.into_iter().map(|part| (part, 1)).collect(),
            envoys: 0,
            logs_apart: false,
            alone: false,
            settings: Vec::new(),
        }
    }

    /// Clients of the services; of a service with replicas, of all of them.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Clients that reach one replica of each service only; of a service with fewer, its last.
    pub fn clients_of(&self, number: usize) -> Result<Clients> {
        Clients::new(&self.place.addresses_of(number))
    }

    /// Where users send their requests.
    pub fn gateway(&self) -> Result<&str> {
        self.gateway.as_deref().context("this stack has no proxy")
    }

    /// So many users of the story's endpoint, who send so many requests a second in all.
    pub fn users(&self, users: u32, requests_per_second: f64) -> Result<Users> {
        Users::start(self.gateway()?, users, requests_per_second)
    }

    /// One replica.
    pub fn replica(&mut self, part: Part, number: usize) -> Result<&mut Replica> {
        let found = self
            .replicas
            .iter_mut()
            .find(|replica| replica.part() == part && replica.number() == number);
        found.with_context(|| format!("no replica {number} of {}", part.name()))
    }

    /// Every replica.
    pub fn all(&mut self) -> &mut [Replica] {
        &mut self.replicas
    }

    /// The Envoys.
    pub fn envoys(&mut self) -> &mut [Envoy] {
        &mut self.envoys
    }

    /// What is on the story's topics.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The servers.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Where everything of this story is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the services keep what is not in a database.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// The story's folder: settings, logs and data. It stays until the story runs again.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Starts the Envoys and waits until each has its configuration.
    pub async fn start_envoys(&mut self) -> Result<()> {
        let deployers = self.place.addresses_of_part(Part::Deployer);
        let detectors = self.place.addresses_of_part(Part::FailureDetector);
        for number in self.envoys.len()..self.envoys_wanted {
            let node_id = format!("envoy-{number}");
            let (binary, home) = (&self.servers.envoy, &self.home);
            let detectors = match self.logs_apart {
                true => &detectors[number % detectors.len()..][..1],
                false => &detectors[..],
            };
            let bootstrap = Bootstrap {
                node_id: &node_id,
                deployers: &deployers,
                detectors,
                own_listener: None,
            };
            let envoy = Envoy::start(binary, &bootstrap, home).await?;
            self.envoys.push(envoy);
        }
        Ok(())
    }

    /// Stops everything as its administrator would, and removes schemas and topics. A story that failed
    /// leaves them for whoever looks for the reason.
    pub async fn finish(mut self) -> Result<()> {
        for envoy in &mut self.envoys {
            envoy.stop().await?;
        }
        // Who depends stops before who is depended on.
        for part in [
            Part::Gateway,
            Part::Deployer,
            Part::Evaluator,
            Part::FailureDetector,
            Part::Registry,
        ] {
            for replica in self.replicas.iter_mut().filter(|one| one.part() == part) {
                if replica.is_running() {
                    let status = replica.stop().await?;
                    ensure!(status.success(), "{} ended with {status}", replica.name());
                }
            }
        }
        self.topics.delete().await?;
        self.servers.drop_schemas(&self.place.schemas()).await
    }

    /// Where everything listens.
    pub fn addresses(&self) -> Addresses {
        self.place.addresses()
    }
}
