//! Small protobuf values.

use std::time::Duration;

use envoy_types::pb::google::protobuf;

pub(super) fn duration(value: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn uint32(value: u32) -> protobuf::UInt32Value {
    protobuf::UInt32Value { value }
}

pub(super) fn boolean(value: bool) -> protobuf::BoolValue {
    protobuf::BoolValue { value }
}
