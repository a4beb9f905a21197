//! `WatchEvents`: beginning, resuming, filters, heartbeats, limits.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use slipway_proto::event::v1::{
    CloudEvent, WatchEventsRequest, WatchEventsResponse, event_service_server::EventService as _,
    watch_events_request::Start,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::*;
use crate::events::service::EventService;

type Watch = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

/// A registry with its relay and its events for clients.
struct Watched {
    world: World,
    relay: Relay,
    service: EventService,
}

impl Watched {
    async fn new() -> Self {
        Self::with_limit(64).await
    }

    async fn with_limit(watches_max: u32) -> Self {
        let world = World::new().await;
        let log = world.log().await;
        let options = RelayOptions {
            watches_max,
            ..RelayOptions::default()
        };
        let service = EventService::new(world.publisher.clone(), world.clock(), vec![], &options);
        Self {
            relay: world.relay(&log),
            // None but the first, unless a test asks for them.
            service: service.with_heartbeat(Duration::from_secs(3600)),
            world,
        }
    }

    async fn publish(&self, model: &str, number: i64) {
        self.world.publish(model, number).await;
        self.relay.run_once().await.unwrap();
    }

    async fn open(&self, request: WatchEventsRequest) -> Result<Watch, Status> {
        let opened = self.service.watch_events(Request::new(request)).await;
        opened.map(tonic::Response::into_inner)
    }

    /// Opens a watch and takes its first heartbeat.
    async fn watch(&self, request: WatchEventsRequest) -> (Watch, String) {
        let mut watch = self.open(request).await.unwrap();
        let first = message(&mut watch).await;
        assert_eq!(first.event, None);
        (watch, first.resume_token)
    }

    /// Deletes everything that is published.
    async fn forget(&self) {
        self.world
            .clock
            .advance(Duration::from_secs(400 * 24 * 3600));
        self.relay.run_once().await.unwrap();
    }
}

fn from(start: Start) -> WatchEventsRequest {
    WatchEventsRequest {
        start: start.into(),
        ..Default::default()
    }
}

fn resume(token: &str) -> WatchEventsRequest {
    WatchEventsRequest {
        resume_token: token.to_owned(),
        ..Default::default()
    }
}

async fn answer(watch: &mut Watch) -> Result<WatchEventsResponse, Status> {
    tokio::time::timeout(Duration::from_secs(60), watch.next())
        .await
        .expect("a message comes")
        .expect("a watch does not end")
}

async fn message(watch: &mut Watch) -> WatchEventsResponse {
    answer(watch).await.unwrap()
}

/// The next event; heartbeats are passed over.
async fn event_of(watch: &mut Watch) -> (CloudEvent, String) {
    loop {
        let message = message(watch).await;
        if let Some(event) = message.event {
            return (event, message.resume_token);
        }
    }
}

async fn sequence_of(watch: &mut Watch) -> i64 {
    event_of(watch).await.0.sequence
}

fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone()
}

#[tokio::test]
async fn a_watch_begins_with_the_oldest_or_with_what_comes() {
    let watched = Watched::new().await;
    watched.publish("a", 1).await;
    watched.publish("a", 2).await;
    let (mut all, _) = watched.watch(from(Start::Oldest)).await;
    let (mut news, _) = watched.watch(from(Start::Now)).await;
    let (mut usual, _) = watched.watch(WatchEventsRequest::default()).await;
    assert_eq!(sequence_of(&mut all).await, 1);
    assert_eq!(sequence_of(&mut all).await, 2);
    watched.publish("a", 3).await;
    for watch in [&mut all, &mut news, &mut usual] {
        assert_eq!(sequence_of(watch).await, 3);
    }
}

