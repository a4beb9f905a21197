//! The embedded log: groups, order, wake-up, restart.

use super::*;

#[tokio::test]
async fn a_log_opened_again_resumes_its_groups() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[event("a", 1, "1"), event("a", 2, "2"), event("a", 3, "3")])
        .await
        .unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let first = deliver(&mut subscription).await;
    subscription.commit(&first).await.unwrap();
    let second = deliver(&mut subscription).await;
    assert_eq!(second.event().unwrap().id, "2");
    drop((subscription, log));

    let log = world.log().await;
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let again = deliver(&mut subscription).await;
    assert_eq!(
        again, second,
        "what was not committed comes again, unchanged"
    );
    subscription.commit(&again).await.unwrap();
    // An older position never moves the group back.
    subscription.commit(&first).await.unwrap();
    drop(subscription);
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    assert_eq!(deliver_event(&mut subscription).await.id, "3");
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_is_gone() {
    let world = World::new().await;
    let log = world.log().await;
    let second = EmbeddedLog::open(&world.log_path(), world.clock(), DEFAULT_RETENTION).await;
    assert!(matches!(
        second,
        Err(Error::Precondition {
            reason: "EVENT_LOG_IN_USE",
            ..
        })
    ));
    drop(log);
    world.log().await;
}

#[tokio::test]
async fn every_group_gets_every_event_and_one_member_at_a_time_works() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[event("a", 1, "1"), event("a", 2, "2")])
        .await
        .unwrap();
    for group in ["g1", "g2"] {
        let mut subscription = log.subscribe(group, &[REGISTRY_TOPIC]).await.unwrap();
        assert_eq!(deliver_event(&mut subscription).await.id, "1");
        assert_eq!(deliver_event(&mut subscription).await.id, "2");
    }
    let mut active = log.subscribe("g3", &[REGISTRY_TOPIC]).await.unwrap();
    let first = deliver(&mut active).await;
    active.commit(&first).await.unwrap();
    let mut standby = log.subscribe("g3", &[REGISTRY_TOPIC]).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(20), standby.next())
            .await
            .is_err()
    );
    drop(active);
    assert_eq!(deliver_event(&mut standby).await.id, "2");
}

#[tokio::test]
async fn topics_are_merged_in_log_order_and_a_new_topic_starts_at_its_beginning() {
    let world = World::new().await;
    let log = world.log().await;
    let on = |topic: &str, id: &str| Event {
        topic: topic.to_owned(),
        ..event("a", 0, id)
    };
    let events = [
        on(ANOMALY_TOPIC, "1"),
        on(REGISTRY_TOPIC, "2"),
        on("other", "3"),
        on(ANOMALY_TOPIC, "4"),
    ];
    log.publish(&events).await.unwrap();
    let mut narrow = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let delivery = deliver(&mut narrow).await;
    narrow.commit(&delivery).await.unwrap();
    drop(narrow);
    let mut wide = log
        .subscribe("g", &[REGISTRY_TOPIC, ANOMALY_TOPIC])
        .await
        .unwrap();
    assert_eq!(deliver_event(&mut wide).await.id, "1");
    assert_eq!(deliver_event(&mut wide).await.id, "4");
}

#[tokio::test]
async fn an_append_wakes_subscribers_without_polling() {
    let world = World::new().await;
    let log = world.log().await;
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    for round in 1..=50 {
        let waiting = tokio::spawn(async move {
            let delivery = deliver(&mut subscription).await;
            (subscription, delivery)
        });
        // Nothing but the append can end the wait: there is no timer in a subscription.
        log.publish(&[event("a", round, &round.to_string())])
            .await
            .unwrap();
        let delivery;
        (subscription, delivery) = waiting.await.unwrap();
        assert_eq!(delivery.event().unwrap().sequence, round);
    }
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let world = World::new().await;
    let log = world.log().await;
    let events: Vec<Event> = (1..=300).map(|n| event("a", n, &n.to_string())).collect();
    log.publish(&events).await.unwrap();
    let mut subscription = log.subscribe("g", &[REGISTRY_TOPIC]).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 300 {
        if let Ok(delivery) =
            tokio::time::timeout(Duration::from_micros(200), subscription.next()).await
        {
            got.push(delivery.unwrap().into_event().unwrap().sequence);
        }
    }
    assert_eq!(got, (1..=300).collect::<Vec<i64>>());
}
