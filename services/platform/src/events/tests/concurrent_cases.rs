//! Transactions that run at once and commit in any order.

use std::collections::BTreeMap;

use futures::StreamExt;
use slipway_proto::event::v1::{
    WatchEventsRequest, event_service_server::EventService as _, watch_events_request::Start,
};
use tonic::Request;

use super::*;
use crate::events::service::EventService;

/// Long enough for what does not wait, short enough for a test.
const MOMENT: Duration = Duration::from_millis(200);

/// What was published, in the order of publication: keys with their sequences.
async fn published(db: &Db) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT event_key, sequence FROM slipway_outbox WHERE published IS NOT NULL ORDER BY published",
    )
    .fetch_all(&mut *db.read().await.unwrap())
    .await
    .unwrap()
}

fn row(key: &str, sequence: i64) -> (String, i64) {
    (key.to_owned(), sequence)
}

#[tokio::test]
async fn transactions_that_commit_in_another_order_lose_nothing() {
    let world = World::new().await;
    let log = world.log().await;
    let relay = world.relay(&log);
    let db = &world.publisher;
    let mut slow = db.begin_for("a").await.unwrap();
    put(&mut slow, "a", 1).await;

    let other = db.clone();
    let mut quick = tokio::spawn(async move {
        let mut tx = other.begin_for("b").await.unwrap();
        put(&mut tx, "b", 1).await;
        tx.commit().await.unwrap();
    });
    let overtook = tokio::time::timeout(MOMENT, &mut quick).await.is_ok();
    assert_eq!(overtook, db.is_shared(), "a SQLite database has one writer");
    if overtook {
        relay.run_once().await.unwrap();
        assert_eq!(published(db).await, [row("b", 1)]);
    }
    // Another transaction with an event of the same key has to wait, whatever it is for.
    let other = db.clone();
    let mut same = tokio::spawn(async move {
        let mut tx = other.begin_for("c").await.unwrap();
        put(&mut tx, "a", 2).await;
        tx.commit().await.unwrap();
    });
    assert!(tokio::time::timeout(MOMENT, &mut same).await.is_err());
    slow.commit().await.unwrap();
    same.await.unwrap();
    if !overtook {
        quick.await.unwrap();
    }
    relay.run_once().await.unwrap();
    let found = published(db).await;
    let of_a: Vec<_> = found
        .iter()
        .filter(|(key, _)| key == "a")
        .cloned()
        .collect();
    assert_eq!(of_a, [row("a", 1), row("a", 2)]);
    assert_eq!(found.len(), 3, "{found:?}");

    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(Arc::new(log), writer);
    for _ in 0..3 {
        next(&mut handled).await;
    }
    running.stop().await;
    let of_a: Vec<_> = world
        .effects()
        .await
        .into_iter()
        .filter(|e| e.1 == "a")
        .collect();
    assert_eq!(of_a, [(1, "a".to_owned()), (2, "a".to_owned())]);
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_no_gap_in_the_numbers() {
    let world = World::new().await;
    let relay = world.relay(&world.log().await);
    for round in 1..=3 {
        let mut lost = world.publisher.begin().await.unwrap();
        put(&mut lost, "a", 99).await;
        lost.rollback().await.unwrap();
        world.publish("a", round).await;
        relay.run_once().await.unwrap();
    }
    assert_eq!(outbox::newest(&world.publisher).await.unwrap(), (3, 0));
    let expected: Vec<_> = (1..=3).map(|n| row("a", n)).collect();
    assert_eq!(published(&world.publisher).await, expected);
}

const WRITERS: i64 = 8;
const EVENTS_EACH: i64 = 12;
const ALL: usize = (WRITERS * EVENTS_EACH) as usize;

#[tokio::test]
async fn many_writers_two_relays_and_a_watcher_that_comes_and_goes_agree() {
    let world = World::new().await;
    let log = world.log().await;
    let stop = CancellationToken::new();
    let relays: Vec<_> = (0..2)
        .map(|_| {
            let (relay, stop) = (world.relay(&log), stop.clone());
            tokio::spawn(async move { relay.run(stop).await })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let db = world.publisher.clone();
            tokio::spawn(async move { write(&db, writer).await })
        })
        .collect();
    let seen = tokio::time::timeout(Duration::from_secs(60), watch_all(&world)).await;
    let seen = seen.expect("every event is seen");
    for writer in writers {
        writer.await.unwrap();
    }
    stop.cancel();
    for relay in relays {
        relay.await.unwrap().unwrap();
    }
    assert_eq!(
        seen,
        published(&world.publisher).await,
        "none missed, none twice"
    );
    let mut by_key = BTreeMap::<String, Vec<i64>>::new();
    for (key, sequence) in seen {
        by_key.entry(key).or_default().push(sequence);
    }
    for (key, sequences) in by_key {
        let dense: Vec<i64> = (1..=sequences.len() as i64).collect();
        assert_eq!(sequences, dense, "{key}");
    }
}

/// Writes events of a key that is its own, and of one that all share, with pauses in between.
async fn write(db: &Db, writer: i64) {
    for n in 0..EVENTS_EACH {
        let own = format!("own{writer}");
        let key = if n % 3 == 0 { "shared" } else { own.as_str() };
        let mut tx = db.begin_for(&own).await.unwrap();
        put(&mut tx, key, writer * 100 + n).await;
        for _ in 0..(writer * 7 + n) % 5 {
            tokio::task::yield_now().await;
        }
        if n % 4 == 3 {
            tx.rollback().await.unwrap();
            tx = db.begin_for(&own).await.unwrap();
            put(&mut tx, key, writer * 100 + n).await;
        }
        tx.commit().await.unwrap();
    }
}

/// Watches until everything came, with a new stream after every few events.
async fn watch_all(world: &World) -> Vec<(String, i64)> {
    let service = EventService::new(
        world.publisher.clone(),
        world.clock(),
        vec![],
        &RelayOptions::default(),
    );
    let mut request = WatchEventsRequest {
        start: Start::Oldest.into(),
        ..Default::default()
    };
    let mut seen = Vec::new();
    while seen.len() < ALL {
        let opened = service.watch_events(Request::new(request.clone())).await;
        let mut stream = opened.unwrap().into_inner();
        for _ in 0..10 {
            let message = stream.next().await.unwrap().unwrap();
            request.resume_token = message.resume_token;
            if let Some(event) = message.event {
                seen.push((event.key, event.sequence));
            }
            if seen.len() == ALL {
                break;
            }
        }
    }
    seen
}