#[tokio::test]
async fn an_event_is_shown_with_all_its_attributes() {
    let watched = Watched::new().await;
    let (mut watch, _) = watched.watch(from(Start::Now)).await;
    watched.publish("m", 7).await;
    let (event, _) = event_of(&mut watch).await;
    let data = event.data.clone().unwrap();
    assert_eq!(event.source, "//slipway/registry");
    assert_eq!(event.spec_version, "1.0");
    assert_eq!(event.r#type, VersionCreated::TYPE);
    assert_eq!(
        (event.topic.as_str(), event.key.as_str()),
        (REGISTRY_TOPIC, "m")
    );
    assert_eq!(
        (event.subject.as_str(), event.sequence),
        ("m/versions/7", 1)
    );
    assert_eq!(event.data_content_type, "application/json");
    assert_eq!(Timestamp::from_proto(&event.time.unwrap()), Timestamp(7));
    let number = data.fields["number"].kind.clone().unwrap();
    assert_eq!(
        number,
        prost_types::value::Kind::StringValue("7".to_owned())
    );
    assert!(event.data_bytes.is_empty());
}

#[tokio::test]
async fn a_watch_that_is_opened_again_misses_nothing_and_repeats_nothing() {
    let watched = Watched::new().await;
    let (mut watch, mut token) = watched.watch(from(Start::Now)).await;
    let mut seen = Vec::new();
    for round in 0..4 {
        for number in 1..=3 {
            watched.publish("a", round * 3 + number).await;
        }
        // Two of the three, and then the stream is lost.
        for _ in 0..2 {
            let (event, next) = event_of(&mut watch).await;
            seen.push(event.sequence);
            token = next;
        }
        (watch, _) = watched.watch(resume(&token)).await;
    }
    while seen.len() < 12 {
        seen.push(sequence_of(&mut watch).await);
    }
    assert_eq!(seen, (1..=12).collect::<Vec<i64>>());
}

#[tokio::test]
async fn only_what_is_asked_for_comes_and_the_token_passes_over_the_rest() {
    let watched = Watched::new().await;
    for (model, number) in [("a", 1), ("b", 1), ("a", 2), ("b", 2)] {
        watched.publish(model, number).await;
    }
    let of_b = WatchEventsRequest {
        key: "b".to_owned(),
        topics: vec![REGISTRY_TOPIC.to_owned(), "other".to_owned()],
        types: vec![VersionCreated::TYPE.to_owned()],
        ..from(Start::Oldest)
    };
    let (mut watch, _) = watched.watch(of_b.clone()).await;
    assert_eq!(event_of(&mut watch).await.0.subject, "b/versions/1");
    assert_eq!(event_of(&mut watch).await.0.subject, "b/versions/2");
    let of_one = WatchEventsRequest {
        subject: "a/versions/2".to_owned(),
        ..from(Start::Oldest)
    };
    let (mut watch, _) = watched.watch(of_one).await;
    assert_eq!(event_of(&mut watch).await.0.sequence, 2);
    for nothing in [
        WatchEventsRequest {
            topics: vec![ANOMALY_TOPIC.to_owned()],
            ..of_b.clone()
        },
        WatchEventsRequest {
            types: vec![AliasMoved::TYPE.to_owned()],
            ..of_b.clone()
        },
    ] {
        let (mut watch, _) = watched.watch(nothing).await;
        // The second heartbeat has passed over all four events.
        let heartbeat = message(&mut watch).await;
        assert_eq!(heartbeat.event, None);
        let (mut rest, _) = watched.watch(resume(&heartbeat.resume_token)).await;
        watched.publish("c", 1).await;
        assert_eq!(event_of(&mut rest).await.0.key, "c");
    }
}

#[tokio::test]
async fn a_stream_without_events_says_that_it_lives_and_how_far_it_has_come() {
    let watched = Watched::new().await;
    let options = RelayOptions::default();
    let service = EventService::new(
        watched.world.publisher.clone(),
        watched.world.clock(),
        vec![],
        &options,
    )
    .with_heartbeat(Duration::from_millis(5));
    let of_none = WatchEventsRequest {
        key: "none".to_owned(),
        ..from(Start::Now)
    };
    let opened = service.watch_events(Request::new(of_none)).await.unwrap();
    let mut watch: Watch = opened.into_inner();
    let first = message(&mut watch).await.resume_token;
    watched.publish("a", 1).await;
    let moved = async { while message(&mut watch).await.resume_token == first {} };
    tokio::time::timeout(Duration::from_secs(60), moved)
        .await
        .expect("the token moves on");
}

#[tokio::test]
async fn a_token_of_what_is_not_kept_any_more_is_refused_with_its_reason() {
    let watched = Watched::new().await;
    let (_, begin) = watched.watch(from(Start::Now)).await;
    watched.publish("a", 1).await;
    let (mut slow, _) = watched.watch(resume(&begin)).await;
    watched.forget().await;
    let status = watched.open(resume(&begin)).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(reason(&status), "RESUME_TOKEN_EXPIRED");
    // One that is open and has not read it yet is told as well.
    let status = answer(&mut slow).await.unwrap_err();
    assert_eq!(reason(&status), "RESUME_TOKEN_EXPIRED");
    let (mut oldest, token) = watched.watch(from(Start::Oldest)).await;
    watched.publish("a", 2).await;
    assert_eq!(sequence_of(&mut oldest).await, 2);
    let (mut again, _) = watched.watch(resume(&token)).await;
    assert_eq!(sequence_of(&mut again).await, 2);
}

#[tokio::test]
async fn a_token_of_another_time_or_service_is_refused() {
    let (watched, other) = (Watched::new().await, Watched::new().await);
    other.publish("a", 1).await;
    let (mut watch, _) = other.watch(from(Start::Oldest)).await;
    let (_, token) = event_of(&mut watch).await;
    let status = watched.open(resume(&token)).await.err().unwrap();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::OutOfRange, "RESUME_TOKEN_AHEAD")
    );

    let receiver = watched.world.receiver.clone();
    let service = EventService::new(
        receiver,
        watched.world.clock(),
        vec![],
        &RelayOptions::default(),
    );
    let opened = service.watch_events(Request::new(resume(&token))).await;
    assert_eq!(opened.err().unwrap().code(), Code::InvalidArgument);
    let status = watched.open(resume("what")).await.err().unwrap();
    assert_eq!(status.code(), Code::InvalidArgument);
    let many = WatchEventsRequest {
        topics: vec!["t".to_owned(); 17],
        types: vec![String::new()],
        start: 9,
        ..Default::default()
    };
    let status = watched.open(many).await.err().unwrap();
    let fields = status
        .get_error_details()
        .bad_request()
        .unwrap()
        .field_violations
        .len();
    assert_eq!(fields, 3);
}

#[tokio::test]
async fn one_stream_too_many_is_refused_until_another_one_ends() {
    let watched = Watched::with_limit(1).await;
    let (first, _) = watched.watch(from(Start::Now)).await;
    let status = watched.open(from(Start::Now)).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop(first);
    let _second = watched.watch(from(Start::Now)).await;
}
