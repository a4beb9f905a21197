//! The data of the notice on the dead-letter topic.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::DeadLetter;
use crate::{
    Error, Result,
    events::{Event, Malformed, Position, Received},
};

/// How much of the data, and of all headers together, the notice holds: twice over, and with every byte
/// escaped, it still fits into one event.
const DATA_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// `group` and `reason`, and then the event, or the message with its headers.
pub(super) fn data(letter: &DeadLetter, position: &Position) -> Result<Vec<u8>> {
    let mut notice = Map::new();
    let mut set = |name: &str, value: Value| notice.insert(name.to_owned(), value);
    set("deadLetter", json!(format!("deadLetters/{}", letter.id)));
    set("group", json!(letter.group));
    set("reason", json!(letter.reason));
    set("attempts", json!(letter.attempts));
    set("partition", json!(position.partition));
    set("offset", json!(position.offset.to_string()));
    match &letter.received {
        Received::Event(event) => event_fields(&mut notice, event),
        Received::Malformed(message) => message_fields(&mut notice, message),
    }
    serde_json::to_vec(&notice).map_err(|e| Error::internal("dead letter", e))
}

fn event_fields(notice: &mut Map<String, Value>, event: &Event) {
    for (name, value) in [
        ("id", json!(event.id)),
        ("source", json!(event.source)),
        ("type", json!(event.r#type)),
        ("topic", json!(event.topic)),
        ("key", json!(event.key)),
        ("sequence", json!(event.sequence)),
        ("subject", json!(event.subject)),
        ("time", json!(event.time.to_string())),
    ] {
        notice.insert(name.to_owned(), value);
    }
    let (data, cut) = head(&event.data, DATA_BYTES_MAX);
    notice.insert("data".to_owned(), json!(String::from_utf8_lossy(data)));
    if cut {
        notice.insert("dataTruncated".to_owned(), json!(true));
    }
}

fn message_fields(notice: &mut Map<String, Value>, message: &Malformed) {
    notice.insert("topic".to_owned(), json!(message.topic));
    notice.insert("key".to_owned(), json!(message.key));
    let mut left = HEADER_BYTES_MAX;
    let mut headers = Vec::new();
    for (name, value) in &message.headers {
        let bytes = name.len() + value.len();
        if bytes > left {
            notice.insert("headersTruncated".to_owned(), json!(true));
            break;
        }
        left -= bytes;
        let text = String::from_utf8_lossy(value);
        headers.push(json!({"name": name, "value": text}));
    }
    notice.insert("headers".to_owned(), json!(headers));
    let (data, cut) = head(&message.value, DATA_BYTES_MAX);
    notice.insert("data".to_owned(), json!(String::from_utf8_lossy(data)));
    notice.insert("dataBase64".to_owned(), json!(STANDARD.encode(data)));
    if cut {
        notice.insert("dataTruncated".to_owned(), json!(true));
    }
}

fn head(bytes: &[u8], limit: usize) -> (&[u8], bool) {
    match bytes.get(..limit) {
        Some(head) if bytes.len() > limit => (head, true),
        _ => (bytes, false),
    }
}
