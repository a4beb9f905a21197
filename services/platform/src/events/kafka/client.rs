//! What librdkafka is told: the properties of producers and consumers.
//!
//! Everything that the contract of the bus rests on is set here and cannot be overridden; the rest may be
//! passed through `event_bus.kafka.properties`.

use std::collections::BTreeMap;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{Error, Result, Violations, events::config::KafkaConfig};

/// Messages that wait in a producer at most.
const PRODUCER_QUEUE_MESSAGES: &str = "20000";
/// Kilobytes that wait in a producer at most.
const PRODUCER_QUEUE_KBYTES: &str = "65536";
/// Messages that a consumer reads ahead, over all its partitions.
const READ_AHEAD_MESSAGES: &str = "1000";
/// Kilobytes that a consumer reads ahead.
const READ_AHEAD_KBYTES: &str = "16384";
/// How often a consumer says how far behind it is.
const STATISTICS_MS: &str = "5000";
/// The longest that a consumer may work on one event before its partitions go to others.
pub(in crate::events) const POLL_INTERVAL_MS: u64 = 300_000;

/// Properties that have a setting of their own.
const HAS_SETTING: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("client.id", "client_id"),
    ("security.protocol", "security_protocol"),
    ("sasl.mechanism", "sasl_mechanism"),
    ("sasl.mechanisms", "sasl_mechanism"),
    ("sasl.username", "sasl_username"),
    ("sasl.password", "sasl_password"),
    ("ssl.ca.location", "ssl_ca_location"),
    ("ssl.certificate.location", "ssl_certificate_location"),
    ("ssl.key.location", "ssl_key_location"),
    ("ssl.key.password", "ssl_key_password"),
    ("message.timeout.ms", "publish_timeout_ms"),
    ("delivery.timeout.ms", "publish_timeout_ms"),
    ("auto.commit.interval.ms", "commit_interval_ms"),
    ("session.timeout.ms", "session_timeout_ms"),
    ("message.max.bytes", "message_bytes_max"),
];

/// Properties that would break what the bus promises, and what that is. One that ends in a dot stands for all
/// that begin with it.
const REFUSED: &[(&str, &str)] = &[
    ("acks", "every event is acknowledged by all replicas"),
    (
        "request.required.acks",
        "every event is acknowledged by all replicas",
    ),
    ("enable.idempotence", "events of a key keep their order"),
    (
        "enable.gapless.guarantee",
        "events of a key keep their order",
    ),
    ("max.in.flight", "events of a key keep their order"),
    (
        "max.in.flight.requests.per.connection",
        "events of a key keep their order",
    ),
    (
        "message.send.max.retries",
        "events of a key keep their order",
    ),
    ("retries", "events of a key keep their order"),
    (
        "partitioner",
        "a key has the same partition for every client",
    ),
    ("transactional.id", "publishing is not transactional"),
    (
        "group.id",
        "every consumer has a group of its service's choice",
    ),
    (
        "group.instance.id",
        "several consumers of a program would share it",
    ),
    ("group.protocol", "groups rebalance cooperatively"),
    (
        "partition.assignment.strategy",
        "groups rebalance cooperatively",
    ),
    (
        "enable.auto.commit",
        "offsets are committed after the effect",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed after the effect",
    ),
    (
        "offset.store.method",
        "offsets are committed after the effect",
    ),
    (
        "auto.offset.reset",
        "a new group starts at the oldest event",
    ),
    (
        "allow.auto.create.topics",
        "topics have the partitions of event_bus.kafka.topics",
    ),
    ("max.poll.interval.ms", "consumers try again within it"),
    ("statistics.interval.ms", "the lag is measured with it"),
    ("enable.partition.eof", "consumers do not know it"),
    ("log.queue", "logs go to tracing"),
    ("test.mock.", "it is for tests of the library"),
    ("plugin.", "it would run code from a file"),
];

/// What producers and consumers have in common.
fn common(config: &KafkaConfig) -> Result<ClientConfig> {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Info);
    // Comes first: what follows wins.
    for (name, value) in &config.properties {
        client.set(name, property(value).unwrap_or_default());
    }
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", &config.client_id)
        .set("security.protocol", &config.security_protocol)
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("message.max.bytes", config.message_bytes_max.to_string());
    default(
        &mut client,
        config,
        &[
            ("reconnect.backoff.max.ms", "1000"),
            ("socket.nagle.disable", "true"),
            ("socket.keepalive.enable", "true"),
        ],
    );
    if config.uses_sasl() {
        client
            .set("sasl.mechanism", &config.sasl_mechanism)
            .set("sasl.username", &config.sasl_username)
            .set("sasl.password", config.password()?.expose());
    }
    if config.uses_tls() {
        for (name, value) in [
            ("ssl.ca.location", config.ssl_ca_location.as_str()),
            (
                "ssl.certificate.location",
                config.ssl_certificate_location.as_str(),
            ),
            ("ssl.key.location", config.ssl_key_location.as_str()),
            ("ssl.key.password", config.ssl_key_password.expose()),
        ] {
            if !value.is_empty() {
                client.set(name, value);
            }
        }
    }
    Ok(client)
}

