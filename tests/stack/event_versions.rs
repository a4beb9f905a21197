//! Programs of different ages side by side: events that say more, and events that say less.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slipway_examples::train::Recipe;
use slipway_platform::events::catalog::EVALUATION_TOPIC;
use slipway_tests::given::{self, EndpointPlan};
use slipway_tests::stack::kafka::{Message, Raw};
use slipway_tests::stack::{effects, release};
use slipway_tests::{Stack, watch};

const COMPLETED: &str = "io.slipway.evaluation.completed.v1";
const ARRIVED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn events_of_newer_and_of_older_programs_have_their_effect() -> Result<()> {
    let stack = Stack::of("event-versions").start().await?;
    let clients = stack.clients();
    given::model(clients).await?;
    given::suite(clients).await?;
    given::environment(clients, false).await?;
    given::endpoint(clients, EndpointPlan::default()).await?;

    // There is no rule yet: these verdicts lead to nothing, and are templates for what follows.
    let newer = verdict_of(&stack, Recipe::First).await?;
    let older = verdict_of(&stack, Recipe::AllFeatures).await?;
    given::rule(clients).await?;

    // A newer program: attributes and fields that this one does not know.
    let mut data = newer.json()?;
    set(&mut data, "carbonGrams", Value::from(12.5))?;
    set(
        &mut data,
        "explanation",
        serde_json::json!({ "by": ["a later version"] }),
    )?;
    let raw = Raw {
        value: serde_json::to_vec(&data)?,
        ..Raw::again(&newer)
    };
    let raw = raw
        .with("ce_id", "of-a-newer-program")
        .with("ce_sequence", &next(&older, 1))
        .with(
            "ce_dataschema",
            "https://example.com/evaluation-completed-1.7",
        )
        .with("ce_region", "moon");
    stack.topics().produce(EVALUATION_TOPIC, &raw).await?;
    let rollout = release::rollout_of(clients, version(&newer)?.as_str()).await?;
    watch::until_ended(clients, &rollout.name, release::ENDED).await?;

    // An older one: without numbers, without a trace, without the fields that came later.
    let mut data = older.json()?;
    for field in ["suite", "reasons", "validUntil", "measured"] {
        data.as_object_mut().context("an object")?.remove(field);
    }
    let raw = Raw {
        value: serde_json::to_vec(&data)?,
        ..Raw::again(&older)
    };
    let raw = raw
        .with("ce_id", "of-an-older-program")
        .without("ce_sequence")
        .without("ce_traceparent")
        .without("traceparent")
        .without("ce_subject");
    stack.topics().produce(EVALUATION_TOPIC, &raw).await?;
    let rollout = release::rollout_of(clients, version(&older)?.as_str()).await?;
    watch::until_ended(clients, &rollout.name, release::ENDED).await?;

    ensure!(
        stack.topics().dead_letters().await?.is_empty(),
        "both were understood"
    );
    stack.finish().await
}

/// Registers a version and gives the event of its verdict.
async fn verdict_of(stack: &Stack, recipe: Recipe) -> Result<Message> {
    let name = release::register(stack.clients(), recipe).await?;
    watch::evaluated(stack.clients(), &name).await?;
    effects::until_event(stack.topics(), COMPLETED, ARRIVED, |event| {
        version(event).is_ok_and(|version| version == name)
    })
    .await
}

fn version(event: &Message) -> Result<String> {
    let data = event.json()?;
    let version = data["version"].as_str().context("the event's version")?;
    Ok(version.to_owned())
}

fn set(data: &mut Value, key: &str, value: Value) -> Result<()> {
    let object = data.as_object_mut().context("an object")?;
    object.insert(key.to_owned(), value);
    Ok(())
}

fn next(event: &Message, more: i64) -> String {
    (event.sequence() + more).to_string()
}
