//! The control planes that are measured, and their proxies.

use std::time::Duration;

use anyhow::{Context, Result};
use slipway_tests::stack::Part;
use slipway_tests::{Clients, Gateway, Plane, Stack};

/// Proxies that every plane has.
pub const PROXIES: usize = 4;
/// Nobody listens there.
const NOBODY: &str = "\"http://127.0.0.1:9\"";

/// How the deployer hears of an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hears {
    /// By a stream within one program.
    Embedded,
    /// By a stream from the failure-detector's program.
    Stream,
    /// From Kafka alone.
    Kafka,
}

impl Hears {
    /// All of them.
    pub const ALL: [Hears; 3] = [Hears::Embedded, Hears::Stream, Hears::Kafka];

    /// As it is asked for.
    pub fn word(self) -> &'static str {
        match self {
            Hears::Embedded => "embedded",
            Hears::Stream => "stream",
            Hears::Kafka => "kafka",
        }
    }

    /// What its 99th percentile is to be at most, if anything is said of it.
    pub fn target(self) -> Option<Duration> {
        match self {
            Hears::Embedded => Some(Duration::from_millis(50)),
            Hears::Stream => None,
            Hears::Kafka => Some(Duration::from_millis(100)),
        }
    }
}

/// A control plane with its proxies.
pub struct Running {
    hears: Hears,
    clients: Clients,
    proxies: Vec<String>,
    programs: Programs,
}

enum Programs {
    One {
        gateways: Vec<Gateway>,
        plane: Box<Plane>,
    },
    Apart(Box<Stack>),
}

impl Running {
    /// Starts it and waits until it serves.
    pub async fn start(hears: Hears) -> Result<Self> {
        match hears {
            Hears::Embedded => Self::start_one().await,
            Hears::Stream | Hears::Kafka => Self::start_apart(hears).await,
        }
    }

    async fn start_one() -> Result<Self> {
        let plane = Plane::start().await?;
        let mut gateways = Vec::new();
        for number in 1..PROXIES {
            gateways.push(Gateway::start(&plane, &format!("gateway-{number}")).await?);
        }
        let others = gateways.iter().map(|gateway| gateway.address().to_owned());
        let proxies = std::iter::once(plane.gateway()?.to_owned()).chain(others);
        Ok(Self {
            hears: Hears::Embedded,
            clients: plane.clients().clone(),
            proxies: proxies.collect(),
            programs: Programs::One {
                gateways,
                plane: Box::new(plane),
            },
        })
    }

    async fn start_apart(hears: Hears) -> Result<Self> {
        let mut starting = Stack::of(&format!("bench-{}", hears.word()))
            .envoys(1)
            .replicas(Part::Gateway, PROXIES - 1);
        if hears == Hears::Kafka {
            starting = starting.with(Part::Deployer, "failure_detector", NOBODY);
        }
        let stack = starting.start().await?;
        let gateways = stack.place().addresses_of_part(Part::Gateway);
        let envoy = std::iter::once(stack.place().proxy());
        let proxies = gateways.into_iter().chain(envoy);
        Ok(Self {
            hears,
            clients: stack.clients().clone(),
            proxies: proxies.map(|address| format!("http://{address}")).collect(),
            programs: Programs::Apart(Box::new(stack)),
        })
    }

    /// How the deployer hears of an anomaly.
    pub fn hears(&self) -> Hears {
        self.hears
    }

    /// Clients of its services.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Where its proxies listen, as URLs.
    pub fn proxies(&self) -> &[String] {
        &self.proxies
    }

    /// Stops everything.
    pub async fn stop(self) -> Result<()> {
        match self.programs {
            Programs::One {
                mut gateways,
                mut plane,
            } => {
                for gateway in &mut gateways {
                    gateway.stop().await?;
                }
                plane.stop().await.context("stopping slipway up")
            }
            Programs::Apart(stack) => stack.finish().await,
        }
    }
}
