//! From the outbox to the effect over Kafka: what holds for the embedded log holds here.

use super::*;
use crate::events::{KafkaBus, kafka::tests as kafka};

/// Reads what is on the topic by now, as a group of its own, until `id` came.
async fn read_until(bus: &KafkaBus, topic: &str, id: &str) -> Vec<Event> {
    let mut subscription = bus.subscribe("reader", &[topic]).await.unwrap();
    let mut events = Vec::new();
    loop {
        let event = deliver_event(&mut subscription).await;
        let last = event.id == id;
        events.push(event);
        if last {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_published_twice_has_one_effect() {
    let (world, brokers) = (World::new().await, kafka::World::new(3));
    let bus = Arc::new(brokers.bus(&[]));
    kafka::usable(&bus).await;
    let relay = |bus: Arc<dyn EventBus>| Relay::new(world.publisher.clone(), bus, world.clock());
    world.publish("a", 1).await;
    world.publish("a", 2).await;
    // Published, and not marked.
    let crash = Arc::new(CrashAfterPublish {
        log: bus.clone(),
        crash: AtomicBool::new(true),
    });
    assert!(relay(crash.clone()).run_once().await.is_err());
    relay(crash).run_once().await.unwrap();
    world.publish("b", 3).await;
    world.publish("a", 4).await;
    relay(bus.clone()).run_once().await.unwrap();

    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus, writer);
    for _ in 0..4 {
        next(&mut handled).await;
    }
    running.stop().await;
    let effects = world.effects().await;
    let of = |model: &str| -> Vec<i64> {
        let of = effects.iter().filter(|(_, m)| m == model);
        of.map(|(n, _)| *n).collect()
    };
    assert_eq!((of("a"), of("b")), (vec![1, 2, 4], vec![3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_late_relay_sends_again_changes_no_effect() {
    let (world, brokers) = (World::new().await, kafka::World::new(3));
    let bus = Arc::new(brokers.bus(&[]));
    kafka::usable(&bus).await;
    for id in ["1", "2", "3", "1", "2"] {
        let sequence = id.parse().unwrap();
        bus.publish(&[event("a", sequence, id)]).await.unwrap();
    }
    // Never seen before, and older than what was.
    bus.publish(&[event("a", 2, "other"), event("a", 4, "4")])
        .await
        .unwrap();
    let (writer, mut handled) = Writer::new("g");
    let running = world.consume(bus, writer);
    for expected in 1..=4 {
        assert_eq!(next(&mut handled).await, expected);
    }
    running.stop().await;
    assert_eq!(world.effects().await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_event_is_parked_and_the_next_one_is_handled() {
    let (world, brokers) = (World::new().await, kafka::World::new(1));
    let bus = Arc::new(brokers.bus(&[]));
    kafka::usable(&bus).await;
    brokers
        .send(
            0,
            b"a",
            &[("ce_id", b"1"), ("ce_specversion", b"0.3")],
            b"hello",
        )
        .await;
    bus.publish(&[event("a", 1, "1")]).await.unwrap();
    let (writer, mut handled) = Writer::new("g");
    for round in 1..=2 {
        let running = world.consume(bus.clone(), writer.clone());
        assert_eq!(next(&mut handled).await, round);
        running.stop().await;
        bus.close(Duration::from_secs(20)).await;
        // Goes on behind what was parked and handled.
        let number = round + 1;
        let event = event("a", number, &number.to_string());
        bus.publish(&[event]).await.unwrap();
    }
    let letters: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM slipway_dead_letters")
        .fetch_one(&mut *world.receiver.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(letters.0, 1);

    let relay = Relay::new(world.receiver.clone(), bus.clone(), world.clock());
    relay.run_once().await.unwrap();
    bus.publish(&[Event {
        topic: DEAD_LETTER_TOPIC.to_owned(),
        ..event("a", 0, "last")
    }])
    .await
    .unwrap();
    let letters = read_until(&bus, DEAD_LETTER_TOPIC, "last").await;
    let data: serde_json::Value = serde_json::from_slice(&letters[0].data).unwrap();
    assert_eq!((letters.len(), letters[0].key.as_str()), (2, "a"));
    let reason = data["reason"].as_str().unwrap();
    assert!(reason.contains("ce_specversion is \"0.3\""), "{reason}");
    assert_eq!(data["data"], "hello");
}
