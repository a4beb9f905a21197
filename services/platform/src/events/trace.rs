//! Spans of events on their way, with the names of OpenTelemetry's conventions for messaging.
//!
//! The producer's span is a child of the span that the event happened in, the consumer's span a child of the
//! producer's: the message carries the producer's `traceparent`.

use tracing::Span;

use crate::{events::Event, telemetry};

/// The span of handing an event to the bus.
pub(super) fn sending(system: &'static str, event: &Event) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "send",
        otel.name = format_args!("send {}", event.topic),
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = event.topic,
        messaging.message.id = event.id,
        event.type = event.r#type,
        event.subject = event.subject,
    );
    telemetry::set_parent(&span, event.traceparent.as_deref());
    span
}

/// The span of giving an event its effect in a consumer group.
pub(super) fn processing(system: &'static str, group: &str, event: &Event) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = format_args!("process {}", event.topic),
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = event.topic,
        messaging.consumer.group.name = group,
        messaging.message.id = event.id,
        event.type = event.r#type,
        event.subject = event.subject,
    );
    telemetry::set_parent(&span, event.traceparent.as_deref());
    span
}
