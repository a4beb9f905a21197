//! Events and dead letters as they are shown.

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use slipway_proto::event::v1::{
    CloudEvent, DeadLetter, MalformedMessage, dead_letter::State, malformed_message::Header,
};

use crate::events::{Event, Malformed, Received, dead_letters};

/// JSON that is nested deeper is shown as bytes: protobuf decoders give up at a depth of 100 messages, and
/// an object takes three.
const DEPTH_MAX: usize = 24;

pub(super) fn event(event: Event) -> CloudEvent {
    let data = object(&event.data);
    let data_bytes = match data {
        Some(_) => Vec::new(),
        None => event.data,
    };
    CloudEvent {
        id: event.id,
        source: event.source,
        spec_version: "1.0".to_owned(),
        r#type: event.r#type,
        subject: event.subject,
        time: Some(event.time.to_proto()),
        data_content_type: "application/json".to_owned(),
        topic: event.topic,
        key: event.key,
        sequence: event.sequence,
        traceparent: event.traceparent.unwrap_or_default(),
        data,
        data_bytes,
    }
}

pub(super) fn dead_letter(letter: dead_letters::DeadLetter) -> DeadLetter {
    let state = match letter.replayed_at {
        None => State::Waiting,
        Some(_) => State::Replayed,
    };
    let (event, malformed) = match letter.received {
        Received::Event(received) => (Some(event(received)), None),
        Received::Malformed(message) => (None, Some(malformed(message))),
    };
    DeadLetter {
        name: format!("deadLetters/{}", letter.id),
        group: letter.group,
        state: state.into(),
        reason: letter.reason,
        attempts: i32::try_from(letter.attempts).unwrap_or(i32::MAX),
        create_time: Some(letter.created_at.to_proto()),
        fail_time: Some(letter.failed_at.to_proto()),
        replay_time: letter.replayed_at.map(|at| at.to_proto()),
        event,
        malformed,
    }
}

fn malformed(message: Malformed) -> MalformedMessage {
    let header = |(name, value): (String, Vec<u8>)| Header { name, value };
    MalformedMessage {
        topic: message.topic,
        key: message.key,
        headers: message.headers.into_iter().map(header).collect(),
        value: message.value,
    }
}

/// The data as an object; `None` when it is none, or would lose something in this form.
fn object(data: &[u8]) -> Option<Struct> {
    match serde_json::from_slice(data).ok()? {
        Json::Object(fields) => structure(fields, DEPTH_MAX),
        _ => None,
    }
}

fn structure(fields: serde_json::Map<String, Json>, depth: usize) -> Option<Struct> {
    let depth = depth.checked_sub(1)?;
    let fields = fields
        .into_iter()
        .map(|(name, one)| Some((name, value(one, depth)?)))
        .collect::<Option<_>>()?;
    Some(Struct { fields })
}

fn value(json: Json, depth: usize) -> Option<Value> {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(is) => Kind::BoolValue(is),
        Json::String(text) => Kind::StringValue(text),
        Json::Number(number) => Kind::NumberValue(exact(&number)?),
        Json::Array(items) => {
            let depth = depth.checked_sub(1)?;
            let values = items
                .into_iter()
                .map(|one| value(one, depth))
                .collect::<Option<_>>()?;
            Kind::ListValue(ListValue { values })
        }
        Json::Object(fields) => Kind::StructValue(structure(fields, depth)?),
    };
    Some(Value { kind: Some(kind) })
}

/// The number as a double; `None` for a whole number that a double does not hold.
fn exact(number: &serde_json::Number) -> Option<f64> {
    const WHOLE_MAX: i64 = 1 << 53;
    if number.is_f64() {
        return number.as_f64();
    }
    let whole = number
        .as_i64()
        .filter(|n| (-WHOLE_MAX..=WHOLE_MAX).contains(n))?;
    Some(whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_a_struct_cannot_hold_is_given_as_bytes() {
        assert!(object(br#"{"a":[1,2.5,null,true,"x",{"b":{}}]}"#).is_some());
        for kept in [
            &b"not json"[..],
            b"[1]",
            br#"{"n":9007199254740993}"#,
            format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40)).as_bytes(),
        ] {
            assert!(object(kept).is_none());
        }
    }
}
