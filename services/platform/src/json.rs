//! ProtoJSON of any Slipway message, by reflection over the descriptors that the protos were compiled to.
//!
//! The mapping is protobuf's own JSON mapping: lowerCamelCase names, 64-bit numbers and enums as strings,
//! fields at their default left out. Unknown fields are ignored on reading, so that an older consumer
//! understands a newer producer.

use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;

use crate::{Error, Result};

/// The message as a JSON value.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value> {
    dynamic(message)?
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|e| Error::internal("protojson", e))
}

/// The message as compact JSON text.
pub fn to_json_bytes<M: Message + Name>(message: &M) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(message.encoded_len() * 2);
    dynamic(message)?
        .serialize_with_options(
            &mut serde_json::Serializer::new(&mut out),
            &SerializeOptions::new(),
        )
        .map_err(|e| Error::internal("protojson", e))?;
    Ok(out)
}

/// Reads a message from a JSON value; what does not fit its fields is `Invalid`.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<M> {
    parse::<M, _>(value)
}

/// Reads a message from JSON text; what does not fit its fields is `Invalid`.
pub fn from_json_bytes<M: Message + Name + Default>(bytes: &[u8]) -> Result<M> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let message = parse::<M, _>(&mut deserializer)?;
    deserializer
        .end()
        .map_err(|e| Error::invalid("json", e.to_string()))?;
    Ok(message)
}

fn parse<'de, M: Message + Name + Default, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<M>
where
    D::Error: std::fmt::Display,
{
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor::<M>()?, deserializer, &options)
            .map_err(|e| Error::invalid("json", e.to_string()))?;
    M::decode(dynamic.encode_to_vec().as_slice()).map_err(|e| Error::internal("protojson", e))
}

fn dynamic<M: Message + Name>(message: &M) -> Result<DynamicMessage> {
    DynamicMessage::decode(descriptor::<M>()?, message.encode_to_vec().as_slice())
        .map_err(|e| Error::internal("protojson", e))
}

fn descriptor<M: Name>() -> Result<MessageDescriptor> {
    let name = M::full_name();
    pool()?
        .get_message_by_name(&name)
        .ok_or_else(|| Error::internal("protojson", format!("no descriptor of {name}")))
}

fn pool() -> Result<&'static DescriptorPool> {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let pool = DescriptorPool::decode(slipway_proto::FILE_DESCRIPTOR_SET)
        .map_err(|e| Error::internal("file descriptor set", e))?;
    Ok(POOL.get_or_init(|| pool))
}

#[cfg(test)]
mod tests {
    use slipway_proto::event::v1::{EvaluationCompleted, VersionCreated};

    use super::*;

    #[test]
    fn messages_come_back_from_their_json() {
        let message = EvaluationCompleted {
            version: "workspaces/dev/models/m/versions/1".to_owned(),
            verdict: slipway_proto::common::v1::Verdict::Pass as i32,
            reasons: vec!["accuracy 0.95 ≥ 0.9".to_owned()],
            valid_until: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            ..Default::default()
        };
        let json = to_json(&message).unwrap();
        assert_eq!(json["verdict"], "PASS");
        assert_eq!(json["validUntil"], "2023-11-14T22:13:20Z");
        assert!(json.get("measured").is_none());
        assert_eq!(from_json::<EvaluationCompleted>(&json).unwrap(), message);
        assert_eq!(
            from_json_bytes::<EvaluationCompleted>(&to_json_bytes(&message).unwrap()).unwrap(),
            message
        );
    }

    #[test]
    fn unknown_fields_are_ignored_and_wrong_ones_refused() {
        let read =
            from_json_bytes::<VersionCreated>(br#"{"number":"7","fromTheFuture":{"a":[1]}}"#)
                .unwrap();
        assert_eq!(read.number, 7);
        for wrong in [
            &b"{\"number\":\"seven\"}"[..],
            b"[]",
            b"{",
            b"{} {}",
            b"\xff",
        ] {
            assert!(matches!(
                from_json_bytes::<VersionCreated>(wrong),
                Err(Error::Invalid(_))
            ));
        }
    }
}
