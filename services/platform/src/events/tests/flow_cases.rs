//! From the outbox to the effect: order, duplicates, failures, retention.

use super::*;

#[tokio::test]
async fn events_travel_in_commit_order_with_a_sequence_per_key() {
    let world = World::new().await;
    let log = world.log().await;
    for (model, number) in [("a", 1), ("b", 1), ("a", 2)] {
        world.publish(model, number).await;
    }
    let mut lost = world.publisher.begin().await.unwrap();
    put(&mut lost, "a", 99).await;
    drop(lost);
    world.publish("a", 3).await;
    world.relay(&log).run_once().await.unwrap();
    world.relay(&log).run_once().await.unwrap();

    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let event = deliver_event(&mut subscription).await;
        assert_eq!(event.source, "//slipway/registry");
        assert_eq!(event.time, Timestamp(7));
        let data: VersionCreated = event.decode().unwrap();
        assert!(matches!(
            event.decode::<AliasMoved>(),
            Err(Error::Invalid(_))
        ));
        seen.push((event.key, event.sequence, data.number));
    }
    let expected = [("a", 1, 1), ("b", 1, 1), ("a", 2, 2), ("a", 3, 3)];
    assert_eq!(
        seen,
        expected.map(|(key, sequence, number)| (key.to_owned(), sequence, number))
    );
    let more = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
    assert!(more.is_err(), "nothing is published twice");
}

#[tokio::test]
async fn concurrent_publishers_leave_no_gap_and_no_disorder() {
    let world = World::new().await;
    let log = world.log().await;
    let relay = world.relay(&log);
    let writers: Vec<_> = (0..40)
        .map(|i| {
            let db = world.publisher.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                put(&mut tx, if i % 2 == 0 { "even" } else { "odd" }, i).await;
                tx.commit().await.unwrap();
            })
        })
        .collect();
    relay.run_once().await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    relay.run_once().await.unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut sequences = std::collections::BTreeMap::<String, Vec<i64>>::new();
    for _ in 0..40 {
        let event = deliver_event(&mut subscription).await;
        sequences.entry(event.key).or_default().push(event.sequence);
    }
    let dense: Vec<i64> = (1..=20).collect();
    assert_eq!(sequences["even"], dense);
    assert_eq!(sequences["odd"], dense);
}

#[tokio::test]
async fn a_crash_between_publish_and_mark_has_one_effect() {
    let world = World::new().await;
    let log = world.log().await;
    let bus = Arc::new(CrashAfterPublish {
        log: Arc::new(log.clone()),
        crash: AtomicBool::new(true),
    });
    let relay = Relay::new(world.publisher.clone(), bus.clone(), world.clock());
    world.publish("a", 1).await;
    world.publish("a", 2).await;
    assert!(relay.run_once().await.is_err());
    relay.run_once().await.unwrap();
    world.publish("a", 3).await;
    relay.run_once().await.unwrap();

    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus, writer);
    for expected in 1..=3 {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    assert_eq!(world.effects().await.len(), 3);
    let mut raw = log.subscribe("raw", &[REGISTRY_TOPIC]).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(deliver_event(&mut raw).await.id);
    }
    assert_eq!(
        (&ids[0], &ids[1]),
        (&ids[2], &ids[3]),
        "the first two were published twice"
    );
}

