//! Where everything of one story is, and the settings file that tells each service so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::ports;
use super::replica::Part;
use super::servers::Servers;
use crate::plane::Addresses;

/// Model servers of one story get ports of its own: this many.
const MODEL_PORTS: u16 = 200;
/// The deployer's ports of model servers begin here.
const MODEL_PORTS_FIRST: u16 = 20_000;
const MODEL_PORTS_SLICES: u16 = 50;
/// Partitions of each topic: more than one, so that order is kept by key and not by luck.
pub const PARTITIONS: u32 = 3;
/// Connections of one replica to its database.
const CONNECTIONS: u32 = 8;

/// Where everything of one story is.
#[derive(Debug, Clone)]
pub struct Place {
    story: String,
    run: String,
    home: PathBuf,
    ports: BTreeMap<Part, Vec<u16>>,
    proxy: u16,
    postgres: String,
    kafka: String,
}

impl Place {
    pub(super) fn choose(
        servers: &Servers,
        story: &str,
        run: &str,
        home: &Path,
        replicas: &BTreeMap<Part, usize>,
    ) -> Result<Self> {
        let mut ports = BTreeMap::new();
        for (part, count) in replicas {
            let chosen: Result<Vec<u16>> = (0..*count).map(|_| ports::free()).collect();
            ports.insert(*part, chosen?);
        }
        Ok(Self {
            story: story.to_owned(),
            run: run.to_owned(),
            home: home.to_owned(),
            ports,
            proxy: ports::free()?,
            postgres: servers.postgres.clone(),
            kafka: servers.kafka.clone(),
        })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn ports(&self) -> &BTreeMap<Part, Vec<u16>> {
        &self.ports
    }

    /// Where the Envoys listen, all of them: the system shares connections out among them.
    pub fn proxy(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.proxy))
    }

    /// Where a replica listens.
    pub fn address(&self, part: Part, number: usize) -> Option<SocketAddr> {
        let port = *self.ports.get(&part)?.get(number)?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Where all replicas of a service listen.
    pub fn addresses_of_part(&self, part: Part) -> Vec<SocketAddr> {
        let count = self.ports.get(&part).map_or(0, Vec::len);
        (0..count)
            .filter_map(|number| self.address(part, number))
            .collect()
    }

    /// What is in front of the names of topics and groups.
    pub fn prefix(&self) -> String {
        format!("{}-{}.", self.story, self.run)
    }

    /// The database schema of a service.
    pub fn schema(&self, part: Part) -> String {
        format!("{}_{}_{}", self.story, self.run, part.section()).replace('-', "_")
    }

    pub(super) fn schemas(&self) -> Vec<String> {
        let services = Part::ALL.into_iter().filter(|part| *part != Part::Gateway);
        services.map(|part| self.schema(part)).collect()
    }

    /// The services' addresses, all replicas of each.
    pub fn addresses(&self) -> Addresses {
        self.addresses_by(|part| self.urls(part))
    }

    /// The address of one replica of each service.
    pub(super) fn addresses_of(&self, number: usize) -> Addresses {
        self.addresses_by(|part| {
            let all = self.addresses_of_part(part);
            let one = all.get(number).or(all.last());
            one.map(|address| format!("http://{address}"))
                .unwrap_or_default()
        })
    }

    fn addresses_by(&self, urls: impl Fn(Part) -> String) -> Addresses {
        Addresses {
            registry: urls(Part::Registry),
            evaluator: urls(Part::Evaluator),
            deployer: urls(Part::Deployer),
            failure_detector: urls(Part::FailureDetector),
            gateway: Some(urls(Part::Gateway)).filter(|urls| !urls.is_empty()),
        }
    }

    fn urls(&self, part: Part) -> String {
        let urls: Vec<String> = self
            .addresses_of_part(part)
            .iter()
            .map(|address| format!("http://{address}"))
            .collect();
        urls.join(",")
    }

    /// The text of a replica's settings file. Later settings of the same key win.
    pub(super) fn settings(
        &self,
        part: Part,
        number: usize,
        extra: &[(Part, String, String)],
    ) -> String {
        let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut set = |key: &str, value: String| {
            let (table, key) = key.rsplit_once('.').unwrap_or(("", key));
            tables
                .entry(table.to_owned())
                .or_default()
                .insert(key.to_owned(), value);
        };
        let section = part.section();
        let listen = self.address(part, number).map(|one| one.to_string());
        set(
            &format!("{section}.listen"),
            text(listen.unwrap_or_default()),
        );
        if part != Part::Gateway {
            set(&format!("{section}.storage.url"), text(&self.postgres));
            set(
                &format!("{section}.storage.schema"),
                text(self.schema(part)),
            );
            set(
                &format!("{section}.storage.connections_max"),
                CONNECTIONS.to_string(),
            );
            set("event_bus.kind", text("kafka"));
            set("event_bus.kafka.brokers", text(&self.kafka));
            set("event_bus.kafka.topics.partitions", PARTITIONS.to_string());
            set("event_bus.kafka.topic_prefix", text(self.prefix()));
            set("event_bus.kafka.group_prefix", text(self.prefix()));
        }
        for (key, value) in self.own(part, number) {
            set(&format!("{section}.{key}"), value);
        }
        for (_, key, value) in extra.iter().filter(|(of, ..)| *of == part) {
            let top = key.starts_with("event_bus.") || key.starts_with("telemetry.");
            let key = if top {
                key.clone()
            } else {
                format!("{section}.{key}")
            };
            set(&key, value.clone());
        }
        let mut written = String::new();
        for (table, keys) in tables {
            written.push_str(&format!("[{table}]\n"));
            for (key, value) in keys {
                written.push_str(&format!("{key} = {value}\n"));
            }
        }
        written
    }

    fn own(&self, part: Part, number: usize) -> Vec<(&'static str, String)> {
        let data_dir = text(self.home.join("data").join(part.name()).display());
        match part {
            Part::Registry => vec![("data_dir", data_dir)],
            Part::Evaluator => vec![("registry", text(self.urls(Part::Registry)))],
            Part::Deployer => {
                let first = MODEL_PORTS_FIRST + self.slice() * MODEL_PORTS;
                vec![
                    ("data_dir", data_dir),
                    ("registry", text(self.urls(Part::Registry))),
                    ("evaluator", text(self.urls(Part::Evaluator))),
                    ("failure_detector", text(self.urls(Part::FailureDetector))),
                    ("xds.listener_address", text(self.proxy())),
                    ("process.port_min", first.to_string()),
                    ("process.port_max", (first + MODEL_PORTS - 1).to_string()),
                ]
            }
            Part::FailureDetector => Vec::new(),
            Part::Gateway => {
                let saved = self.home.join("data").join(format!("gateway-{number}.bin"));
                vec![
                    ("node_id", text(format!("gateway-{number}"))),
                    ("control_plane", text(self.urls(Part::Deployer))),
                    ("access_log_service", text(self.urls(Part::FailureDetector))),
                    ("saved_configuration", text(saved.display())),
                ]
            }
        }
    }

    /// Ports that another story seldom has at the same time: derived from the port of the proxies, which is this
    /// story's own. A port that is taken is passed over.
    fn slice(&self) -> u16 {
        self.proxy % MODEL_PORTS_SLICES
    }
}

/// A TOML string.
pub(super) fn text(value: impl std::fmt::Display) -> String {
    serde_json::Value::from(value.to_string()).to_string()
}
