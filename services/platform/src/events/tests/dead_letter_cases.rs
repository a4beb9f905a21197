//! Dead letters: kept whole, listed, handled again.

use slipway_proto::event::v1::{
    DeadLetter, ListDeadLettersRequest, ReplayDeadLetterRequest, dead_letter::State,
    event_service_server::EventService as _,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::*;
use crate::events::service::EventService;

/// Delivers what the test says, whether it is an event or not, again and again until it is committed.
pub(super) struct ScriptedBus {
    pub(super) log: EmbeddedLog,
    pub(super) deliveries: Vec<Received>,
    pub(super) committed: Arc<Mutex<Vec<i64>>>,
}

struct Script {
    deliveries: Vec<Received>,
    committed: Arc<Mutex<Vec<i64>>>,
    at: usize,
}

#[async_trait]
impl EventBus for ScriptedBus {
    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.log.publish(events).await
    }

    async fn subscribe(&self, _group: &str, _topics: &[&str]) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(Script {
            deliveries: self.deliveries.clone(),
            committed: self.committed.clone(),
            at: 0,
        }))
    }

    fn health(&self) -> tokio::sync::watch::Receiver<BusHealth> {
        self.log.health()
    }
}

#[async_trait]
impl Subscription for Script {
    async fn next(&mut self) -> Result<Delivery> {
        let Some(received) = self.deliveries.get(self.at).cloned() else {
            return std::future::pending().await;
        };
        self.at += 1;
        let offset = i64::try_from(self.at).unwrap();
        Ok(Delivery {
            received,
            position: Position {
                topic: REGISTRY_TOPIC.to_owned(),
                partition: 3,
                offset,
            },
        })
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<()> {
        self.committed
            .lock()
            .unwrap()
            .push(delivery.position.offset);
        Ok(())
    }
}

pub(super) fn broken(reason: &str) -> Malformed {
    Malformed {
        topic: REGISTRY_TOPIC.to_owned(),
        key: "a".to_owned(),
        headers: vec![
            ("ce_id".to_owned(), b"\xff\x00x".to_vec()),
            ("ce_type".to_owned(), b"t".to_vec()),
        ],
        value: b"\xfe not json".to_vec(),
        reason: reason.to_owned(),
    }
}

/// A receiver whose handler fails on the numbers in `fails`, and its dead letters over the API.
pub(super) struct Letters {
    pub(super) world: World,
    pub(super) log: EmbeddedLog,
    pub(super) fails: Arc<Mutex<Vec<i64>>>,
    pub(super) consumer: Arc<Writer>,
    pub(super) handled: mpsc::UnboundedReceiver<i64>,
    pub(super) service: EventService,
}

impl Letters {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        let fails: Arc<Mutex<Vec<i64>>> = Arc::default();
        let failing = fails.clone();
        let (consumer, handled) = Writer::failing("g", move |number| {
            let fails = failing.lock().unwrap().contains(&number);
            fails.then(|| Error::precondition("NO_SUITE", "m", format!("no suite for {number}")))
        });
        let consumers: Vec<Arc<dyn Consumer>> = vec![consumer.clone()];
        let options = RelayOptions::default();
        let receiver = world.receiver.clone();
        Self {
            log: world.log().await,
            service: EventService::new(receiver, world.clock(), consumers, &options),
            world,
            fails,
            consumer,
            handled,
        }
    }

    pub(super) fn fail(&self, numbers: &[i64]) {
        *self.fails.lock().unwrap() = numbers.to_vec();
    }

