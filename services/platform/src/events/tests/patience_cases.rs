//! How long one event is tried, and what is said of events that are dropped.

use super::*;
use crate::events::kafka::client::POLL_INTERVAL_MS;

/// Consumes until `group` counts `wanted` under this name.
async fn consume_until(
    world: &World,
    log: EmbeddedLog,
    writer: Arc<Writer>,
    options: ConsumerOptions,
    name: &str,
    wanted: f64,
) {
    let group = writer.group;
    let shutdown = CancellationToken::new();
    let running = Running {
        task: tokio::spawn(consumer::run_with(
            world.receiver.clone(),
            Arc::new(log),
            writer,
            world.clock(),
            shutdown.clone(),
            options,
        )),
        shutdown,
    };
    let counted = async {
        while metric(name, group).unwrap_or(0.0) < wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted)
        .await
        .expect("it is counted");
    running.stop().await;
}

#[test]
fn an_event_is_given_up_before_kafka_gives_up_the_consumer() {
    let options = ConsumerOptions::default();
    let limit = Duration::from_millis(POLL_INTERVAL_MS);
    // One attempt may begin just before the patience ends.
    assert!(options.patience + options.backoff_max < limit);
    let mut wait = options.backoff_min;
    let mut waited = Duration::ZERO;
    for _ in 1..options.attempts_max {
        waited += wait;
        wait = (wait * 2).min(options.backoff_max);
    }
    assert!(
        waited < options.patience,
        "handlers that fail at once have all their attempts: {waited:?}"
    );
}

#[tokio::test]
async fn a_handler_that_goes_on_failing_is_given_up_in_time() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[event("a", 1, "1")]).await.unwrap();
    let (writer, _handled) =
        Writer::failing("patience", |_| Some(Error::unavailable("a peer is away")));
    let options = ConsumerOptions {
        attempts_max: 1_000_000,
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(5),
        patience: Duration::from_millis(60),
        storage_backoff_max: Duration::from_millis(5),
    };
    let name = "slipway_event_dead_letters";
    consume_until(&world, log, writer, options, name, 1.0).await;
    let letters: Vec<(i64,)> = sqlx::query_as("SELECT attempts FROM slipway_dead_letters")
        .fetch_all(&mut *world.receiver.read().await.unwrap())
        .await
        .unwrap();
    let [(attempts,)] = letters[..] else {
        panic!("{letters:?}")
    };
    // On a machine that stands still in between, one may be all.
    assert!((1..=13).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn events_that_are_older_than_what_was_seen_are_counted() {
    let world = World::new().await;
    let log = world.log().await;
    // The publisher's database was restored: it numbers new events as it did old ones.
    log.publish(&[event("a", 5, "before"), event("a", 3, "after")])
        .await
        .unwrap();
    let (writer, mut handled) = Writer::new("stale");
    let options = ConsumerOptions::default();
    let name = "slipway_event_stale";
    consume_until(&world, log, writer, options, name, 1.0).await;
    assert_eq!(handled.try_recv(), Ok(5));
    assert!(handled.try_recv().is_err(), "the older one has no effect");
}
