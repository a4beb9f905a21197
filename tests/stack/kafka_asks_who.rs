//! A Kafka that lets nobody in without a name and a password.

use std::path::Path;

use anyhow::{Result, ensure};
use slipway_tests::Stack;
use slipway_tests::stack::servers::Servers;
use slipway_tests::stack::{Part, Starting};

use crate::demo;

/// Every service goes to the listener that asks, as the user that it knows.
fn asked(story: &str, password_file: &Path) -> Result<Starting> {
    let settings = [
        ("brokers", Servers::find()?.kafka_sasl),
        ("security_protocol", "SASL_PLAINTEXT".to_owned()),
        ("sasl_mechanism", "PLAIN".to_owned()),
        ("sasl_username", "slipway".to_owned()),
        ("sasl_password_file", password_file.display().to_string()),
    ];
    let mut starting = Stack::of(story);
    for part in Part::SERVICES {
        for (key, value) in &settings {
            let key = format!("event_bus.kafka.{key}");
            starting = starting.with(part, &key, &format!("\"{value}\""));
        }
    }
    Ok(starting)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_is_told_to_a_kafka_that_asks_for_a_password() -> Result<()> {
    let password = Servers::find()?.kafka_password_file;
    let stack = asked("kafka-asks-who", &password)?.start().await?;
    demo::is_told(&stack).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_not_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wrong = folder.path().join("password");
    std::fs::write(&wrong, "not-the-password\n")?;
    let mut stack = asked("kafka-refuses-who", &wrong)?.prepare().await?;
    let detector = stack.replica(Part::FailureDetector, 0)?;
    detector.start().await?;
    detector
        .says(&["event_bus.kafka", "Authentication failed"])
        .await?;
    ensure!(
        !detector.log().contains("not-the-password"),
        "the password is not logged"
    );
    stack.finish().await
}
