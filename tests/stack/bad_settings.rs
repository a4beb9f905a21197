//! Settings that are wrong, and servers that are not there, or not as they should be.

use anyhow::{Result, ensure};
use slipway_examples::train::Recipe;
use slipway_platform::events::catalog::REGISTRY_TOPIC;
use slipway_tests::given;
use slipway_tests::stack::servers::Component;
use slipway_tests::stack::settings::PARTITIONS;
use slipway_tests::stack::{Part, release};
use slipway_tests::{Stack, watch};
use sqlx::AssertSqlSafe;
use tonic_health::pb::health_check_response::ServingStatus;

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_an_unknown_key_says_its_name_and_does_not_start() -> Result<()> {
    let mut starting = Stack::of("unknown-keys");
    for part in Part::ALL {
        starting = starting.with(part, "colour", "\"red\"");
    }
    let mut stack = starting.prepare().await?;
    for replica in stack.all() {
        replica.spawn()?;
        let log = replica.refuses_to_start().await?;
        ensure!(
            log.contains("colour") && log.contains(".toml"),
            "it names the key and the file: {log}"
        );
    }
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_refused_by_the_name_of_its_setting() -> Result<()> {
    let mut stack = Stack::of("no-addresses")
        .with(Part::Registry, "storage.url", "\"mysql://somewhere\"")
        .with(Part::Evaluator, "registry", "\"the registry\"")
        .with(Part::Deployer, "failure_detector", "\"ftp://127.0.0.1:1\"")
        .with(
            Part::FailureDetector,
            "event_bus.kafka.brokers",
            "\"kafka\"",
        )
        .with(Part::Gateway, "control_plane", "\"nowhere at all\"")
        .prepare()
        .await?;
    for (part, setting) in [
        (Part::Registry, "storage.url"),
        (Part::Evaluator, "registry"),
        (Part::Deployer, "failure_detector"),
        (Part::FailureDetector, "brokers"),
        (Part::Gateway, "control_plane"),
    ] {
        let replica = stack.replica(part, 0)?;
        replica.spawn()?;
        let log = replica.refuses_to_start().await?;
        ensure!(log.contains(setting), "it names {setting}: {log}");
    }
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_waited_for_by_name() -> Result<()> {
    let url = format!("\"postgres://slipway:a-secret-word@{NOBODY}/slipway\"");
    let mut stack = Stack::of("nobody-there")
        .with(Part::Registry, "storage.url", &url)
        .with(
            Part::FailureDetector,
            "event_bus.kafka.brokers",
            &format!("\"{NOBODY}\""),
        )
        .prepare()
        .await?;
    let registry = stack.replica(Part::Registry, 0)?;
    registry.spawn()?;
    registry.says(&["waiting", NOBODY]).await?;
    ensure!(
        registry.health().await? == Some(ServingStatus::NotServing),
        "it answers, and says that it does not serve"
    );
    ensure!(
        !registry.log().contains("a-secret-word"),
        "the password is not logged"
    );
    registry.stop().await?;

    // Events wait in the outbox; everything else goes on.
    let detector = stack.replica(Part::FailureDetector, 0)?;
    detector.start().await?;
    detector.says(&["event_bus.kafka.brokers", NOBODY]).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn services_start_in_any_order_and_say_what_they_wait_for() -> Result<()> {
    let mut stack = Stack::of("any-order").alone().prepare().await?;
    for component in [Component::Kafka, Component::Postgres] {
        stack.servers().stop(component).await?;
    }
    for part in [Part::Gateway, Part::Deployer, Part::FailureDetector] {
        stack.replica(part, 0)?.spawn()?;
    }
    stack.replica(Part::Deployer, 0)?.says(&["waiting"]).await?;
    stack.servers().start(Component::Postgres).await?;
    for part in [Part::Evaluator, Part::Registry] {
        stack.replica(part, 0)?.spawn()?;
    }
    for part in Part::SERVICES {
        stack.replica(part, 0)?.serving().await?;
    }
    let clients = stack.clients();
    release::set_up(clients).await?;
    stack.servers().start(Component::Kafka).await?;
    let people = stack.users(50, 100.0)?;
    let first = release::first_release(clients, people, Recipe::AllFeatures).await?;
    release::is_champion(clients, &first.version).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_fewer_partitions_is_named_and_nothing_is_lost_until_it_has_them() -> Result<()>
{
    let mut stack = Stack::of("few-partitions").prepare().await?;
    stack.topics().create(REGISTRY_TOPIC, 1).await?;
    for part in [Part::Registry, Part::Evaluator] {
        stack.replica(part, 0)?.start().await?;
    }
    let clients = stack.clients().clone();
    given::model(&clients).await?;
    given::suite(&clients).await?;
    let version = release::register(&clients, Recipe::First).await?;
    let topic = stack.topics().on_broker(REGISTRY_TOPIC);
    stack
        .replica(Part::Registry, 0)?
        .says(&[&topic, "partition"])
        .await?;
    ensure!(
        watch::evaluations(&clients, &version).await?.is_empty(),
        "nothing was published"
    );

    stack
        .topics()
        .widen(REGISTRY_TOPIC, PARTITIONS as usize)
        .await?;
    watch::evaluated(&clients, &version).await?;
    stack.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_newer_program_has_changed_is_refused_unless_it_was_added_to()
-> Result<()> {
    let mut stack = Stack::of("newer-schema").prepare().await?;
    stack.replica(Part::Registry, 0)?.start().await?;
    stack.replica(Part::Registry, 0)?.stop().await?;
    step(&stack, "9001_more_columns").await?;
    stack.replica(Part::Registry, 0)?.start().await?;
    stack.replica(Part::Registry, 0)?.stop().await?;

    step(&stack, "9002_breaking_columns").await?;
    let registry = stack.replica(Part::Registry, 0)?;
    registry.spawn()?;
    let log = registry.refuses_to_start().await?;
    ensure!(
        log.contains("9002_breaking_columns"),
        "it names the step: {log}"
    );
    stack.finish().await
}

/// What a newer registry leaves behind.
async fn step(stack: &Stack, name: &str) -> Result<()> {
    let schema = stack.place().schema(Part::Registry);
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO \"{schema}\".slipway_migrations (component, step, checksum, applied_at) \
         VALUES ('registry', $1, 'of a newer program', 0)"
    )))
    .bind(name)
    .execute(&mut stack.servers().connect().await?)
    .await?;
    Ok(())
}
