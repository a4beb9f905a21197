//! Old and new event versions side by side, and attempts that say nothing about the event.

use super::*;

/// What a service's consumer does: acts on the one type that it knows, and accepts every other one.
struct Tolerant {
    seen: mpsc::UnboundedSender<VersionCreated>,
}

#[async_trait]
impl Consumer for Tolerant {
    fn group(&self) -> &'static str {
        "tolerant"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[REGISTRY_TOPIC]
    }

    async fn handle(&self, _tx: &mut Tx, event: &Event) -> Result<()> {
        if event.r#type == VersionCreated::TYPE {
            let _ = self.seen.send(event.decode()?);
        }
        Ok(())
    }
}

async fn dead_letters_of(world: &World) -> i64 {
    let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM slipway_dead_letters")
        .fetch_one(&mut *world.receiver.read().await.unwrap())
        .await
        .unwrap();
    row.0
}

fn typed(sequence: i64, r#type: &str, data: &str) -> Event {
    Event {
        r#type: r#type.to_owned(),
        data: data.as_bytes().to_vec(),
        ..event("a", sequence, &format!("{type}{sequence}"))
    }
}

#[tokio::test]
async fn older_and_newer_publishers_are_understood_side_by_side() {
    let world = World::new().await;
    let log = world.log().await;
    log.publish(&[
        // Of a type, and of a version, that this program does not know; the data may be anything.
        typed(1, "io.slipway.version.renamed.v1", "[1, 2]"),
        typed(
            2,
            "io.slipway.version.created.v2",
            r#"{"number": {"major": 1}}"#,
        ),
        // Of a newer publisher: a field and an enum's value that are not known here.
        typed(
            3,
            VersionCreated::TYPE,
            r#"{"number": "3", "signedBy": {"key": "k"}, "stars": [1]}"#,
        ),
        // Of an older publisher, without the fields that came later.
        typed(4, VersionCreated::TYPE, r#"{"number": "4"}"#),
        // Names as they are in the proto file are taken as well.
        typed(
            5,
            VersionCreated::TYPE,
            r#"{"number": 5, "model": "m", "tags": {"a": "b"}}"#,
        ),
        typed(6, VersionCreated::TYPE, "{}"),
    ])
    .await
    .unwrap();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let running = world.consume(Arc::new(log.clone()), Arc::new(Tolerant { seen: sender }));
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let created = tokio::time::timeout(Duration::from_secs(60), seen.recv()).await;
        numbers.push(created.expect("an event is handled").unwrap());
    }
    running.stop().await;
    assert_eq!(
        numbers.iter().map(|one| one.number).collect::<Vec<_>>(),
        [3, 4, 5, 0]
    );
    assert_eq!((numbers[1].model.as_str(), numbers[1].tags.len()), ("", 0));
    assert_eq!(numbers[2].tags["a"], "b");
    assert_eq!(dead_letters_of(&world).await, 0);
    // Those without effect are seen all the same: their positions were passed and do not come again.
    let row: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM slipway_inbox")
        .fetch_one(&mut *world.receiver.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(row.0, 6);
}

#[tokio::test]
async fn a_stuck_event_says_so_and_holds_what_is_behind_it() {
    let world = World::new().await;
    let log = world.log().await;
    let failures = Mutex::new(3);
    let (writer, mut handled) = Writer::failing("stuck.group", move |number| {
        let mut left = failures.lock().unwrap();
        (number == 1 && *left > 0).then(|| {
            *left -= 1;
            Error::unavailable("peer")
        })
    });
    log.publish(&[event("a", 1, "1"), event("b", 2, "2")])
        .await
        .unwrap();
    let running = world.consume(Arc::new(log), writer);
    assert_eq!(next(&mut handled).await, 1);
    assert_eq!(next(&mut handled).await, 2);
    running.stop().await;
    assert_eq!(retries("stuck.group"), 3);
    assert_eq!(dead_letters_of(&world).await, 0);
}

#[tokio::test]
async fn transactions_that_meet_in_the_database_are_no_attempts() {
    let world = World::new().await;
    let log = world.log().await;
    let left = Mutex::new(30);
    let (writer, mut handled) = Writer::failing("contended", move |_| {
        let mut left = left.lock().unwrap();
        (*left > 0).then(|| {
            *left -= 1;
            Error::Contended {
                what: "deadlock".to_owned(),
            }
        })
    });
    log.publish(&[event("a", 1, "1")]).await.unwrap();
    let running = world.consume(Arc::new(log), writer);
    assert_eq!(next(&mut handled).await, 1);
    running.stop().await;
    assert_eq!(retries("contended"), 30);
    assert_eq!(dead_letters_of(&world).await, 0);
}
