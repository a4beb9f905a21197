//! The settings of every service, with what `slipway up` decides for them: one data directory, one set of
//! listeners, and each other's addresses.

use std::path::{Path, PathBuf};

use slipway_platform::config::{self, ConfigError, Secret, Sections};
use slipway_platform::db::StorageConfig;
use slipway_platform::events::config::{self as bus_config, BusConfig};
use tokio::net::TcpListener;

use super::{Addresses, UpConfig};
use crate::failure::Failure;

/// The settings as they were read.
pub(super) struct Settings {
    event_bus: BusConfig,
    registry: slipway_registry::Config,
    evaluator: slipway_evaluator::Config,
    deployer: slipway_deployer::config::Config,
    failure_detector: slipway_failure_detector::Config,
    gateway: Option<slipway_gateway::Config>,
}

/// The settings of a service and its open listener.
pub(super) struct Part<C> {
    pub(super) config: C,
    pub(super) listener: TcpListener,
}

/// Everything that is needed to start.
pub(super) struct Bound {
    pub(super) addresses: Addresses,
    /// The data directory, as an absolute path.
    pub(super) data_dir: PathBuf,
    pub(super) event_bus: BusConfig,
    pub(super) registry: Part<slipway_registry::Config>,
    pub(super) evaluator: Part<slipway_evaluator::Config>,
    pub(super) deployer: Part<slipway_deployer::config::Config>,
    pub(super) failure_detector: Part<slipway_failure_detector::Config>,
    pub(super) gateway: Option<Part<slipway_gateway::Config>>,
}

impl Bound {
    /// Whether a database of somebody else has to be there.
    pub(super) fn waits_for_others(&self) -> bool {
        let storages = [
            &self.registry.config.storage,
            &self.evaluator.config.storage,
            &self.deployer.config.storage,
            &self.failure_detector.config.storage,
        ];
        storages.into_iter().any(StorageConfig::is_postgres)
    }
}

impl Settings {
    /// Reads the settings of every service; every problem of every service is in one error.
    pub(super) fn load(up: &UpConfig) -> Result<Self, Failure> {
        let mut sections = Sections::new(up.settings.as_deref(), up.env.iter().cloned());
        let event_bus = sections.read(bus_config::DEFAULTS, bus_config::SECTION);
        let registry = sections.read(slipway_registry::DEFAULTS, "registry");
        let evaluator = sections.read(slipway_evaluator::DEFAULTS, "evaluator");
        let deployer = sections.read(slipway_deployer::config::DEFAULTS, "deployer");
        let failure_detector =
            sections.read(slipway_failure_detector::DEFAULTS, "failure_detector");
        let gateway = sections.read(slipway_gateway::DEFAULTS, slipway_gateway::SECTION);
        sections.finish()?;
        let read = || {
            Some(Self {
                event_bus: event_bus?,
                registry: registry?,
                evaluator: evaluator?,
                deployer: deployer?,
                failure_detector: failure_detector?,
                gateway: up.gateway.then_some(gateway?),
            })
        };
        read().ok_or_else(|| ConfigError::one("the settings could not be read").into())
    }

