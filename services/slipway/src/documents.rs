//! Resources written as YAML: read strictly into the message of the API.
//!
//! The keys are those of the `.proto` files, in snake_case or in lowerCamelCase; unknown ones are
//! refused. A duration may be written as people do (`90s`, `5m`, `1h30m`), and a strategy may be a name.

use std::path::Path;

use clap::ValueEnum;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::Deserialize;
use serde_json::Value;
use slipway_platform::json;

use crate::failure::Failure;
use crate::strategies::Named;

/// A document larger than this is not one.
const BYTES_MAX: u64 = 1 << 20;

/// The text of a document; `-` is standard input.
pub fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let wrong = |error: std::io::Error| Failure::usage(format!("{shown}: {error}"));
    if path == Path::new("-") {
        return std::io::read_to_string(std::io::stdin()).map_err(wrong);
    }
    let length = std::fs::metadata(path).map_err(wrong)?.len();
    if length > BYTES_MAX {
        return Err(Failure::usage(format!(
            "{shown}: {length} bytes is more than {BYTES_MAX}"
        )));
    }
    std::fs::read_to_string(path).map_err(wrong)
}

/// Every document of a YAML text as a message; `change` may rewrite a document before it is read.
pub fn parse<M: Message + Name + Default>(
    path: &Path,
    text: &str,
    change: impl Fn(&mut Value) -> Result<(), Failure>,
) -> Result<Vec<M>, Failure> {
    let wrong = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let descriptor = descriptor::<M>()?;
    let mut messages = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let mut value = Value::deserialize(document).map_err(|error| wrong(error.to_string()))?;
        if value.is_null() {
            continue;
        }
        change(&mut value)?;
        friendly(&descriptor, &mut value).map_err(wrong)?;
        let message = DynamicMessage::deserialize(descriptor.clone(), value)
            .map_err(|error| wrong(error.to_string()))?;
        let message = M::decode(message.encode_to_vec().as_slice())
            .map_err(|error| wrong(error.to_string()))?;
        messages.push(message);
    }
    if messages.is_empty() {
        return Err(wrong("holds no document".to_owned()));
    }
    Ok(messages)
}

/// Replaces the value of a key by what `long` makes of it, where it is text.
pub fn lengthen(
    document: &mut Value,
    key: &str,
    long: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<(), Failure> {
    if let Some(Value::String(text)) = document.get_mut(key) {
        *text = long(text)?;
    }
    Ok(())
}

/// Rewrites what people write into what ProtoJSON asks for.
fn friendly(descriptor: &MessageDescriptor, value: &mut Value) -> Result<(), String> {
    let Value::Object(fields) = value else {
        return Ok(());
    };
    for (key, value) in fields {
        let field = descriptor
            .get_field_by_name(key)
            .or_else(|| descriptor.get_field_by_json_name(key));
        let Some(field) = field else { continue };
        if let Kind::Message(message) = field.kind() {
            friendly_field(&field, &message, key, value)?;
        }
    }
    Ok(())
}

fn friendly_field(
    field: &FieldDescriptor,
    message: &MessageDescriptor,
    key: &str,
    value: &mut Value,
) -> Result<(), String> {
    match value {
        Value::Array(items) if field.is_list() => items
            .iter_mut()
            .try_for_each(|item| friendly_field_item(message, key, item)),
        _ if field.is_map() => Ok(()),
        one => friendly_field_item(message, key, one),
    }
}

fn friendly_field_item(
    message: &MessageDescriptor,
    key: &str,
    value: &mut Value,
) -> Result<(), String> {
    match (message.full_name(), &*value) {
        ("google.protobuf.Duration", Value::String(text)) => {
            let duration = duration(text)
                .ok_or_else(|| format!("{key}: {text:?} is not a duration such as 90s or 5m"))?;
            *value = Value::String(format!(
                "{}.{:09}s",
                duration.as_secs(),
                duration.subsec_nanos()
            ));
            Ok(())
        }
        ("slipway.deployer.v1.Strategy", Value::String(name)) => {
            let named = Named::from_str(name, false).map_err(|_| {
                let names: Vec<_> = Named::value_variants()
                    .iter()
                    .filter_map(|named| Some(named.to_possible_value()?.get_name().to_owned()))
                    .collect();
                format!(
                    "{key}: {name:?} is none of the strategies {}",
                    names.join(", ")
                )
            })?;
            *value = json::to_json(&named.strategy()).map_err(|error| error.to_string())?;
            Ok(())
        }
        _ => friendly(message, value),
    }
}

/// A duration as people write it: `250ms`, `90s`, `5m`, `1h30m`, `30d`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text.trim();
    let mut total = std::time::Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let count: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit_s = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(std::time::Duration::try_from_secs_f64(count * unit_s).ok()?)?;
    }
    Some(total)
}

