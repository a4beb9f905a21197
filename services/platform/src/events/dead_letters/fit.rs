//! What a database can keep of foreign events: texts without a NUL, and not longer than an index takes.

use crate::events::{Event, Malformed};

/// The longest attribute and key, in bytes. Inbox rows are found by a group, a source and an id together,
/// and PostgreSQL's indexes take 2,700 bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest reason that is kept.
const REASON_BYTES_MAX: usize = 4096;

/// The event as a message that cannot be handled, when one of its attributes cannot be kept: its inbox row
/// could never be written.
pub(crate) fn unfit(event: &Event) -> Option<Malformed> {
    let attributes = [
        ("ce_id", event.id.as_str()),
        ("ce_source", event.source.as_str()),
        ("ce_type", event.r#type.as_str()),
        ("ce_subject", event.subject.as_str()),
        (
            "ce_traceparent",
            event.traceparent.as_deref().unwrap_or_default(),
        ),
    ];
    let key = ("the key", event.key.as_str());
    let reason = attributes
        .iter()
        .chain([&key])
        .find_map(|(name, text)| problem(name, text))?;
    let header = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
    Some(Malformed {
        topic: event.topic.clone(),
        key: event.key.clone(),
        headers: attributes.iter().map(header).collect(),
        value: event.data.clone(),
        reason,
    })
}

fn problem(name: &str, text: &str) -> Option<String> {
    if text.len() > TEXT_BYTES_MAX {
        let length = text.len();
        return Some(format!(
            "{name} is {length} bytes long, and {TEXT_BYTES_MAX} are the most"
        ));
    }
    text.contains('\0')
        .then(|| format!("{name} has a NUL in it"))
}

/// A key as it is kept: cut, and with its NULs replaced.
pub(super) fn key(text: &str) -> String {
    kept(text, TEXT_BYTES_MAX)
}

/// A reason as it is kept.
pub(super) fn reason(text: &str) -> String {
    kept(text, REASON_BYTES_MAX)
}

fn kept(text: &str, limit: usize) -> String {
    let end = text.floor_char_boundary(limit);
    text[..end].replace('\0', "\u{fffd}")
}
