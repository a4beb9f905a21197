//! Log lines on standard error, as text or JSON, without what must not be shown.

use std::fmt::{self, Debug};

use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::redact::{REDACTED, Redactor};

/// Fields as `name=value` for people.
pub(super) struct TextFields(pub(super) Redactor);

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut text = Text {
            redactor: &self.0,
            writer,
            begun: false,
            result: Ok(()),
        };
        fields.record(&mut text);
        text.finish()
    }
}

struct Text<'a, 'w> {
    redactor: &'a Redactor,
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl Visit for Text<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = field.name();
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let space = if std::mem::replace(&mut self.begun, true) {
            " "
        } else {
            ""
        };
        self.result = if name == "message" {
            let value = format!("{value:?}");
            write!(self.writer, "{space}{}", self.redactor.text(&value))
        } else if self.redactor.hides(name) {
            write!(self.writer, "{space}{name}={REDACTED}")
        } else {
            let value = format!("{value:?}");
            write!(self.writer, "{space}{name}={}", self.redactor.text(&value))
        };
    }
}

impl VisitOutput<fmt::Result> for Text<'_, '_> {
    fn finish(self) -> fmt::Result {
        self.result
    }
}

/// One JSON object a line: `timestamp`, `level`, `target`, `fields`, `spans` from the outermost to the
/// innermost, and `trace_id` and `span_id` where there is a trace.
#[derive(Clone)]
pub(super) struct JsonLines(pub(super) Redactor);

impl<'w> FormatFields<'w> for JsonLines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        write!(writer, "{}", Value::Object(self.object(fields)))
    }

    fn add_fields(
        &self,
        current: &'w mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        let mut all = parse(&current.fields);
        all.extend(self.object(fields));
        current.fields = Value::Object(all).to_string();
        Ok(())
    }
}

impl<S> FormatEvent<S, JsonLines> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonLines>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Map::new();
        let metadata = event.metadata();
        line.insert("timestamp".to_owned(), timestamp.into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), metadata.target().into());
        line.insert("fields".to_owned(), self.object(event).into());
        let spans: Vec<Value> = context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let mut object = span
                    .extensions()
                    .get::<FormattedFields<JsonLines>>()
                    .map(|fields| parse(&fields.fields))
                    .unwrap_or_default();
                object.insert("name".to_owned(), span.name().into());
                Value::Object(object)
            })
            .collect();
        if !spans.is_empty() {
            line.insert("spans".to_owned(), spans.into());
        }
        opentelemetry::Context::map_current(|current| {
            let span = current.span();
            let trace = span.span_context();
            if trace.is_valid() {
                line.insert("trace_id".to_owned(), trace.trace_id().to_string().into());
                line.insert("span_id".to_owned(), trace.span_id().to_string().into());
            }
        });
        writeln!(writer, "{}", Value::Object(line))
    }
}

impl JsonLines {
    fn object<R: RecordFields>(&self, fields: R) -> Map<String, Value> {
        let mut object = Object {
            redactor: &self.0,
            map: Map::new(),
        };
        fields.record(&mut object);
        object.map
    }
}

fn parse(fields: &str) -> Map<String, Value> {
    serde_json::from_str(fields).unwrap_or_default()
}

struct Object<'a> {
    redactor: &'a Redactor,
    map: Map<String, Value>,
}

impl Object<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if name.starts_with("log.") {
            return;
        }
        let value = match value {
            _ if self.redactor.hides(name) => REDACTED.into(),
            Value::String(text) => self.redactor.text(&text).into(),
            other => other,
        };
        self.map.insert(name.to_owned(), value);
    }
}

impl Visit for Object<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}
