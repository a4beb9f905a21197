//! An event as it travels: CloudEvents attributes and ProtoJSON data.

use crate::{Error, Result, clock::Timestamp, events::EventData, json};

/// One event. `source` and `id` together are unique and are the key for deduplication.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Unique within the source; uuid v7 unless the publisher gave another.
    pub id: String,
    /// `//slipway/registry`.
    pub source: String,
    /// `io.slipway.version.created.v1`.
    pub r#type: String,
    /// `slipway.registry`.
    pub topic: String,
    /// The resource whose events stay in order.
    pub key: String,
    /// 1, 2, 3 … per source, topic and key; 0 means that the publisher does not number its events.
    pub sequence: i64,
    /// The name of the resource that the event is about.
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// W3C trace context of the span that it happened in.
    pub traceparent: Option<String>,
    /// ProtoJSON.
    pub data: Vec<u8>,
}

impl Event {
    /// The data as message `D`. `Invalid` when the type is another one or the data does not decode.
    pub fn decode<D: EventData>(&self) -> Result<D> {
        if self.r#type != D::TYPE {
            return Err(Error::invalid(
                "type",
                format!("expected {}, got {}", D::TYPE, self.r#type),
            ));
        }
        json::from_json_bytes(&self.data)
    }
}
