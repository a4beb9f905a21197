//! The W3C trace context: from the current span to the wire, and from the wire to a new span.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header and attribute that carries the trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span; `None` outside of a span that is traced.
pub fn current_traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// The `traceparent` of `span`; `None` when it is not traced.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier::default();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.traceparent
}

/// Makes `span` a child of the remote span that `traceparent` names. A malformed one is ignored.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    let Some(context) = traceparent.and_then(parse) else {
        return;
    };
    if span.set_parent(context).is_err() {
        tracing::trace!("span is not traced, so it has no parent");
    }
}

/// Notes that `span` has to do with the remote span that `traceparent` names, without being its child.
pub fn add_link(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        span.add_link(context.span().span_context().clone());
    }
}

/// Whether it names a span.
pub fn is_traceparent(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(traceparent: &str) -> Option<opentelemetry::Context> {
    let carrier = Carrier {
        traceparent: Some(traceparent.to_owned()),
    };
    let context = TraceContextPropagator::new()
        .extract_with_context(&opentelemetry::Context::new(), &carrier);
    let is_valid = context.span().span_context().is_valid();
    is_valid.then_some(context)
}

#[derive(Default)]
struct Carrier {
    traceparent: Option<String>,
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.traceparent = Some(value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.traceparent.as_deref().filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::ids;
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn trace_id(traceparent: &str) -> &str {
        &traceparent[3..35]
    }

    #[test]
    fn a_span_continues_the_trace_it_was_given() {
        let subscriber = tracing_subscriber::registry().with(ids());
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(current_traceparent(), None);
            let span = tracing::info_span!("work");
            set_parent(&span, Some(PARENT));
            let traceparent = span.in_scope(current_traceparent).unwrap();
            assert_eq!(trace_id(&traceparent), trace_id(PARENT));
            assert_ne!(traceparent, PARENT, "the span has an id of its own");
        });
    }

    #[test]
    fn a_malformed_parent_starts_a_new_trace() {
        let subscriber = tracing_subscriber::registry().with(ids());
        tracing::subscriber::with_default(subscriber, || {
            for bad in [
                "",
                "x",
                "00-0-0-0",
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            ] {
                let span = tracing::info_span!("work");
                set_parent(&span, Some(bad));
                assert!(span.in_scope(current_traceparent).is_some(), "{bad}");
            }
        });
    }

    #[test]
    fn without_tracing_there_is_no_context() {
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert_eq!(
                tracing::info_span!("work").in_scope(current_traceparent),
                None
            );
        });
    }
}
