//! Somebody puts the consumer groups back to the oldest event.

use std::time::Duration;

use anyhow::{Result, ensure};
use slipway_examples::train::Recipe;
use slipway_platform::events::catalog::{
    ANOMALY_TOPIC, DEPLOYMENT_TOPIC, EVALUATION_TOPIC, REGISTRY_TOPIC,
};
use slipway_tests::stack::{Effects, Part, effects, release};
use slipway_tests::{Stack, until};

/// Who reads what.
const GROUPS: [(&str, &str); 4] = [
    ("evaluator.versions", REGISTRY_TOPIC),
    ("deployer.evaluations", EVALUATION_TOPIC),
    ("deployer.anomalies", ANOMALY_TOPIC),
    ("failure-detector.deployment", DEPLOYMENT_TOPIC),
];
const CONSUMERS: [Part; 3] = [Part::Evaluator, Part::Deployer, Part::FailureDetector];
/// A few dozen events are read again by then.
const CAUGHT_UP: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_happens_a_second_time() -> Result<()> {
    let mut stack = Stack::of("old-offset").start().await?;
    let clients = stack.clients().clone();
    release::set_up(&clients).await?;
    let people = stack.users(50, 100.0)?;
    let first = release::first_release(&clients, people, Recipe::First).await?;
    let people = stack.users(100, 120.0)?;
    let second = release::released(&clients, Recipe::AllFeatures).await?;
    release::is_champion(&clients, &second.version).await?;
    effects::published(&stack).await?;
    let versions = [first.version.as_str(), second.version.as_str()];
    let before = Effects::of(&clients, &versions).await?;

    for part in CONSUMERS {
        let status = stack.replica(part, 0)?.stop().await?;
        ensure!(status.success(), "{} ended with {status}", part.name());
    }
    for (group, topic) in GROUPS {
        stack.topics().rewind(group, &[topic]).await?;
    }
    for part in CONSUMERS {
        stack.replica(part, 0)?.start().await?;
    }
    until("every group to have caught up", CAUGHT_UP, async || {
        for (group, topic) in GROUPS {
            let read = stack.topics().committed(group, &[topic]).await?;
            let messages = stack.topics().read(&[topic]).await?;
            let behind = messages.iter().any(|message| {
                let place = (message.topic.clone(), message.partition);
                read.get(&place).is_none_or(|next| *next <= message.offset)
            });
            if behind {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await?;
    let after = Effects::of(&clients, &versions).await?;
    ensure!(after == before, "before: {before:?}\nafter: {after:?}");

    // And what comes next is done.
    let third = release::released(&clients, Recipe::First).await?;
    release::is_champion(&clients, &third.version).await?;
    people.stop().await;
    Effects::of(&clients, &[&first.version, &second.version, &third.version])
        .await?
        .happened_once()?;
    effects::nothing_lost_or_out_of_order(&stack).await?;
    stack.finish().await
}
