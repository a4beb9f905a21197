//! The settings: what is taken, what is refused, and by which name.

use super::*;
use crate::{
    clock::SystemClock,
    events::config::{BusKind, connect},
};

fn problems(overrides: &[(&str, &str)]) -> String {
    load("127.0.0.1:9092", overrides).unwrap_err().to_string()
}

#[tokio::test]
async fn the_default_is_embedded_and_separate_programs_are_told_to_use_kafka() {
    let config: BusConfig = config::load(
        super::super::super::config::DEFAULTS,
        Some("event_bus"),
        None,
        [],
    )
    .unwrap();
    assert_eq!(config.kind, BusKind::Embedded);
    let refused = connect(&config, None, SystemClock::shared()).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("event_bus.kind = \"kafka\""), "{error}");
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (key, value, field) in [
        ("KIND", "redis", "KIND"),
        ("KAFKA__BROKERS", "localhost", "event_bus.kafka.brokers"),
        ("KAFKA__BROKERS", "a:1,,b:2", "event_bus.kafka.brokers"),
        ("KAFKA__BROKERS", "a:99999", "event_bus.kafka.brokers"),
        ("KAFKA__TOPIC_PREFIX", "a b", "event_bus.kafka.topic_prefix"),
        (
            "KAFKA__SECURITY_PROTOCOL",
            "TLS",
            "event_bus.kafka.security_protocol",
        ),
        (
            "KAFKA__PUBLISH_TIMEOUT_MS",
            "0",
            "event_bus.kafka.publish_timeout_ms",
        ),
        (
            "KAFKA__TOPICS__PARTITIONS",
            "0",
            "event_bus.kafka.topics.partitions",
        ),
        (
            "KAFKA__TOPICS__RETENTION_HOURS",
            "0",
            "event_bus.kafka.topics.retention_hours",
        ),
        ("KAFKA__BROKER", "a:1", "KAFKA__BROKER"),
        (
            "KAFKA__PROPERTIES__ACKS",
            "1",
            "event_bus.kafka.properties.acks: cannot be changed",
        ),
        (
            "KAFKA__PROPERTIES__TEST.MOCK.BROKER.RTT",
            "5",
            "event_bus.kafka.properties.test.mock.broker.rtt: cannot be changed",
        ),
        (
            "KAFKA__PROPERTIES__GROUP.ID",
            "g",
            "event_bus.kafka.properties.group.id",
        ),
        (
            "KAFKA__PROPERTIES__BOOTSTRAP.SERVERS",
            "a:1",
            "event_bus.kafka.properties.bootstrap.servers: use event_bus.kafka.brokers",
        ),
        (
            "KAFKA__PROPERTIES__LINGER.MSS",
            "1",
            "event_bus.kafka.properties.linger.mss",
        ),
        (
            "KAFKA__PROPERTIES__LINGER.MS",
            "soon",
            "event_bus.kafka.properties.linger.ms",
        ),
    ] {
        let told = problems(&[(key, value)]);
        assert!(told.contains(field), "{told}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let told = problems(&[
        ("KAFKA__BROKERS", "nowhere"),
        ("KAFKA__TOPICS__PARTITIONS", "0"),
    ]);
    assert!(
        told.contains("kafka.brokers") && told.contains("partitions"),
        "{told}"
    );
}

#[test]
fn a_user_needs_one_password_which_is_shown_to_nobody() {
    let user = [
        ("KAFKA__SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("KAFKA__SASL_USERNAME", "slipway"),
    ];
    assert!(problems(&user).contains("sasl_password"));
    let with = |more: &[(&'static str, &'static str)]| [&user[..], more].concat();
    let config = settings("a:1", &with(&[("KAFKA__SASL_PASSWORD", "hunter2")]));
    assert!(!format!("{config:?}").contains("hunter2"));
    let told = problems(&with(&[
        ("KAFKA__SASL_PASSWORD", "hunter2"),
        ("KAFKA__SASL_PASSWORD_FILE", "/nowhere"),
    ]));
    assert!(
        told.contains("sasl_password") && !told.contains("hunter2"),
        "{told}"
    );
    let told = problems(&with(&[("KAFKA__SASL_PASSWORD_FILE", "/nowhere")]));
    assert!(told.contains("sasl_password_file: /nowhere"), "{told}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let all = [&user[..], &[("KAFKA__SASL_PASSWORD_FILE", path)]].concat();
    assert_eq!(
        settings("a:1", &all).password().unwrap().expose(),
        "hunter2"
    );
}

#[cfg(not(feature = "kafka-tls"))]
#[test]
fn without_tls_in_the_build_the_message_says_so() {
    for protocol in ["SSL", "SASL_SSL"] {
        let told = problems(&[
            ("KAFKA__SECURITY_PROTOCOL", protocol),
            ("KAFKA__SASL_USERNAME", "u"),
            ("KAFKA__SASL_PASSWORD", "p"),
        ]);
        assert!(
            told.contains("security_protocol") && told.contains("kafka-tls"),
            "{told}"
        );
    }
    let told = problems(&[
        ("KAFKA__SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("KAFKA__SASL_MECHANISM", "SCRAM-SHA-256"),
        ("KAFKA__SASL_USERNAME", "u"),
        ("KAFKA__SASL_PASSWORD", "p"),
    ]);
    assert!(
        told.contains("sasl_mechanism") && told.contains("kafka-tls"),
        "{told}"
    );
}

#[test]
fn further_properties_are_passed_on_and_the_contract_stays() {
    let config = settings("a:1", &[("KAFKA__PROPERTIES__LINGER.MS", "7")]);
    let producer = client::producer(&config).unwrap();
    assert_eq!(producer.get("linger.ms"), Some("7"));
    for (name, value) in [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("bootstrap.servers", "a:1"),
    ] {
        assert_eq!(producer.get(name), Some(value), "{name}");
    }
    let consumer = client::consumer(&config, "g").unwrap();
    for (name, value) in [
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("group.id", "g"),
    ] {
        assert_eq!(consumer.get(name), Some(value), "{name}");
    }
}