/// The properties of a producer: nothing is lost, doubled or reordered within a partition. A message waits
/// without end in the library; the publisher gives all of a batch up at once, so that no later one of a key
/// is written without an earlier one.
pub(super) fn producer(config: &KafkaConfig) -> Result<ClientConfig> {
    let mut client = common(config)?;
    client
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "0");
    default(
        &mut client,
        config,
        &[
            ("linger.ms", "1"),
            ("queue.buffering.max.messages", PRODUCER_QUEUE_MESSAGES),
            ("queue.buffering.max.kbytes", PRODUCER_QUEUE_KBYTES),
        ],
    );
    Ok(client)
}

/// The properties of a consumer of `group`.
pub(super) fn consumer(config: &KafkaConfig, group: &str) -> Result<ClientConfig> {
    let mut client = common(config)?;
    // Three heartbeats may be lost before the session is.
    let heartbeat = (config.session_timeout_ms / 4).clamp(100, 3_000);
    let poll_interval = config.session_timeout_ms.max(POLL_INTERVAL_MS);
    client
        .set("group.id", format!("{}{group}", config.group_prefix))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set(
            "auto.commit.interval.ms",
            config.commit_interval_ms.to_string(),
        )
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("session.timeout.ms", config.session_timeout_ms.to_string())
        .set("max.poll.interval.ms", poll_interval.to_string())
        .set("heartbeat.interval.ms", heartbeat.to_string())
        .set("statistics.interval.ms", STATISTICS_MS);
    default(
        &mut client,
        config,
        &[
            ("queued.min.messages", READ_AHEAD_MESSAGES),
            ("queued.max.messages.kbytes", READ_AHEAD_KBYTES),
            ("fetch.wait.max.ms", "500"),
        ],
    );
    Ok(client)
}

/// Sets what the settings do not.
fn default(client: &mut ClientConfig, config: &KafkaConfig, values: &[(&str, &str)]) {
    for (name, value) in values {
        if !config.properties.contains_key(*name) {
            client.set(*name, *value);
        }
    }
}

/// A property's value as the library takes it.
fn property(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// Refuses by name what has a setting of its own or would break what the bus promises.
pub(in crate::events) fn validate_properties(
    properties: &BTreeMap<String, toml::Value>,
    problems: &mut Violations,
) {
    for (name, value) in properties {
        let field = format!("kafka.properties.{name}");
        if let Some((_, setting)) = HAS_SETTING.iter().find(|(refused, _)| refused == name) {
            problems.push(field, format!("use event_bus.kafka.{setting}"));
        } else if let Some((_, promise)) =
            REFUSED.iter().find(|(refused, _)| refuses(refused, name))
        {
            problems.push(field, format!("cannot be changed: {promise}"));
        } else if property(value).is_none() {
            problems.push(field, "must be text, a number or true or false");
        }
    }
}

fn refuses(refused: &str, name: &str) -> bool {
    refused == name || (refused.ends_with('.') && name.starts_with(refused))
}

/// Asks the library whether it takes everything.
pub(in crate::events) fn validate(config: &KafkaConfig, problems: &mut Violations) {
    for client in [producer(config), consumer(config, "check")] {
        let error = match client {
            Ok(client) => client.create_native_config().err().map(describe),
            Err(Error::Invalid(violations)) => {
                for violation in violations.iter() {
                    let field = violation.field.trim_start_matches("event_bus.");
                    problems.push(field, violation.description.clone());
                }
                return;
            }
            Err(error) => Some(("kafka".to_owned(), error.to_string())),
        };
        if let Some((field, why)) = error {
            problems.push(field, why);
            return;
        }
    }
}

/// The setting and the reason; never the value, which may be a secret.
fn describe(error: rdkafka::error::KafkaError) -> (String, String) {
    match error {
        rdkafka::error::KafkaError::ClientConfig(_, why, name, _) => {
            let own = HAS_SETTING.iter().find(|(property, _)| *property == name);
            match own {
                Some((_, setting)) => (format!("kafka.{setting}"), why),
                None => (format!("kafka.properties.{name}"), why),
            }
        }
        other => ("kafka".to_owned(), other.to_string()),
    }
}