    /// Makes the data directory and binds every listener; every listener that cannot be bound is in one
    /// error.
    pub(super) fn bind(self, up: &UpConfig) -> Result<Bound, Failure> {
        let data_dir = make(&up.data_dir)?;
        let mut binder = Binder {
            insecure: up.insecure,
            problems: Vec::new(),
        };
        let registry = binder.bind("registry", &up.listen.registry, &self.registry.listen);
        let evaluator = binder.bind("evaluator", &up.listen.evaluator, &self.evaluator.listen);
        let deployer = binder.bind("deployer", &up.listen.deployer, &self.deployer.listen);
        let failure_detector = binder.bind(
            "failure-detector",
            &up.listen.failure_detector,
            &self.failure_detector.listen,
        );
        let gateway = match &self.gateway {
            Some(config) => binder
                .bind("gateway", &up.listen.gateway, &config.listen)
                .map(Some),
            None => Some(None),
        };
        let (
            Some(registry),
            Some(evaluator),
            Some(deployer),
            Some(failure_detector),
            Some(gateway),
        ) = (registry, evaluator, deployer, failure_detector, gateway)
        else {
            let problems = binder.problems;
            return Err(ConfigError { problems }.into());
        };
        let addresses = Addresses {
            registry: url(&registry)?,
            evaluator: url(&evaluator)?,
            deployer: url(&deployer)?,
            failure_detector: url(&failure_detector)?,
            gateway: gateway.as_ref().map(url).transpose()?,
        };
        let settings = self.complete(&data_dir, &addresses);
        Ok(Bound {
            addresses,
            data_dir,
            event_bus: settings.event_bus,
            registry: Part {
                config: settings.registry,
                listener: registry,
            },
            evaluator: Part {
                config: settings.evaluator,
                listener: evaluator,
            },
            deployer: Part {
                config: settings.deployer,
                listener: deployer,
            },
            failure_detector: Part {
                config: settings.failure_detector,
                listener: failure_detector,
            },
            gateway: settings
                .gateway
                .zip(gateway)
                .map(|(config, listener)| Part { config, listener }),
        })
    }

    /// Puts everything into one data directory, but for storage that the settings place elsewhere, and tells
    /// each service where the others are.
    fn complete(mut self, data_dir: &Path, addresses: &Addresses) -> Self {
        place(&mut self.registry.storage, data_dir, "registry");
        self.registry.data_dir = data_dir.join("registry");
        place(&mut self.evaluator.storage, data_dir, "evaluator");
        self.evaluator.registry.clone_from(&addresses.registry);
        place(&mut self.deployer.storage, data_dir, "deployer");
        self.deployer.data_dir = data_dir.join("deployer");
        self.deployer.registry.clone_from(&addresses.registry);
        self.deployer.evaluator.clone_from(&addresses.evaluator);
        self.deployer
            .failure_detector
            .clone_from(&addresses.failure_detector);
        place(
            &mut self.failure_detector.storage,
            data_dir,
            "failure-detector",
        );
        if let Some(gateway) = &mut self.gateway {
            gateway.control_plane.clone_from(&addresses.deployer);
            gateway
                .access_log_service
                .clone_from(&addresses.failure_detector);
            gateway.saved_configuration = data_dir
                .join("gateway/configuration.bin")
                .display()
                .to_string();
        }
        self
    }
}

/// Binds listeners and collects what cannot be bound.
struct Binder {
    insecure: bool,
    problems: Vec<String>,
}

impl Binder {
    /// The flag's address, or that of the settings.
    fn bind(&mut self, service: &str, flag: &Option<String>, setting: &str) -> Option<TcpListener> {
        let what = format!("{}.listen (--{service}-listen)", service.replace('-', "_"));
        let address = flag.as_deref().unwrap_or(setting);
        config::bind(address, &what, self.insecure)
            .map_err(|error| self.problems.extend(error.problems))
            .ok()
    }
}

/// Makes the data directory, readable by its owner only, and gives its absolute path.
fn make(dir: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.and_then(|()| dir.canonicalize())
        .map_err(|error| Failure::usage(format!("the data directory {}: {error}", dir.display())))
}

/// Puts a database into the data directory, unless the settings say where it is.
fn place(storage: &mut StorageConfig, data_dir: &Path, service: &str) {
    if storage.url.expose() == format!("sqlite:.slipway/{service}.db") {
        let file = data_dir.join(format!("{service}.db"));
        storage.url = Secret::new(format!("sqlite:{}", file.display()));
    }
}

/// The URL by which this machine reaches a listener.
pub(crate) fn url(listener: &TcpListener) -> Result<String, Failure> {
    let mut address = listener
        .local_addr()
        .map_err(|error| Failure::other("read a listener's address", error))?;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    Ok(format!("http://{address}"))
}
