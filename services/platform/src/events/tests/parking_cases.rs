//! What is parked among the dead letters without having been handled, what is told of it, and what is not
//! parked.

use tonic::Code;

use super::{
    dead_letter_cases::{Letters, ScriptedBus, broken, reason, received},
    *,
};

#[tokio::test]
async fn a_message_that_is_no_event_is_parked_once_and_cannot_be_replayed() {
    let letters = Letters::new().await;
    let message = Received::Malformed(broken("ce_id is missing"));
    letters.settle(vec![message.clone(), received(1)]).await;
    // Read again, because its offset was not committed.
    letters.settle(vec![message]).await;
    let [letter] = letters.list("malformed = true").await.try_into().unwrap();
    assert_eq!(letter.reason, "ce_id is missing");
    assert_eq!(letter.event, None);
    let kept = letter.malformed.clone().unwrap();
    let original = broken("");
    assert_eq!((kept.topic, kept.key), (original.topic, original.key));
    assert_eq!(kept.value, original.value);
    let headers: Vec<_> = kept
        .headers
        .into_iter()
        .map(|h| (h.name, h.value.to_vec()))
        .collect();
    assert_eq!(headers, original.headers);
    assert_eq!(
        letters.numbers().await,
        [1],
        "what comes after it is handled"
    );

    let status = letters.replay(&letter.name).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status), "DEAD_LETTER_MALFORMED");
    assert!(status.message().contains("ce_id is missing"), "{status}");
}

#[tokio::test]
async fn the_dead_letter_topic_tells_of_each_with_group_reason_and_headers() {
    let letters = Letters::new().await;
    letters.fail(&[1]);
    let message = Received::Malformed(broken("ce_id is missing"));
    letters.settle(vec![received(1), message]).await;
    let bus: Arc<dyn EventBus> = Arc::new(letters.log.clone());
    let relay = Relay::new(letters.world.receiver.clone(), bus, letters.world.clock());
    relay.run_once().await.unwrap();
    let mut topic = letters
        .log
        .subscribe("people", &[DEAD_LETTER_TOPIC])
        .await
        .unwrap();
    let mut notices = Vec::new();
    for _ in 0..2 {
        let event = deliver_event(&mut topic).await;
        assert_eq!(
            (event.r#type.as_str(), event.key.as_str()),
            (dead_letters::NOTICE_TYPE, "a")
        );
        let data: serde_json::Value = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(data["group"], "g");
        assert_eq!(data["deadLetter"], format!("deadLetters/{}", event.id));
        notices.push(data);
    }
    assert_eq!(
        (&notices[0]["reason"], &notices[0]["id"]),
        (&"no suite for 1".into(), &"1".into())
    );
    assert_eq!(notices[1]["reason"], "ce_id is missing");
    assert_eq!(
        (&notices[1]["partition"], &notices[1]["offset"]),
        (&3.into(), &"2".into())
    );
    assert_eq!(
        notices[1]["headers"][1],
        serde_json::json!({"name": "ce_type", "value": "t"})
    );
    assert_eq!(notices[1]["dataBase64"], "/iBub3QganNvbg==");
}

#[tokio::test]
async fn a_notice_of_something_large_is_cut_and_the_letter_is_whole() {
    let letters = Letters::new().await;
    let message = Malformed {
        value: vec![1; 900_000],
        ..broken("too large")
    };
    letters.settle(vec![Received::Malformed(message)]).await;
    let kept = letters.list("").await.remove(0).malformed.unwrap();
    assert_eq!(kept.value.len(), 900_000);
    let row: (Vec<u8>,) = sqlx::query_as("SELECT data FROM slipway_outbox")
        .fetch_one(&mut *letters.world.receiver.read().await.unwrap())
        .await
        .unwrap();
    assert!(row.0.len() <= outbox::DATA_BYTES_MAX);
    let data: serde_json::Value = serde_json::from_slice(&row.0).unwrap();
    assert_eq!(data["dataTruncated"], true);
}

#[tokio::test]
async fn an_event_whose_attributes_no_database_keeps_is_parked_and_the_next_one_handled() {
    let letters = Letters::new().await;
    let odd = |change: fn(&mut Event)| {
        let mut event = event("a", 0, "odd");
        change(&mut event);
        Received::Event(event)
    };
    letters
        .settle(vec![
            odd(|event| event.id = "x".repeat(5000)),
            odd(|event| event.subject = "a\0b".to_owned()),
            odd(|event| event.key = "k\0".repeat(2000)),
            Received::Malformed(Malformed {
                key: "\0ä".repeat(1000),
                ..broken(&"long\0".repeat(2000))
            }),
            received(1),
        ])
        .await;
    assert_eq!(letters.numbers().await, [1]);
    let found = letters.list("malformed = true").await;
    assert_eq!(found.len(), 4);
    assert!(
        found[3].reason.contains("ce_id is 5000 bytes long"),
        "{}",
        found[3].reason
    );
    assert!(
        found[2].reason.contains("ce_subject has a NUL"),
        "{}",
        found[2].reason
    );
    let message = found[3].malformed.clone().unwrap();
    let id = message
        .headers
        .iter()
        .find(|header| header.name == "ce_id")
        .unwrap();
    assert_eq!(id.value.len(), 5000, "nothing of it is lost");
}

#[tokio::test]
async fn a_database_that_is_away_makes_no_dead_letter_and_moves_no_offset() {
    let world = World::new().await;
    let committed: Arc<Mutex<Vec<i64>>> = Arc::default();
    let bus = ScriptedBus {
        log: world.log().await,
        deliveries: vec![received(1), Received::Malformed(broken("no id"))],
        committed: committed.clone(),
    };
    world.receiver.close().await;
    let (consumer, _) = Writer::new("storage.away");
    let running = world.consume(Arc::new(bus), consumer);
    // More often than a handler may fail.
    let tried = async {
        while retries("storage.away") < 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tried)
        .await
        .expect("it is tried again");
    running.stop().await;
    assert!(committed.lock().unwrap().is_empty());
}