/// The same for a command-line flag.
pub fn duration_flag(text: &str) -> Result<std::time::Duration, String> {
    duration(text).ok_or_else(|| "must be a duration such as 90s, 5m, 1h30m or 30d".to_owned())
}

fn descriptor<M: Name>() -> Result<MessageDescriptor, Failure> {
    let pool = DescriptorPool::decode(slipway_proto::FILE_DESCRIPTOR_SET)
        .map_err(|error| Failure::other("read the descriptors", error))?;
    let name = M::full_name();
    pool.get_message_by_name(&name).ok_or_else(|| {
        Failure::other(
            "read the descriptors",
            anyhow::anyhow!("there is no message {name}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use slipway_proto::deployer::v1::run_spec::Driver;
    use slipway_proto::deployer::v1::{Endpoint, Rule};

    use super::*;

    fn endpoint(text: &str) -> Result<Vec<Endpoint>, Failure> {
        parse(Path::new("endpoint.yaml"), text, |_| Ok(()))
    }

    #[test]
    fn an_endpoint_is_read_as_people_write_it() {
        let text = "
name: environments/production/endpoints/tumor
model: workspaces/dev/models/tumor
run:
  process:
    command: [serve, --port, '{port}']
    env: { TOKEN: env:TOKEN }
    stop_grace: 5s
strategy: canary
rollback_window: 1h30m
judgement: { alpha: 0.01, stopped_answering_after: 250ms }
";
        let endpoint = &endpoint(text).unwrap()[0];
        assert_eq!(endpoint.rollback_window.unwrap().seconds, 5400);
        assert_eq!(endpoint.strategy.as_ref().unwrap().name, "canary");
        let judgement = endpoint.judgement.as_ref().unwrap();
        assert_eq!(
            judgement.stopped_answering_after.unwrap().nanos,
            250_000_000
        );
        match endpoint.run.as_ref().unwrap().driver.as_ref().unwrap() {
            Driver::Process(run) => {
                assert_eq!((run.command.len(), run.stop_grace.unwrap().seconds), (3, 5))
            }
            Driver::External(_) => panic!("it is a process"),
        }
    }

    #[test]
    fn steps_may_be_listed_in_full() {
        let text = "strategy:\n  steps:\n  - { traffic_percent: 100, min_hold: 1m, on_insufficient: PROMOTE }\n";
        let strategy = endpoint(text).unwrap()[0].strategy.clone().unwrap();
        assert_eq!(strategy.steps[0].min_hold.unwrap().seconds, 60);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("colour: red", "colour"),
            ("rollback_window: soon", "rollback_window"),
            ("strategy: hope", "timed-50-50"),
            (
                "strategy: { steps: [ { traffic_percent: x } ] }",
                "endpoint.yaml",
            ),
            ("name: [", "endpoint.yaml"),
            ("", "holds no document"),
        ] {
            match endpoint(text) {
                Err(Failure::Usage(message)) => {
                    assert!(message.contains(expected), "{text}: {message}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_file_may_hold_several_documents() {
        let text = "name: rules/a\ncommand: DEPLOY\n---\nname: rules/b\ncommand: RECORD\n";
        let rules: Vec<Rule> = parse(Path::new("rules.yaml"), text, |_| Ok(())).unwrap();
        assert_eq!(
            rules
                .iter()
                .map(|rule| rule.name.as_str())
                .collect::<Vec<_>>(),
            ["rules/a", "rules/b"]
        );
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("30d"), Some(Duration::from_secs(30 * 86_400)));
        for bad in [
            "",
            "5",
            "s",
            "5y",
            "-5s",
            "1..5s",
            "5 s",
            "99999999999999999999d",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
