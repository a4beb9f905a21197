//! Brokers and topics that are not as they should be.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::Error;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_named_and_publishing_ends_in_time() {
    let bus = KafkaBus::start(&settings(
        "127.0.0.1:9",
        &[("KAFKA__PUBLISH_TIMEOUT_MS", "300")],
    ))
    .unwrap();
    let why = waiting_for(&bus, "refused").await;
    assert!(
        why.contains("127.0.0.1:9") && why.contains("event_bus.kafka.brokers"),
        "{why}"
    );
    let error = within("publishing", bus.publish(&[event("a", 1)])).await;
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    within("closing", bus.close(PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_and_come_back_lose_nothing_and_keep_the_order() {
    let cluster = mock(1);
    let brokers = cluster.bootstrap_servers();
    let overrides = [("KAFKA__PUBLISH_TIMEOUT_MS", "1000")];
    let bus = KafkaBus::start(&settings(&brokers, &overrides)).unwrap();
    publish(&bus, &[event("a", 1)]).await;
    let mut subscription = subscribe(&bus, "g").await;
    let first = deliver(&mut subscription).await;
    subscription.commit(&first).await.unwrap();

    cluster.broker_down(-1).unwrap();
    let error = within("publishing", bus.publish(&[event("a", 2), event("a", 3)])).await;
    let error = error.unwrap_err();
    assert!(error.is_transient(), "{error}");
    waiting_for(&bus, &brokers).await;
    cluster.broker_up(-1).unwrap();
    usable(&bus).await;
    publish(&bus, &[event("a", 2), event("a", 3)]).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&3) {
        let delivery = deliver(&mut subscription).await;
        subscription.commit(&delivery).await.unwrap();
        seen.push(delivery.into_event().unwrap().sequence);
    }
    // The first attempt may have been written too, but never a later event before an earlier one.
    let mut newest = 1;
    for sequence in seen {
        assert!(
            sequence <= newest + 1,
            "{sequence} came before {}",
            newest + 1
        );
        newest = newest.max(sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for_by_name() {
    let cluster = MockCluster::new(1).unwrap();
    let missing = "slipway.dead-letter";
    for topic in monitor::topics().into_iter().filter(|t| *t != missing) {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let overrides = [("KAFKA__PUBLISH_TIMEOUT_MS", "300")];
    let bus = KafkaBus::start(&settings(&cluster.bootstrap_servers(), &overrides)).unwrap();
    let why = waiting_for(&bus, missing).await;
    assert!(why.contains("event_bus.kafka.topics.create"), "{why}");
    let refused = bus.publish(&[event("a", 1)]).await.unwrap_err().to_string();
    assert!(refused.contains(missing), "{refused}");
    // Readers of topics that exist go on.
    let mut subscription = subscribe(&bus, "g").await;
    cluster.create_topic(missing, 1, 1).unwrap();
    publish(&bus, &[event("a", 1)]).await;
    assert_eq!(
        deliver(&mut subscription).await.event(),
        Some(&event("a", 1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_few_partitions_is_named_with_both_numbers() {
    let world = World::new(2);
    let smaller = world.bus(&[]);
    usable(&smaller).await;
    let bus = world.bus(&[
        ("KAFKA__TOPICS__PARTITIONS", "3"),
        ("KAFKA__PUBLISH_TIMEOUT_MS", "300"),
    ]);
    let why = waiting_for(&bus, "has 2").await;
    for part in [
        "slipway.",
        "has 2",
        "event_bus.kafka.topics.partitions is 3",
    ] {
        assert!(why.contains(part), "{why}");
    }
    let refused = bus.publish(&[event("a", 1)]).await.unwrap_err().to_string();
    assert!(refused.contains("has 2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_is_named_and_does_not_stop_the_others() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    usable(&bus).await;
    let large = Event {
        data: vec![b' '; 1_000_001],
        ..event("a", 2)
    };
    let error = bus.publish(&[event("a", 1), large]).await.unwrap_err();
    assert_eq!(error.reason(), "EVENT_TOO_LARGE");
    let text = error.to_string();
    assert!(
        text.contains("a-2") && text.contains("message_bytes_max"),
        "{text}"
    );
    let mut subscription = subscribe(&bus, "g").await;
    assert_eq!(
        deliver(&mut subscription).await.event(),
        Some(&event("a", 1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_that_goes_on_failing_is_said_and_so_is_its_end() {
    let cluster = mock(1);
    let bus = KafkaBus::start(&settings(&cluster.bootstrap_servers(), &[])).unwrap();
    publish(&bus, &[event("a", 1)]).await;
    usable(&bus).await;
    // The brokers are there, the topics are there, and yet nothing can be written.
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1_000];
    cluster.request_errors(RDKafkaApiKey::Produce, &refusals);
    let failing = async {
        loop {
            assert!(bus.publish(&[event("a", 2)]).await.is_err());
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::select! {
        said = waiting_for(&bus, "not published") => said,
        () = failing => unreachable!("it goes on"),
    };
    assert!(
        said.contains("a-2") && said.contains("may not write"),
        "{said}"
    );
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    publish(&bus, &[event("a", 2)]).await;
    usable(&bus).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_the_user_may_not_see_are_not_waited_for() {
    for create in ["true", "false"] {
        let cluster = mock(1);
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.topic_error("slipway.anomaly", denied).unwrap();
        let overrides = [("KAFKA__TOPICS__CREATE", create)];
        let bus = KafkaBus::start(&settings(&cluster.bootstrap_servers(), &overrides)).unwrap();
        usable(&bus).await;
        publish(&bus, &[event("a", 1)]).await;
        let mut subscription = subscribe(&bus, "g").await;
        assert_eq!(
            deliver(&mut subscription).await.event(),
            Some(&event("a", 1))
        );
    }
}
