//! What is on the wire, and what comes off it.

use rdkafka::{
    Message,
    consumer::{Consumer as _, StreamConsumer},
    message::{Headers, OwnedMessage, Timestamp as Written},
};

use super::*;
use crate::events::{Malformed, Received};

const REQUIRED: [(&str, &[u8]); 4] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"1"),
    ("ce_source", b"/ci"),
    ("ce_type", b"com.example.built"),
];

fn message(headers: &[(&str, &[u8])]) -> OwnedMessage {
    OwnedMessage::new(
        Some(b"{}".to_vec()),
        Some(b"a".to_vec()),
        REGISTRY_TOPIC.to_owned(),
        Written::CreateTime(1_700_000_000_123),
        0,
        0,
        Some(foreign(headers)),
    )
}

/// The required attributes with one more, or with another value of one.
fn with<'a>(name: &'a str, value: &'a [u8]) -> Vec<(&'a str, &'a [u8])> {
    let mut headers: Vec<_> = REQUIRED.into_iter().filter(|(n, _)| *n != name).collect();
    headers.push((name, value));
    headers
}

fn reason(message: &OwnedMessage) -> String {
    match cloudevents::decode(message, REGISTRY_TOPIC) {
        Received::Malformed(malformed) => malformed.reason,
        Received::Event(event) => panic!("{event:?} is no event"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attribute_comes_back_byte_for_byte() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    let full = Event {
        id: "ïd ✓".to_owned(),
        subject: "workspaces/dev/models/größe/versions/7".to_owned(),
        key: "workspaces/dev/models/größe".to_owned(),
        data: b"{\"a\":\"\xc3\xa4\\u0000\"}".to_vec(),
        ..event("a", 9_007_199_254_740_993)
    };
    let bare = Event {
        subject: String::new(),
        key: String::new(),
        sequence: 0,
        traceparent: None,
        time: Timestamp(0),
        data: Vec::new(),
        ..event("b", 1)
    };
    publish(&bus, &[full.clone(), bare.clone()]).await;
    let mut subscription = subscribe(&bus, "g").await;
    for sent in [full, bare] {
        let delivery = deliver(&mut subscription).await;
        assert_eq!(delivery.event(), Some(&sent));
        assert_eq!(delivery.position.topic, REGISTRY_TOPIC);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_headers_are_those_of_the_binary_content_mode() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    publish(&bus, &[event("a", 7)]).await;
    let group = format!("{}raw", world.prefix);
    let raw: StreamConsumer = world.client().set("group.id", group).create().unwrap();
    raw.subscribe(&[&world.on_brokers(REGISTRY_TOPIC)]).unwrap();
    let message = within("a message", raw.recv()).await.unwrap();
    let headers: BTreeMap<String, String> = message
        .headers()
        .unwrap()
        .iter()
        .map(|h| {
            let value = String::from_utf8(h.value.unwrap().to_vec()).unwrap();
            (h.key.to_owned(), value)
        })
        .collect();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let expected = [
        ("ce_id", "a-7"),
        ("ce_sequence", "7"),
        ("ce_source", "//slipway/registry"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "a/versions/7"),
        ("ce_time", "2026-01-01T00:00:00.123456Z"),
        ("ce_traceparent", trace),
        ("ce_type", "io.slipway.version.created.v1"),
        ("content-type", "application/json"),
        // No span is recorded here, so the hop is the origin's.
        ("traceparent", trace),
    ];
    assert_eq!(
        headers,
        expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    assert_eq!(message.key(), Some(&b"a"[..]));
    assert_eq!(message.payload(), Some(&b"{\"model\":\"a\"}"[..]));
}

const HOP: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01";

#[test]
fn the_hop_has_a_trace_context_of_its_own() {
    let headers = cloudevents::headers(&event("a", 1), Some("00-hop"));
    let find = |name: &str| {
        let header = headers.iter().find(|h| h.key == name).unwrap();
        String::from_utf8(header.value.unwrap().to_vec()).unwrap()
    };
    assert_eq!(find("traceparent"), "00-hop");
    assert!(find("ce_traceparent").starts_with("00-4bf9"));
}

#[test]
fn work_on_an_event_belongs_below_its_sending_or_else_its_origin() {
    let origin = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (hop, wanted) in [(HOP, HOP), ("", origin), ("00-hop", origin)] {
        let mut headers = REQUIRED.to_vec();
        headers.push(("ce_traceparent", origin.as_bytes()));
        headers.push(("traceparent", hop.as_bytes()));
        let Received::Event(event) = cloudevents::decode(&message(&headers), REGISTRY_TOPIC) else {
            panic!("it is an event");
        };
        assert_eq!(event.traceparent.as_deref(), Some(wanted));
    }
}

#[test]
fn an_event_of_a_foreign_program_and_of_an_unknown_type_decodes() {
    let mut headers = REQUIRED.to_vec();
    headers.extend([
        ("content-type", &b"application/json; charset=utf-8"[..]),
        ("traceparent", HOP.as_bytes()),
        ("x-other", b"\xff"),
        ("ce_partitionkey", b"p"),
    ]);
    let Received::Event(event) = cloudevents::decode(&message(&headers), REGISTRY_TOPIC) else {
        panic!("it is an event");
    };
    assert_eq!(event.r#type, "com.example.built");
    assert_eq!((event.sequence, event.subject.as_str()), (0, ""));
    assert_eq!(event.time, Timestamp(1_700_000_000_123_000));
    assert_eq!(event.traceparent.as_deref(), Some(HOP));
    let minimal = cloudevents::decode(&message(&REQUIRED), REGISTRY_TOPIC);
    assert!(matches!(minimal, Received::Event(_)));
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    for (name, _) in REQUIRED {
        let rest: Vec<_> = REQUIRED.into_iter().filter(|(n, _)| *n != name).collect();
        assert_eq!(reason(&message(&rest)), format!("{name} is missing"));
        assert_eq!(
            reason(&message(&with(name, b""))),
            format!("{name} is missing")
        );
        assert_eq!(
            reason(&message(&with(name, b"\xff"))),
            format!("{name} is not UTF-8")
        );
        let mut twice = REQUIRED.to_vec();
        twice.push((name, b"1.0"));
        assert_eq!(reason(&message(&twice)), format!("{name} is there twice"));
    }
    for (name, value, part) in [
        ("ce_specversion", &b"0.3"[..], "\"0.3\" and not \"1.0\""),
        ("ce_source", b"not a uri", "not a URI reference"),
        ("ce_time", b"yesterday", "must be a time such as"),
        ("ce_sequence", b"-1", "not a number"),
        ("ce_sequence", b"first", "not a number"),
        ("ce_subject", b"\xff", "not UTF-8"),
        ("ce_comexample", b"\xff", "not UTF-8"),
        ("content-type", b"text/plain", "not application/json"),
        (
            "content-type",
            b"application/cloudevents+json",
            "structured",
        ),
    ] {
        let reason = reason(&message(&with(name, value)));
        assert!(
            reason.starts_with(name) && reason.contains(part),
            "{reason}"
        );
    }
    let key = message(&REQUIRED).set_key(Some(vec![0xff]));
    assert_eq!(reason(&key), "the key is not UTF-8");
    let nothing = OwnedMessage::new(
        None,
        None,
        "t".to_owned(),
        Written::NotAvailable,
        0,
        0,
        None,
    );
    assert_eq!(reason(&nothing), "ce_specversion is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_is_delivered_as_it_came_and_passed_only_by_a_commit() {
    let world = World::new(1);
    let bus = world.bus(&[]);
    usable(&bus).await;
    let headers: [(&str, &[u8]); 2] = [("ce_id", b"1"), ("x", b"\xff\x00")];
    world.send(0, b"k\xff", &headers, b"\x00\x01").await;
    publish(&bus, &[event("a", 1)]).await;
    for _ in 0..2 {
        let mut subscription = subscribe(&bus, "g").await;
        let delivery = deliver(&mut subscription).await;
        let expected = Malformed {
            topic: REGISTRY_TOPIC.to_owned(),
            key: "k\u{fffd}".to_owned(),
            headers: vec![
                ("ce_id".to_owned(), b"1".to_vec()),
                ("x".to_owned(), b"\xff\x00".to_vec()),
            ],
            value: b"\x00\x01".to_vec(),
            reason: "ce_specversion is missing".to_owned(),
        };
        assert_eq!(delivery.received, Received::Malformed(expected));
        assert_eq!(delivery.position.offset, 0);
        drop(subscription);
        bus.close(PATIENCE).await;
    }
    let mut subscription = subscribe(&bus, "g").await;
    let delivery = deliver(&mut subscription).await;
    subscription.commit(&delivery).await.unwrap();
    drop(subscription);
    bus.close(PATIENCE).await;
    let mut subscription = subscribe(&bus, "g").await;
    assert_eq!(
        deliver(&mut subscription).await.event(),
        Some(&event("a", 1))
    );
}
