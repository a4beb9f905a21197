//! Records as Envoy's `HTTPAccessLogEntry`.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    Address as ProtoAddress, RequestMethod, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::data::accesslog::v3::http_access_log_entry::HttpVersion;
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, AccessLogType, HttpAccessLogEntry, HttpRequestProperties,
    HttpResponseProperties, ResponseFlags,
};
use envoy_types::pb::google::protobuf::{
    Duration as ProtoDuration, Timestamp as ProtoTimestamp, UInt32Value,
};
use http::{Method, Version};

use super::{Flag, Flags, Record};
use crate::upstream::Address;

/// The entry of a record.
pub fn of(record: Record) -> HttpAccessLogEntry {
    let version = record.request.version;
    HttpAccessLogEntry {
        protocol_version: http_version(version).into(),
        response: Some(HttpResponseProperties {
            // Envoy's 0: the client was sent nothing.
            response_code: Some(UInt32Value {
                value: record.status.map_or(0, |status| status.as_u16().into()),
            }),
            response_body_bytes: record.response_bytes,
            response_code_details: record.details.clone().into_owned(),
            ..HttpResponseProperties::default()
        }),
        common_properties: Some(common(&record)),
        request: Some(request(record)),
    }
}

fn common(record: &Record) -> AccessLogCommon {
    let started = record.started_at.to_proto();
    AccessLogCommon {
        sample_rate: 1.0,
        downstream_remote_address: Some(socket(record.request.downstream)),
        downstream_direct_remote_address: Some(socket(record.request.downstream)),
        downstream_local_address: Some(socket(record.request.local)),
        start_time: Some(ProtoTimestamp {
            seconds: started.seconds,
            nanos: started.nanos,
        }),
        time_to_last_rx_byte: record
            .progress
            .completed_after(record.started)
            .map(duration),
        time_to_first_upstream_tx_byte: record.first_upstream_send.map(duration),
        time_to_first_upstream_rx_byte: record.first_upstream_receive.map(duration),
        time_to_last_upstream_rx_byte: record
            .first_upstream_receive
            .map(|_| duration(record.duration)),
        time_to_last_downstream_tx_byte: record.status.map(|_| duration(record.duration)),
        duration: Some(duration(record.duration)),
        upstream_remote_address: record.upstream.as_ref().map(upstream),
        upstream_cluster: record.cluster.to_string(),
        upstream_transport_failure_reason: record.failure.clone(),
        upstream_request_attempt_count: record.attempts,
        response_flags: Some(response_flags(record.flags)),
        route_name: record.route.to_string(),
        stream_id: record.request.request_id.clone(),
        access_log_type: AccessLogType::DownstreamEnd.into(),
        ..AccessLogCommon::default()
    }
}

fn request(record: Record) -> HttpRequestProperties {
    let request = record.request;
    let (path, original_path) = match record.rewritten_path {
        Some(rewritten) => (rewritten, request.path),
        None => (request.path, String::new()),
    };
    HttpRequestProperties {
        request_method: method(&request.method).into(),
        scheme: "http".into(),
        authority: request.authority,
        path,
        original_path,
        user_agent: request.user_agent,
        forwarded_for: request.forwarded_for,
        request_id: request.request_id,
        request_body_bytes: record.progress.bytes(),
        ..HttpRequestProperties::default()
    }
}

fn response_flags(flags: Flags) -> ResponseFlags {
    ResponseFlags {
        no_healthy_upstream: flags.has(Flag::NoHealthyUpstream),
        upstream_request_timeout: flags.has(Flag::UpstreamRequestTimeout),
        local_reset: flags.has(Flag::LocalReset),
        upstream_connection_failure: flags.has(Flag::UpstreamConnectionFailure),
        upstream_connection_termination: flags.has(Flag::UpstreamConnectionTermination),
        upstream_overflow: flags.has(Flag::UpstreamOverflow),
        no_route_found: flags.has(Flag::NoRouteFound),
        no_cluster_found: flags.has(Flag::NoClusterFound),
        downstream_connection_termination: flags.has(Flag::DownstreamConnectionTermination),
        stream_idle_timeout: flags.has(Flag::StreamIdleTimeout),
        upstream_protocol_error: flags.has(Flag::UpstreamProtocolError),
        downstream_protocol_error: flags.has(Flag::DownstreamProtocolError),
        ..ResponseFlags::default()
    }
}

fn socket(address: SocketAddr) -> ProtoAddress {
    proto_address(address.ip().to_string(), address.port())
}

fn upstream(address: &Address) -> ProtoAddress {
    proto_address(address.host.clone(), address.port)
}

fn proto_address(host: String, port: u16) -> ProtoAddress {
    ProtoAddress {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host,
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

fn duration(duration: Duration) -> ProtoDuration {
    ProtoDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

fn http_version(version: Version) -> HttpVersion {
    match version {
        Version::HTTP_10 => HttpVersion::Http10,
        Version::HTTP_11 => HttpVersion::Http11,
        Version::HTTP_2 => HttpVersion::Http2,
        _ => HttpVersion::ProtocolUnspecified,
    }
}

fn method(method: &Method) -> RequestMethod {
    RequestMethod::from_str_name(method.as_str()).unwrap_or(RequestMethod::MethodUnspecified)
}
