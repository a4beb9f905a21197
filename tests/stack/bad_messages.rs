//! Messages on the topics that are not as they should be.

use std::time::Duration;

use anyhow::{Result, ensure};
use slipway_examples::train::Recipe;
use slipway_platform::events::catalog::REGISTRY_TOPIC;
use slipway_tests::given;
use slipway_tests::stack::effects;
use slipway_tests::stack::kafka::{Message, Raw};
use slipway_tests::stack::release;
use slipway_tests::{Stack, until, watch};

const CREATED: &str = "io.slipway.version.created.v1";
const PARKED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn they_are_parked_with_the_reason_and_the_group_goes_on() -> Result<()> {
    let stack = Stack::of("bad-messages").start().await?;
    let clients = stack.clients();
    given::model(clients).await?;
    given::suite(clients).await?;
    let first = release::register(clients, Recipe::First).await?;
    watch::evaluated(clients, &first).await?;
    let good = effects::until_event(stack.topics(), CREATED, PARKED, |_| true).await?;

    // The same key, so that all of it is in the partition of the versions that follow.
    let sound = || Raw::again(&good).without("ce_sequence");
    let bad = [
        ("no-id", sound().without("ce_id"), &["ce_id is missing"][..]),
        (
            "no-type",
            sound().with("ce_id", "no-type").without("ce_type"),
            &["ce_type is missing", "no-type"],
        ),
        (
            "no-source",
            sound().with("ce_id", "no-source").without("ce_source"),
            &["ce_source is missing", "no-source"],
        ),
        (
            "no-version",
            sound()
                .with("ce_id", "no-version")
                .without("ce_specversion"),
            &["ce_specversion is missing", "no-version"],
        ),
        (
            "not-json",
            Raw {
                value: b"<version/>".to_vec(),
                ..sound().with("ce_id", "not-json")
            },
            &["expected value", "not-json"],
        ),
        (
            "nothing",
            Raw {
                key: good.key.clone(),
                ..Raw::default()
            },
            &["ce_specversion is missing", "\"headers\":[]"],
        ),
    ];
    for (_, raw, _) in &bad {
        stack.topics().produce(REGISTRY_TOPIC, raw).await?;
    }
    let parked = until("every bad message to be parked", PARKED, async || {
        let letters = stack.topics().dead_letters().await?;
        Ok((distinct(&letters) >= bad.len()).then_some(letters))
    })
    .await?;
    for (name, _, says) in &bad {
        let is_of_it = |letter: &Message| {
            let value = String::from_utf8_lossy(&letter.value);
            letter.key == good.key && says.iter().all(|text| value.contains(text))
        };
        ensure!(
            parked.iter().any(is_of_it),
            "{name}: nobody says {says:?} in {:?}",
            parked
                .iter()
                .map(|letter| String::from_utf8_lossy(&letter.value).into_owned())
                .collect::<Vec<_>>()
        );
    }

    // A type that nobody knows is not for us: a newer program may have sent it.
    let unknown = sound()
        .with("ce_id", "of-a-type-to-come")
        .with("ce_type", "io.slipway.version.painted.v3");
    stack.topics().produce(REGISTRY_TOPIC, &unknown).await?;

    let second = release::register(clients, Recipe::AllFeatures).await?;
    watch::evaluated(clients, &second).await?;
    let letters = stack.topics().dead_letters().await?;
    ensure!(
        distinct(&letters) == bad.len(),
        "only what is bad is parked: {letters:?}"
    );
    let evaluations = watch::evaluations(clients, &first).await?;
    ensure!(
        evaluations.len() == 1,
        "nothing was evaluated again: {evaluations:?}"
    );
    stack.finish().await
}

/// Dead letters by what is in them: a crash may publish one twice.
fn distinct(letters: &[Message]) -> usize {
    let values: std::collections::BTreeSet<_> = letters
        .iter()
        .map(|letter| (&letter.value, letter.header("ce_id")))
        .collect();
    values.len()
}
