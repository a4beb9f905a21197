//! Consumer groups: sharing, order, what comes again and what does not.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_key_keeps_its_order_over_many_partitions_and_publishers() {
    const KEYS: usize = 12;
    const EACH: i64 = 40;
    let world = World::new(6);
    let bus = Arc::new(world.bus(&[]));
    usable(&bus).await;
    let publishers: Vec<_> = (0..KEYS)
        .map(|key| {
            let bus = bus.clone();
            tokio::spawn(async move {
                let events: Vec<_> = (1..=EACH).map(|n| event(&format!("k{key}"), n)).collect();
                for batch in events.chunks(7) {
                    publish(&bus, batch).await;
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let mut subscription = subscribe(&bus, "g").await;
    let mut sequences = BTreeMap::<String, Vec<i64>>::new();
    let mut partitions = BTreeMap::<String, BTreeSet<i32>>::new();
    for _ in 0..KEYS as i64 * EACH {
        let delivery = deliver(&mut subscription).await;
        let partition = delivery.position.partition;
        let event = delivery.into_event().unwrap();
        partitions
            .entry(event.key.clone())
            .or_default()
            .insert(partition);
        sequences.entry(event.key).or_default().push(event.sequence);
    }
    assert_eq!(sequences.len(), KEYS);
    let dense: Vec<i64> = (1..=EACH).collect();
    assert!(sequences.values().all(|s| *s == dense), "{sequences:?}");
    assert!(partitions.values().all(|p| p.len() == 1));
    let used: BTreeSet<i32> = partitions.into_values().flatten().collect();
    assert!(used.len() > 1, "keys are spread: {used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_find_a_key_in_the_same_partition() {
    // Kafka's own murmur2, made positive, modulo 6.
    let world = World::new(6);
    let bus = world.bus(&[]);
    publish(&bus, &[event("foobar", 1), event("21", 1)]).await;
    let mut subscription = subscribe(&bus, "g").await;
    for _ in 0..2 {
        let delivery = deliver(&mut subscription).await;
        // From the tests of Kafka's client library: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
        let hash: i32 = match delivery.event().unwrap().key.as_str() {
            "21" => -973_932_308,
            _ => -790_332_482,
        };
        assert_eq!(delivery.position.partition, (hash & 0x7fff_ffff) % 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_committed_and_repeats_what_it_did_not() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    let events: Vec<_> = (1..=4).map(|n| event("a", n)).collect();
    publish(&bus, &events).await;
    let mut subscription = subscribe(&bus, "g").await;
    let first = deliver(&mut subscription).await;
    let second = deliver(&mut subscription).await;
    subscription.commit(&second).await.unwrap();
    // An older position never moves the group back.
    subscription.commit(&first).await.unwrap();
    let third = deliver(&mut subscription).await;
    drop(subscription);
    bus.close(PATIENCE).await;

    let mut subscription = subscribe(&bus, "g").await;
    let again = deliver(&mut subscription).await;
    assert_eq!(
        again, third,
        "what was not committed comes again, unchanged"
    );
    drop(subscription);
    let mut other = subscribe(&bus, "h").await;
    assert_eq!(deliver(&mut other).await.event(), Some(&events[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_while_the_member_goes_on() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    publish(&bus, &[event("a", 1), event("a", 2)]).await;
    let mut subscription = subscribe(&bus, "g").await;
    let first = deliver(&mut subscription).await;
    subscription.commit(&first).await.unwrap();
    // A reader of offsets, as the command-line tools of Kafka are.
    let mut client = world.client();
    client.set("group.id", format!("{}g", world.prefix));
    let reader: rdkafka::consumer::BaseConsumer = client.create().unwrap();
    let mut asked = rdkafka::TopicPartitionList::new();
    asked.add_partition(&world.on_brokers(REGISTRY_TOPIC), 0);
    let committed = tokio::task::spawn_blocking(move || {
        use rdkafka::consumer::Consumer as _;
        let until = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < until {
            let found = reader.committed_offsets(asked.clone(), PATIENCE).unwrap();
            let offset = found.elements()[0].offset();
            if offset == rdkafka::Offset::Offset(1) {
                return true;
            }
        }
        false
    });
    assert!(committed.await.unwrap(), "the offset after the first event");
    assert_eq!(
        deliver(&mut subscription).await.event(),
        Some(&event("a", 2))
    );
}

/// Handles and commits, and tells who handled what, until it is told to stop.
fn member(
    bus: &KafkaBus,
    name: &'static str,
    handled: mpsc::UnboundedSender<(&'static str, Event)>,
) -> CancellationToken {
    let stop = CancellationToken::new();
    let shared = bus.shared.clone();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut subscription = KafkaSubscription::new(shared, "g", &[REGISTRY_TOPIC]);
        while let Some(delivery) = token.run_until_cancelled(subscription.next()).await {
            let delivery = delivery.unwrap();
            subscription.commit(&delivery).await.unwrap();
            let _ = handled.send((name, delivery.into_event().unwrap()));
        }
    });
    stop
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_lose_nothing_when_one_leaves() {
    let world = World::new(8);
    let bus = world.bus(&[]);
    usable(&bus).await;
    let (sender, mut handled) = mpsc::unbounded_channel();
    let left = member(&bus, "left", sender.clone());
    let right = member(&bus, "right", sender.clone());
    let mut published = BTreeSet::new();
    let mut seen = BTreeMap::<String, usize>::new();
    let mut members = BTreeSet::new();
    let mut round = 0;
    // Until both had a share.
    within("sharing", async {
        while members.len() < 2 {
            round += 1;
            let events: Vec<_> = (0..16)
                .map(|key| event(&format!("k{key}"), round))
                .collect();
            publish(&bus, &events).await;
            published.extend(events.into_iter().map(|e| e.id));
            while seen.len() < published.len() {
                let (who, event) = handled.recv().await.unwrap();
                *seen.entry(event.id).or_default() += 1;
                members.insert(who);
            }
        }
    })
    .await;
    left.cancel();
    let events: Vec<_> = (0..16)
        .map(|key| event(&format!("k{key}"), round + 1))
        .collect();
    publish(&bus, &events).await;
    published.extend(events.into_iter().map(|e| e.id));
    within("taking over", async {
        while seen.len() < published.len() {
            let (_, event) = handled.recv().await.unwrap();
            *seen.entry(event.id).or_default() += 1;
        }
    })
    .await;
    right.cancel();
    assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), published);
    let repeated = seen.values().filter(|times| **times > 1).count();
    assert_eq!(repeated, 0, "a planned leave commits first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wait_loses_nothing() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    let events: Vec<_> = (1..=200).map(|n| event("a", n)).collect();
    publish(&bus, &events).await;
    let mut subscription = subscribe(&bus, "g").await;
    let mut got = Vec::new();
    within("all events", async {
        while got.len() < 200 {
            let next = tokio::time::timeout(Duration::from_micros(200), subscription.next());
            if let Ok(delivery) = next.await {
                got.push(delivery.unwrap().into_event().unwrap().sequence);
            }
        }
    })
    .await;
    assert_eq!(got, (1..=200).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_keep_two_slipways_apart() {
    let cluster = mock(1);
    for topic in monitor::topics() {
        cluster
            .create_topic(&format!("blue.{topic}"), 1, 1)
            .unwrap();
    }
    let start = |prefix: &str| {
        let overrides = [
            ("KAFKA__TOPIC_PREFIX", prefix),
            ("KAFKA__GROUP_PREFIX", prefix),
        ];
        KafkaBus::start(&settings(&cluster.bootstrap_servers(), &overrides)).unwrap()
    };
    let (green, blue) = (start(""), start("blue."));
    publish(&green, &[event("green", 1)]).await;
    publish(&blue, &[event("blue", 1)]).await;
    for (bus, key) in [(&green, "green"), (&blue, "blue")] {
        let mut subscription = subscribe(bus, "g").await;
        let delivery = deliver(&mut subscription).await;
        subscription.commit(&delivery).await.unwrap();
        assert_eq!(delivery.position.topic, REGISTRY_TOPIC);
        assert_eq!(delivery.event(), Some(&event(key, 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_topics_must_have_names() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    for (group, topics) in [("", &["t"][..]), ("g", &[]), ("g", &["^.*"]), ("g", &[""])] {
        assert!(
            bus.subscribe(group, topics).await.is_err(),
            "{group} {topics:?}"
        );
    }
}
