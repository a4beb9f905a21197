//! Events as Kafka messages: CloudEvents 1.0 in the binary content mode of its Kafka protocol binding.
//!
//! Attributes are headers `ce_<name>` in UTF-8, the content type is the plain header `content-type`, the
//! value is the data as it is, and the message's key is the event's key. `ce_traceparent` is the trace that
//! the event came from (the distributed tracing extension), the plain `traceparent` belongs to the hop.
//! `ce_sequence` numbers the events of a key.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use rdkafka::{
    Message,
    message::{Header, Headers, OwnedHeaders},
};

use crate::{
    clock::Timestamp,
    events::{Event, Malformed, Received},
    telemetry,
};

const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";
const SPECVERSION: &str = "1.0";
const HOP: &str = "traceparent";

/// The headers of an event; `hop` is the trace context of its sending.
pub(super) fn headers(event: &Event, hop: Option<&str>) -> OwnedHeaders {
    let add = |headers: OwnedHeaders, key: &str, value: &str| {
        let value = Some(value);
        headers.insert(Header { key, value })
    };
    let mut headers = OwnedHeaders::new_with_capacity(10);
    headers = add(headers, "ce_specversion", SPECVERSION);
    headers = add(headers, "ce_id", &event.id);
    headers = add(headers, "ce_source", &event.source);
    headers = add(headers, "ce_type", &event.r#type);
    headers = add(headers, "ce_time", &event.time.to_string());
    if !event.subject.is_empty() {
        headers = add(headers, "ce_subject", &event.subject);
    }
    if event.sequence > 0 {
        headers = add(headers, "ce_sequence", &event.sequence.to_string());
    }
    if let Some(origin) = &event.traceparent {
        headers = add(headers, "ce_traceparent", origin);
    }
    headers = add(headers, CONTENT_TYPE, JSON);
    match hop {
        Some(hop) => add(headers, HOP, hop),
        None => headers,
    }
}

/// What a message of `topic` (its name without prefix) is.
pub(super) fn decode(message: &impl Message, topic: &str) -> Received {
    let raw = headers_of(message);
    let event = match &raw {
        Ok(headers) => event(message, topic, headers),
        Err(reason) => Err(reason.clone()),
    };
    event.map_or_else(
        |reason| {
            Received::Malformed(Malformed {
                topic: topic.to_owned(),
                key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
                headers: raw.unwrap_or_default(),
                value: message.payload().unwrap_or_default().to_vec(),
                reason,
            })
        },
        Received::Event,
    )
}

type RawHeaders = Vec<(String, Vec<u8>)>;

fn headers_of(message: &impl Message) -> Result<RawHeaders, String> {
    let Some(headers) = message.headers() else {
        return Ok(Vec::new());
    };
    (0..headers.count())
        .map(|index| {
            // The library panics at a name that is not UTF-8, and a foreign message must stop no consumer.
            let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)))
                .ok()
                .flatten()
                .ok_or_else(|| format!("header {index} has a name that is not UTF-8"))?;
            let value = header.value.unwrap_or_default().to_vec();
            Ok((header.key.to_owned(), value))
        })
        .collect()
}

fn event(message: &impl Message, topic: &str, headers: &RawHeaders) -> Result<Event, String> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_ours(name)) {
        let value = std::str::from_utf8(value).map_err(|_| format!("{name} is not UTF-8"))?;
        if attributes
            .insert(name.to_ascii_lowercase(), value)
            .is_some()
        {
            return Err(format!("{name} is there twice"));
        }
    }
    let optional = |name: &str| attributes.get(name).copied().filter(|v| !v.is_empty());
    let required = |name: &str| optional(name).ok_or_else(|| format!("{name} is missing"));
    content_type(attributes.get(CONTENT_TYPE).copied())?;
    let version = required("ce_specversion")?;
    if version != SPECVERSION {
        return Err(format!(
            "ce_specversion is {version:?} and not {SPECVERSION:?}"
        ));
    }
    let (id, source) = (required("ce_id")?, required("ce_source")?);
    if source
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "<>\"{}|\\^`".contains(c))
    {
        return Err(format!(
            "ce_source is {source:?}, which is not a URI reference"
        ));
    }
    let r#type = required("ce_type")?;
    let time = match optional("ce_time") {
        Some(time) => time
            .parse()
            .map_err(|error| format!("ce_time is {time:?} and {error}"))?,
        // When the brokers or the sender say that it was written.
        None => Timestamp(
            message
                .timestamp()
                .to_millis()
                .unwrap_or(0)
                .saturating_mul(1000),
        ),
    };
    let sequence = match optional("ce_sequence") {
        Some(sequence) => sequence
            .parse()
            .ok()
            .filter(|number| *number >= 0)
            .ok_or_else(|| format!("ce_sequence is {sequence:?} and not a number from 0"))?,
        None => 0,
    };
    let key = std::str::from_utf8(message.key().unwrap_or_default())
        .map_err(|_| "the key is not UTF-8".to_owned())?;
    // Work on the event belongs below its sending, which belongs below its origin.
    let hop = headers.iter().find(|(name, _)| name == HOP);
    let traceparent = hop
        .and_then(|(_, value)| String::from_utf8(value.clone()).ok())
        .filter(|hop| telemetry::is_traceparent(hop))
        .or_else(|| optional("ce_traceparent").map(str::to_owned));
    Ok(Event {
        id: id.to_owned(),
        source: source.to_owned(),
        r#type: r#type.to_owned(),
        topic: topic.to_owned(),
        key: key.to_owned(),
        sequence,
        subject: optional("ce_subject").unwrap_or_default().to_owned(),
        time,
        traceparent,
        data: message.payload().unwrap_or_default().to_vec(),
    })
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ce_") || name.eq_ignore_ascii_case(CONTENT_TYPE)
}

/// JSON, with or without parameters. An event that says nothing is JSON, says the specification.
fn content_type(value: Option<&str>) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    let media = value.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(JSON) {
        Ok(())
    } else if media
        .to_ascii_lowercase()
        .starts_with("application/cloudevents")
    {
        Err(format!(
            "content-type is {value:?}: the structured content mode is not read, send the binary one"
        ))
    } else {
        Err(format!("content-type is {value:?} and not {JSON}"))
    }
}
