//! Events as people and programs read them.

use serde_json::{Value, json};
use slipway_platform::clock::Timestamp;
use slipway_platform::json;
use slipway_proto::event::v1::CloudEvent;

use crate::failure::Failure;
use crate::names;
use crate::output::{Output, plain, time_millis};

/// The data of one line, in characters.
const TEXT_MAX: usize = 160;

/// One line: for people, or a CloudEvent in JSON.
pub(super) fn event(output: Output, event: &CloudEvent) -> Result<(), Failure> {
    let data = data(event)?;
    let line = if output.is_json() {
        cloud_event(event, data).to_string()
    } else {
        let time = event.time.as_ref().map(Timestamp::from_proto);
        plain(&format!(
            "{}  {:<20}  {}  {}",
            time_millis(time.unwrap_or_default()),
            short_type(&event.r#type),
            names::short(&event.subject),
            text(event, &data),
        ))
    };
    output.line(&line);
    Ok(())
}

/// `version.created` of `io.slipway.version.created.v1`; other versions and foreign types stay as they are.
pub(super) fn short_type(full: &str) -> &str {
    full.strip_prefix("io.slipway.")
        .and_then(|rest| rest.strip_suffix(".v1"))
        .unwrap_or(full)
}

fn data(event: &CloudEvent) -> Result<Value, Failure> {
    match &event.data {
        Some(_) => Ok(json::to_json(event)?["data"].take()),
        None => Ok(serde_json::from_slice(&event.data_bytes).unwrap_or(Value::Null)),
    }
}

/// The JSON format of CloudEvents, with Slipway's extensions.
fn cloud_event(event: &CloudEvent, data: Value) -> Value {
    let time = event.time.as_ref().map(Timestamp::from_proto);
    let mut line = json!({
        "specversion": event.spec_version,
        "id": event.id,
        "source": event.source,
        "type": event.r#type,
        "subject": event.subject,
        "time": time.unwrap_or_default().to_string(),
        "datacontenttype": event.data_content_type,
        "topic": event.topic,
        "partitionkey": event.key,
        "sequence": event.sequence.to_string(),
        "data": data,
    });
    if !event.traceparent.is_empty() {
        line["traceparent"] = json!(event.traceparent);
    }
    line
}

/// The fields that say most, as `name=value`: names are short, and what the line says already is left out.
fn text(event: &CloudEvent, data: &Value) -> String {
    let Value::Object(fields) = data else {
        return String::new();
    };
    let mut words = Vec::new();
    for (name, value) in fields {
        let value = match value {
            Value::String(text) if *text == event.subject || *text == event.key => continue,
            Value::String(text) => names::short(text),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Array(items) => format!("[{}]", items.len()),
            Value::Null | Value::Object(_) => continue,
        };
        if value.contains(' ') {
            words.push(format!("{name}={value:?}"));
        } else {
            words.push(format!("{name}={value}"));
        }
    }
    shortened(&words.join(" "))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_the_data_says_beyond_the_subject() {
        let event = CloudEvent {
            r#type: "io.slipway.traffic.shifted.v1".into(),
            key: "environments/production/endpoints/tumor".into(),
            subject: "environments/production/endpoints/tumor".into(),
            data_bytes: br#"{"endpoint":"environments/production/endpoints/tumor","generation":"7",
                "reason":"step 2","targets":[{},{}],
                "rollout":"environments/production/endpoints/tumor/rollouts/x"}"#
                .to_vec(),
            ..Default::default()
        };
        let data = data(&event).unwrap();
        assert_eq!(
            text(&event, &data),
            "generation=7 reason=\"step 2\" rollout=production/tumor/x targets=[2]"
        );
        let line = cloud_event(&event, data);
        assert_eq!(
            (&line["sequence"], &line["data"]["generation"]),
            (&json!("0"), &json!("7"))
        );
        assert_eq!(short_type(&event.r#type), "traffic.shifted");
        assert_eq!(short_type("io.slipway.page.v2"), "io.slipway.page.v2");
        assert_eq!(shortened(&"ä".repeat(200)).chars().count(), TEXT_MAX + 1);
    }
}