    /// Lets the consumer settle these deliveries.
    pub(super) async fn settle(&self, deliveries: Vec<Received>) {
        let count = deliveries.len();
        let committed: Arc<Mutex<Vec<i64>>> = Arc::default();
        let bus = ScriptedBus {
            log: self.log.clone(),
            deliveries,
            committed: committed.clone(),
        };
        let running = self.world.consume(Arc::new(bus), self.consumer.clone());
        let settled = async {
            while committed.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), settled)
            .await
            .expect("all are settled");
        running.stop().await;
    }

    pub(super) async fn list(&self, filter: &str) -> Vec<DeadLetter> {
        let request = ListDeadLettersRequest {
            filter: filter.to_owned(),
            ..Default::default()
        };
        let answer = self.service.list_dead_letters(Request::new(request)).await;
        answer.unwrap().into_inner().dead_letters
    }

    pub(super) async fn replay(&self, name: &str) -> Result<DeadLetter, Status> {
        let request = ReplayDeadLetterRequest {
            name: name.to_owned(),
        };
        let answer = self.service.replay_dead_letter(Request::new(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub(super) async fn numbers(&self) -> Vec<i64> {
        self.world
            .effects()
            .await
            .into_iter()
            .map(|(n, _)| n)
            .collect()
    }
}

pub(super) fn received(number: i64) -> Received {
    Received::Event(event("a", number, &number.to_string()))
}

pub(super) fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone()
}

#[tokio::test]
async fn a_dead_letter_is_handled_again_once_and_marked() {
    let mut letters = Letters::new().await;
    letters.fail(&[2]);
    letters
        .settle(vec![received(1), received(2), received(3)])
        .await;
    assert_eq!(letters.numbers().await, [1, 3]);
    let [letter] = letters.list("").await.try_into().unwrap();
    assert_eq!(
        (letter.group.as_str(), letter.state()),
        ("g", State::Waiting)
    );
    assert_eq!(
        (letter.reason.as_str(), letter.attempts),
        ("no suite for 2", 1)
    );
    let kept = letter.event.clone().unwrap();
    assert_eq!(
        (kept.id.as_str(), kept.key.as_str(), kept.sequence),
        ("2", "a", 2)
    );
    assert!(kept.data.is_some() && !kept.traceparent.is_empty());

    letters.fail(&[]);
    letters.world.clock.advance(Duration::from_secs(1));
    let replayed = letters.replay(&letter.name).await.unwrap();
    assert_eq!((replayed.state(), replayed.attempts), (State::Replayed, 2));
    assert!(replayed.replay_time.is_some());
    assert_eq!(letters.numbers().await, [1, 3, 2]);
    // Neither a second replay nor the event itself, read again from an old offset, has another effect.
    assert_eq!(letters.replay(&letter.name).await.unwrap(), replayed);
    letters
        .settle(vec![received(1), received(2), received(3)])
        .await;
    assert_eq!(letters.numbers().await, [1, 3, 2]);
    for expected in [1, 3, 2] {
        assert_eq!(next(&mut letters.handled).await, expected);
    }
}

#[tokio::test]
async fn a_dead_letter_that_fails_again_stays_with_the_new_reason() {
    let letters = Letters::new().await;
    letters.fail(&[1]);
    letters.settle(vec![received(1)]).await;
    let name = letters.list("").await.remove(0).name;
    letters.world.clock.advance(Duration::from_secs(9));
    let status = letters.replay(&name).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "REPLAY_FAILED")
    );
    assert!(status.message().contains("no suite for 1"), "{status}");
    let letter = letters.list("state = WAITING").await.remove(0);
    assert_eq!(
        (letter.attempts, letter.reason.as_str()),
        (2, "no suite for 1")
    );
    assert!(letter.fail_time.unwrap().seconds > letter.create_time.unwrap().seconds);
    assert!(
        letters.numbers().await.is_empty(),
        "what a failed replay did is undone"
    );
}

#[tokio::test]
async fn a_letter_without_its_consumer_says_which_groups_there_are() {
    let letters = Letters::new().await;
    letters.fail(&[1]);
    letters.settle(vec![received(1)]).await;
    let name = letters.list("group = g").await.remove(0).name;
    let (other, _) = Writer::new("renamed");
    let service = EventService::new(
        letters.world.receiver.clone(),
        letters.world.clock(),
        vec![other],
        &RelayOptions::default(),
    );
    let request = ReplayDeadLetterRequest { name };
    let status = service
        .replay_dead_letter(Request::new(request))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "NO_CONSUMER");
    assert!(status.message().contains("renamed"), "{status}");

    let status = letters.replay("deadLetters/x").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let unknown = format!("deadLetters/{}", uuid::Uuid::now_v7());
    assert_eq!(
        letters.replay(&unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn dead_letters_are_listed_newest_first_in_pages_and_by_filter() {
    let letters = Letters::new().await;
    letters.fail(&[1, 2, 3, 4, 5]);
    letters.settle((1..=5).map(received).collect()).await;
    letters.fail(&[]);
    let newest = letters.list("").await.remove(0);
    letters.replay(&newest.name).await.unwrap();
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest {
            filter: format!(
                "state = WAITING AND type = {} AND topic != other",
                VersionCreated::TYPE
            ),
            page_size: 3,
            page_token,
        };
        let answer = letters
            .service
            .list_dead_letters(Request::new(request))
            .await;
        let page = answer.unwrap().into_inner();
        seen.extend(
            page.dead_letters
                .into_iter()
                .map(|one| one.event.unwrap().id),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1"]);
    for (filter, count) in [
        ("state != WAITING", 1),
        ("event_id = 2 AND key = a", 1),
        ("malformed = true", 0),
        ("create_time > 2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(letters.list(filter).await.len(), count, "{filter}");
    }
    let wrong = ListDeadLettersRequest {
        filter: "colour = red".to_owned(),
        ..Default::default()
    };
    let status = letters
        .service
        .list_dead_letters(Request::new(wrong))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn dead_letters_are_kept_for_their_retention() {
    let letters = Letters::new().await;
    letters.fail(&[1, 2]);
    let relay = Relay::new(
        letters.world.receiver.clone(),
        Arc::new(letters.log.clone()),
        letters.world.clock(),
    );
    letters.settle(vec![received(1)]).await;
    letters
        .world
        .clock
        .advance(Duration::from_secs(29 * 24 * 3600));
    letters.settle(vec![received(2)]).await;
    relay.run_once().await.unwrap();
    assert_eq!(letters.list("").await.len(), 2);
    letters
        .world
        .clock
        .advance(Duration::from_secs(2 * 24 * 3600));
    relay.run_once().await.unwrap();
    let left: Vec<_> = letters
        .list("")
        .await
        .into_iter()
        .map(|one| one.event.unwrap().id)
        .collect();
    assert_eq!(left, ["2"]);
}
