//! The settings of the event bus, `[event_bus]`, and the bus that they ask for.
//!
//! `deploy/config/platform.toml` explains each key. The embedded log belongs to one process, so only
//! `slipway up` can have it; separate programs need Kafka.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{
    EmbeddedLog, EventBus,
    kafka::{KafkaBus, client},
    log::DEFAULT_RETENTION,
};
use crate::{
    Error, Result, Violations,
    clock::SharedClock,
    config::{Secret, Validate},
    tasks::Tasks,
};

/// The settings' section.
pub const SECTION: &str = "event_bus";

/// The commented defaults of `[event_bus]`, in a document with the other settings of every program.
pub const DEFAULTS: &str = include_str!("../../../../deploy/config/platform.toml");

/// Why a program that runs apart cannot have the embedded bus.
pub const NOT_SHARED: &str = "the embedded event bus belongs to one process, `slipway up`; programs that run \
                              apart need event_bus.kind = \"kafka\" and event_bus.kafka.brokers";

/// What the largest event that an outbox takes needs, with its headers.
const MESSAGE_BYTES_LEAST: u64 = 1_000_000;

/// Which bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// A log in a file of this process.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// Settings of the event bus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// Which bus.
    pub kind: BusKind,
    /// How Kafka is reached, when it is Kafka.
    pub kafka: KafkaConfig,
}

/// How Kafka is reached and used.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Addresses to begin with, `host:port,host:port`.
    pub brokers: String,
    /// The name that brokers see.
    pub client_id: String,
    /// Goes before the name of every topic.
    pub topic_prefix: String,
    /// Goes before the name of every consumer group.
    pub group_prefix: String,
    /// `PLAINTEXT`, `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// Who this is.
    pub sasl_username: String,
    /// The password, or nothing.
    pub sasl_password: Secret,
    /// A file that holds the password, or nothing.
    pub sasl_password_file: String,
    /// Certificates that brokers' certificates are checked with; nothing for the system's.
    pub ssl_ca_location: String,
    /// This client's certificate.
    pub ssl_certificate_location: String,
    /// Its key.
    pub ssl_key_location: String,
    /// The password of the key.
    pub ssl_key_password: Secret,
    /// The longest that publishing one batch may take.
    pub publish_timeout_ms: u64,
    /// How often offsets are committed.
    pub commit_interval_ms: u64,
    /// A consumer that is silent for this long is taken for lost.
    pub session_timeout_ms: u64,
    /// The largest message.
    pub message_bytes_max: u32,
    /// The topics.
    pub topics: TopicsConfig,
    /// Further properties of librdkafka.
    pub properties: BTreeMap<String, toml::Value>,
}

/// How topics are made and what is expected of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    /// Whether missing topics are created.
    pub create: bool,
    /// Partitions of each topic, at least.
    pub partitions: u32,
    /// Copies of each partition; 0 for the brokers' default.
    pub replication_factor: u16,
    /// Copies that must have a message before it counts as written; 0 for one fewer than there are.
    pub min_insync_replicas: u16,
    /// How long events are kept.
    pub retention_hours: u32,
    /// How long dead letters are kept.
    pub dead_letter_retention_hours: u32,
}

impl KafkaConfig {
    /// [`KafkaConfig::publish_timeout_ms`].
    pub fn publish_timeout(&self) -> Duration {
        Duration::from_millis(self.publish_timeout_ms)
    }

    /// Whether a user and a password are sent.
    pub fn uses_sasl(&self) -> bool {
        self.security_protocol.starts_with("SASL_")
    }

    /// Whether the connection is encrypted.
    pub fn uses_tls(&self) -> bool {
        self.security_protocol.ends_with("SSL")
    }

    /// The password, from the settings or from its file.
    pub fn password(&self) -> Result<Secret> {
        if self.sasl_password_file.is_empty() {
            return Ok(self.sasl_password.clone());
        }
        let text = std::fs::read_to_string(&self.sasl_password_file).map_err(|error| {
            let why = format!("{}: {error}", self.sasl_password_file);
            Error::invalid("event_bus.kafka.sasl_password_file", why)
        })?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
    }
}

impl Validate for BusConfig {
    fn validate(&self, problems: &mut Violations) {
        if self.kind == BusKind::Kafka {
            self.kafka.validate(problems);
        }
    }
}

impl KafkaConfig {
    fn validate(&self, problems: &mut Violations) {
        let before = problems.iter().count();
        self.validate_addresses(problems);
        self.validate_security(problems);
        self.validate_limits(problems);
        self.topics.validate(problems);
        client::validate_properties(&self.properties, problems);
        // Only what passed so far can be given to the library, which knows the other properties.
        if problems.iter().count() == before {
            client::validate(self, problems);
        }
    }