#[tokio::test]
async fn duplicates_and_older_events_have_no_effect() {
    let world = World::new().await;
    let log = world.log().await;
    let late = [
        event("a", 1, "1"),
        event("a", 3, "3"),
        event("a", 1, "1"),
        event("a", 2, "2"),
        event("b", 1, "b1"),
    ];
    log.publish(&late).await.unwrap();
    let mut foreign = event("a", 1, "1");
    foreign.source = "//elsewhere".to_owned();
    log.publish(&[foreign, event("a", 0, "unnumbered"), event("a", 4, "4")])
        .await
        .unwrap();
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(Arc::new(log), writer);
    for expected in [1, 3, 1, 1, 0, 4] {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    assert_eq!(world.effects().await.len(), 6);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_keeps_the_order() {
    let world = World::new().await;
    let log = world.log().await;
    let failures = Mutex::new(2);
    let (writer, mut handled) = Writer::failing("g", move |number| {
        let mut left = failures.lock().unwrap();
        (number == 1 && *left > 0).then(|| {
            *left -= 1;
            Error::Unavailable {
                what: "peer".to_owned(),
            }
        })
    });
    log.publish(&[event("a", 1, "1"), event("a", 2, "2"), event("b", 3, "3")])
        .await
        .unwrap();
    let running = world.consume(Arc::new(log), writer);
    for expected in 1..=3 {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    let numbers: Vec<i64> = world.effects().await.into_iter().map(|(n, _)| n).collect();
    assert_eq!(numbers, [1, 2, 3], "a rolled back attempt leaves nothing");
}

#[tokio::test]
async fn what_cannot_be_handled_becomes_a_dead_letter_with_its_reason() {
    let world = World::new().await;
    let log = world.log().await;
    let mut broken = event("a", 1, "broken");
    broken.data = b"{\"number\":\"NaN\"}".to_vec();
    log.publish(&[
        broken,
        event("a", 2, "lasting"),
        event("a", 3, "stubborn"),
        event("a", 4, "fatal"),
        event("a", 5, "good"),
    ])
    .await
    .unwrap();
    let (writer, mut handled) = Writer::failing("g", |number| match number {
        2 => Some(Error::not_found("model", "a")),
        3 => Some(Error::unavailable("peer")),
        4 => panic!("index out of bounds"),
        _ => None,
    });
    let bus: Arc<dyn EventBus> = Arc::new(log.clone());
    let running = world.consume(bus.clone(), writer);
    assert_eq!(next(&mut handled).await, 5);
    running.stop().await;
    assert_eq!(world.effects().await.len(), 1);

    Relay::new(world.receiver.clone(), bus, world.clock())
        .run_once()
        .await
        .unwrap();
    let mut letters = log.subscribe("people", &[DEAD_LETTER_TOPIC]).await.unwrap();
    for (id, reason) in [
        ("broken", "json"),
        ("lasting", "model a was not found"),
        ("stubborn", "peer"),
        ("fatal", "event handler"),
    ] {
        let letter = deliver_event(&mut letters).await;
        let data: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
        assert_eq!((&data["id"], &data["group"]), (&id.into(), &"g".into()));
        assert!(data["reason"].as_str().unwrap().contains(reason), "{data}");
        assert_eq!(letter.key, "a");
    }
}

#[tokio::test]
async fn retention_deletes_old_events_and_old_rows() {
    let world = World::new().await;
    let log = world.log().await;
    let options = RelayOptions {
        outbox_retention_hours: 1,
        ..RelayOptions::default()
    };
    let relay = Relay::with_options(
        world.publisher.clone(),
        Arc::new(log.clone()),
        world.clock(),
        options,
    );
    world.publish("a", 1).await;
    relay.run_once().await.unwrap();
    assert_eq!(log.collect().await.unwrap(), 0);
    world
        .clock
        .advance(DEFAULT_RETENTION + Duration::from_secs(1));
    world.publish("a", 2).await;
    relay.run_once().await.unwrap();
    assert_eq!(log.collect().await.unwrap(), 1);
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    assert_eq!(
        deliver_event(&mut subscription).await.sequence,
        2,
        "numbering goes on after a deletion"
    );
    let mut reader = world.publisher.read().await.unwrap();
    let left: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM slipway_outbox")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(left.0, 1);
}

#[tokio::test]
async fn a_consumer_stops_between_events_and_goes_on_where_it_stopped() {
    let world = World::new().await;
    let log = world.log().await;
    let bus: Arc<dyn EventBus> = Arc::new(log.clone());
    log.publish(&[event("a", 1, "1")]).await.unwrap();
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus.clone(), writer.clone());
    assert_eq!(next(&mut handled).await, 1);
    running.stop().await;
    log.publish(&[event("a", 2, "2")]).await.unwrap();
    let running = world.consume(bus, writer);
    assert_eq!(next(&mut handled).await, 2);
    running.stop().await;
    assert_eq!(world.effects().await.len(), 2);
}
