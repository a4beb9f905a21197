//! From the outbox to Kafka, beside Kafka's own producer with records of the same size, in one run.
//!
//! ```text
//! eval "$(deploy/local/stack env)"    # after deploy/local/stack up
//! cargo bench -p slipway-tests --bench outbox
//! ```
//!
//! Events of many keys are committed to PostgreSQL; then a relay publishes all of them, and has them marked, with its
//! own settings. Kafka's `ProducerPerformance` sends as many records of the bytes that such an event has on the
//! topic (key, headers and data), to a topic with as many partitions. Both have `acks=all` and an idempotent
//! producer, and are measured in turns. Printed are both throughputs and their ratio, each the median of its turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use slipway_platform::clock::SystemClock;
use slipway_platform::config::{Secret, load};
use slipway_platform::db::{Db, StorageConfig};
use slipway_platform::events::catalog::REGISTRY_TOPIC;
use slipway_platform::events::config::{BusConfig, DEFAULTS, SECTION};
use slipway_platform::events::{BusHealth, EventBus, KafkaBus, Relay, outbox};
use slipway_proto::common::v1::ArtifactRef;
use slipway_proto::event::v1::VersionCreated;
use slipway_tests::Stack;
use slipway_tests::bench;
use slipway_tests::bench::peers::ProducerRun;
use slipway_tests::given::MODEL;
use slipway_tests::stack::Part;
use slipway_tests::stack::settings::PARTITIONS;

/// Events of one turn.
const EVENTS: usize = 60_000;
/// Turns of each.
const TURNS: usize = 3;
/// Keys that they are of.
const KEYS: usize = 32;
/// Events in one transaction of those that fill the outbox, which is not measured.
const FILLED_AT_ONCE: usize = 500;
/// The topic of Kafka's own producer.
const PEER_TOPIC: &str = "peer";
/// Kafka answers by then.
const READY: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    bench::is_release_build()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(compare())
}

async fn compare() -> Result<()> {
    let stack = Stack::of("bench-outbox").prepare().await?;
    let (db, bus) = (database(&stack).await?, bus(&stack).await?);
    let relay = Relay::new(db.clone(), bus, SystemClock::shared());
    stack
        .topics()
        .create(PEER_TOPIC, i32::try_from(PARTITIONS)?)
        .await?;
    fill(&db, FILLED_AT_ONCE).await?;
    drain(&db, &relay).await?;
    let record_bytes = bytes_of_a_record(&stack).await?;
    let producer = ProducerRun {
        brokers: &stack.servers().kafka,
        topic: &stack.topics().on_broker(PEER_TOPIC),
        records: EVENTS,
        record_bytes,
    };
    let (mut of_outbox, mut of_peer) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        fill(&db, EVENTS).await?;
        let start = Instant::now();
        drain(&db, &relay).await?;
        of_outbox.push(EVENTS as f64 / start.elapsed().as_secs_f64());
        of_peer.push(producer.records_per_second().await?);
    }
    println!(
        "{TURNS} turns of {EVENTS} events, {record_bytes} bytes each as records, {PARTITIONS} partitions"
    );
    let (outbox, peer) = (bench::median(of_outbox), bench::median(of_peer));
    println!("outbox to Kafka            {outbox:>8.0} events/s");
    println!("kafka-producer-perf-test   {peer:>8.0} records/s");
    println!("outbox / producer: {:.2}", outbox / peer);
    db.close().await;
    stack.finish().await
}

async fn database(stack: &Stack) -> Result<Db> {
    let storage = StorageConfig {
        url: Secret::new(stack.servers().postgres.clone()),
        schema: stack.place().schema(Part::Registry),
        ..StorageConfig::default()
    };
    Ok(Db::open(&storage, &slipway_registry::store::MIGRATIONS).await?)
}

async fn bus(stack: &Stack) -> Result<Arc<KafkaBus>> {
    let settings = [
        ("KIND", "kafka".to_owned()),
        ("KAFKA__BROKERS", stack.servers().kafka.clone()),
        ("KAFKA__TOPIC_PREFIX", stack.place().prefix()),
        ("KAFKA__GROUP_PREFIX", stack.place().prefix()),
        ("KAFKA__TOPICS__PARTITIONS", PARTITIONS.to_string()),
    ];
    let settings = settings.map(|(key, value)| (format!("SLIPWAY__EVENT_BUS__{key}"), value));
    let config: BusConfig = load(DEFAULTS, Some(SECTION), None, settings)?;
    let bus = KafkaBus::start(&config.kafka)?;
    let mut health = bus.health();
    let ready = health.wait_for(|health| *health == BusHealth::Ok);
    tokio::time::timeout(READY, ready)
        .await
        .context("waiting for Kafka")??;
    Ok(Arc::new(bus))
}

async fn fill(db: &Db, events: usize) -> Result<()> {
    let clock = SystemClock::shared();
    for first in (0..events).step_by(FILLED_AT_ONCE) {
        let mut tx = db.begin().await?;
        for number in first..events.min(first + FILLED_AT_ONCE) {
            let model = format!("{MODEL}-{:02}", number % KEYS);
            let event = version_created(&model, i64::try_from(number)?);
            outbox::publish(&mut tx, clock.now(), &model, &event.version, &event).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// What the registry says of a version with two artifacts and a tag.
fn version_created(model: &str, number: i64) -> VersionCreated {
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let artifact = |role: &str| ArtifactRef {
        role: role.to_owned(),
        artifact: format!("workspaces/dev/artifacts/{digest}"),
        digest: digest.to_owned(),
        size_bytes: 4_096,
        file_name: format!("{role}.json"),
    };
    VersionCreated {
        version: format!("{model}/versions/{number}"),
        model: model.to_owned(),
        number,
        digest: digest.to_owned(),
        artifacts: vec![artifact("model"), artifact("predictions")],
        tags: [("cutoff_date".to_owned(), "2025-01-31".to_owned())].into(),
    }
}

/// Publishes everything that waits.
async fn drain(db: &Db, relay: &Relay) -> Result<()> {
    while waiting(db).await? > 0 {
        relay.run_once().await?;
    }
    Ok(())
}

async fn waiting(db: &Db) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM slipway_outbox WHERE published_at IS NULL";
    let (count,): (i64,) = sqlx::query_as(sql)
        .fetch_one(&mut *db.read().await?)
        .await?;
    Ok(count)
}

/// What an event has on its topic: key, headers and data.
async fn bytes_of_a_record(stack: &Stack) -> Result<usize> {
    let messages = stack.topics().read(&[REGISTRY_TOPIC]).await?;
    ensure!(!messages.is_empty(), "nothing was published");
    let sizes = messages.iter().map(|message| {
        let headers = message.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        message.key.len() + headers + message.value.len()
    });
    Ok(sizes.sum::<usize>() / messages.len())
}