    fn validate_addresses(&self, problems: &mut Violations) {
        let address = |text: &str| {
            text.trim().rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        problems.require(
            self.brokers.split(',').all(address),
            "kafka.brokers",
            "must be host:port, or several with commas between them",
        );
        let named = !self.client_id.is_empty() && self.client_id.len() <= 128;
        problems.require(named, "kafka.client_id", "must be 1 to 128 characters");
        for (field, prefix) in [
            ("kafka.topic_prefix", &self.topic_prefix),
            ("kafka.group_prefix", &self.group_prefix),
        ] {
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            problems.require(
                prefix.len() <= 128 && prefix.chars().all(legal),
                field,
                "must be at most 128 letters, digits, '.', '_' and '-'",
            );
        }
    }

    fn validate_security(&self, problems: &mut Violations) {
        let protocols = ["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"];
        let known = problems.require(
            protocols.contains(&self.security_protocol.as_str()),
            "kafka.security_protocol",
            format!("must be one of {}", protocols.join(", ")),
        );
        let tls = cfg!(feature = "kafka-tls");
        problems.require(
            !known || !self.uses_tls() || tls,
            "kafka.security_protocol",
            format!(
                "{} needs a build with the feature kafka-tls of slipway-platform",
                self.security_protocol
            ),
        );
        if !self.uses_sasl() {
            return;
        }
        let mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
        let known = problems.require(
            mechanisms.contains(&self.sasl_mechanism.as_str()),
            "kafka.sasl_mechanism",
            format!("must be one of {}", mechanisms.join(", ")),
        );
        problems.require(
            !known || self.sasl_mechanism == "PLAIN" || tls,
            "kafka.sasl_mechanism",
            format!(
                "{} needs a build with the feature kafka-tls of slipway-platform",
                self.sasl_mechanism
            ),
        );
        problems.require(
            !self.sasl_username.is_empty(),
            "kafka.sasl_username",
            "is needed with this security_protocol",
        );
        problems.require(
            self.sasl_password.is_empty() != self.sasl_password_file.is_empty(),
            "kafka.sasl_password",
            "either this or sasl_password_file is needed with this security_protocol",
        );
    }

    fn validate_limits(&self, problems: &mut Violations) {
        for (field, value, least, most) in [
            ("publish_timeout_ms", self.publish_timeout_ms, 100, 600_000),
            ("commit_interval_ms", self.commit_interval_ms, 10, 60_000),
            (
                "session_timeout_ms",
                self.session_timeout_ms,
                1_000,
                1_800_000,
            ),
            (
                "message_bytes_max",
                u64::from(self.message_bytes_max),
                MESSAGE_BYTES_LEAST,
                100_000_000,
            ),
        ] {
            problems.require(
                (least..=most).contains(&value),
                format!("kafka.{field}"),
                format!("must be {least} to {most}"),
            );
        }
    }
}

impl TopicsConfig {
    fn validate(&self, problems: &mut Violations) {
        let hours = 1..=10 * 366 * 24;
        for (field, holds, why) in [
            (
                "partitions",
                (1..=10_000).contains(&self.partitions),
                "must be 1 to 10,000",
            ),
            (
                "replication_factor",
                self.replication_factor <= 100,
                "must be at most 100",
            ),
            (
                "min_insync_replicas",
                self.replication_factor == 0 || self.min_insync_replicas <= self.replication_factor,
                "must not be more than replication_factor",
            ),
            (
                "retention_hours",
                hours.contains(&self.retention_hours),
                "must be 1 hour to 10 years",
            ),
            (
                "dead_letter_retention_hours",
                hours.contains(&self.dead_letter_retention_hours),
                "must be 1 hour to 10 years",
            ),
        ] {
            problems.require(holds, format!("kafka.topics.{field}"), why);
        }
    }
}

/// Where the embedded log is, for a process that may have one.
pub struct Embedded<'a> {
    /// The file, `…/events.db`.
    pub path: &'a Path,
    /// Delete old events now and then.
    pub tasks: &'a Tasks,
}

/// The bus that the settings ask for. Kafka need not be there yet: [`EventBus::health`] says what is
/// waited for. `Precondition` when the embedded log is asked for and this process may not have one.
pub async fn connect(
    config: &BusConfig,
    embedded: Option<Embedded<'_>>,
    clock: SharedClock,
) -> Result<Arc<dyn EventBus>> {
    match (config.kind, embedded) {
        (BusKind::Kafka, _) => Ok(Arc::new(KafkaBus::start(&config.kafka)?)),
        (BusKind::Embedded, Some(embedded)) => {
            let log = EmbeddedLog::open(embedded.path, clock, DEFAULT_RETENTION).await?;
            log.spawn(embedded.tasks);
            Ok(Arc::new(log))
        }
        (BusKind::Embedded, None) => Err(Error::precondition(
            "EVENT_BUS_NOT_SHARED",
            "event_bus.kind",
            NOT_SHARED,
        )),
    }
}
