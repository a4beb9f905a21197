//! The APIs and the events only grow: what a client or a consumer of yesterday relies on is still there.
//!
//! `compat/{package}.txt` lists every message, field, enum, value and method that was promised, one on a
//! line. A line that is not true any more fails; what is new passes, and is promised once it is added:
//!
//! ```sh
//! SLIPWAY_UPDATE_COMPAT=1 cargo test -p slipway-proto --test compat
//! ```

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

const UPDATE: &str = "SLIPWAY_UPDATE_COMPAT";

/// What each package promises, by package.
type Promises = BTreeMap<String, BTreeSet<String>>;

fn promises(files: &FileDescriptorSet) -> Promises {
    let mut all = Promises::new();
    for file in &files.file {
        let package = file.package();
        if !package.starts_with("slipway.") {
            continue;
        }
        let lines = all.entry(package.to_owned()).or_default();
        for message in &file.message_type {
            message_lines(package, message, lines);
        }
        for one in &file.enum_type {
            enum_lines(package, one, lines);
        }
        for service in &file.service {
            service_lines(package, service, lines);
        }
    }
    all
}

fn message_lines(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        lines.insert(format!("field {name} {}", field_line(field, message)));
    }
    for nested in &message.nested_type {
        message_lines(&name, nested, lines);
    }
    for one in &message.enum_type {
        enum_lines(&name, one, lines);
    }
}

fn field_line(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.'),
        scalar => scalar.as_str_name(),
    };
    let repeated = match field.label() {
        Label::Repeated => "repeated ",
        Label::Optional | Label::Required => "",
    };
    let one_of = match field.oneof_index {
        _ if field.proto3_optional() => " optional".to_owned(),
        Some(index) => {
            let index = usize::try_from(index).unwrap();
            format!(" in {}", message.oneof_decl[index].name())
        }
        None => String::new(),
    };
    format!(
        "{} {repeated}{kind} = {}{one_of}",
        field.name(),
        field.number()
    )
}

fn enum_lines(scope: &str, one: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", one.name());
    lines.insert(format!("enum {name}"));
    for value in &one.value {
        lines.insert(format!(
            "value {name} {} = {}",
            value.name(),
            value.number()
        ));
    }
}

fn service_lines(scope: &str, service: &ServiceDescriptorProto, lines: &mut BTreeSet<String>) {
    for method in &service.method {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        lines.insert(format!(
            "rpc {scope}.{}/{} ({}{}) returns ({}{})",
            service.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type().trim_start_matches('.'),
            stream(method.server_streaming()),
            method.output_type().trim_start_matches('.'),
        ));
    }
}

/// What was promised and is not so any more, each with what to do.
fn breaches(promised: &Promises, present: &Promises) -> Vec<String> {
    let mut found = Vec::new();
    for (package, lines) in promised {
        let now = present.get(package);
        for line in lines {
            if !now.is_some_and(|now| now.contains(line)) {
                found.push(format!("{line}\n    {}", advice(line)));
            }
        }
    }
    found
}

fn advice(line: &str) -> &'static str {
    match line.split(' ').next().unwrap_or_default() {
        "field" => {
            "This field was removed, renamed, renumbered or retyped. Put it back as it was, and add a \
             field with a new number and name beside it. JSON and events carry names, so a rename breaks \
             readers too."
        }
        "value" => {
            "This value was removed, renamed or renumbered. Put it back; stop sending it instead."
        }
        "rpc" => {
            "This method was removed, or its request, answer or streaming changed. Put it back, and add \
             another method beside it."
        }
        _ => {
            "This type was removed or renamed. Put it back; for an event of another form, add a message \
             with the type `….v2` and publish both until every consumer reads the new one."
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}

fn checked_in() -> Promises {
    let mut all = Promises::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let package = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        all.insert(package, text.lines().map(str::to_owned).collect());
    }
    all
}

fn write(present: &Promises) {
    for (package, lines) in present {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(folder().join(format!("{package}.txt")), text).unwrap();
    }
}

fn files() -> FileDescriptorSet {
    FileDescriptorSet::decode(slipway_proto::FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn nothing_that_was_promised_is_taken_back() {
    let present = promises(&files());
    if std::env::var_os(UPDATE).is_some() {
        write(&present);
    }
    let promised = checked_in();
    for package in present.keys() {
        assert!(
            promised.contains_key(package),
            "compat/{package}.txt is missing: run {UPDATE}=1 cargo test -p slipway-proto --test compat"
        );
    }
    let breaches = breaches(&promised, &present);
    assert!(
        breaches.is_empty(),
        "{} promises to clients and consumers are broken:\n\n{}\n\nOnly for what was never released: \
         {UPDATE}=1 cargo test -p slipway-proto --test compat",
        breaches.len(),
        breaches.join("\n")
    );
}

/// The present APIs with a change, and what the comparison says of it.
fn after(change: impl FnOnce(&mut DescriptorProto)) -> Vec<String> {
    let mut changed = files();
    let file = changed
        .file
        .iter_mut()
        .find(|f| f.name() == "slipway/event/v1/events.proto");
    let messages = &mut file.unwrap().message_type;
    change(
        messages
            .iter_mut()
            .find(|m| m.name() == "VersionCreated")
            .unwrap(),
    );
    breaches(&promises(&files()), &promises(&changed))
}

#[test]
fn a_field_that_is_removed_renamed_renumbered_or_retyped_is_found() {
    let of_number = |found: &[String]| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("field slipway.event.v1.VersionCreated number TYPE_INT64 = 3")
        );
        assert!(found[0].contains("Put it back"));
    };
    of_number(&after(|m| m.field.retain(|f| f.name() != "number")));
    let number = |m: &mut DescriptorProto, change: fn(&mut FieldDescriptorProto)| {
        change(m.field.iter_mut().find(|f| f.name() == "number").unwrap());
    };
    of_number(&after(|m| number(m, |f| f.name = Some("ordinal".into()))));
    of_number(&after(|m| number(m, |f| f.number = Some(30))));
    of_number(&after(|m| number(m, |f| f.set_type(Type::String))));
    of_number(&after(|m| number(m, |f| f.set_label(Label::Repeated))));
}

#[test]
fn a_type_that_is_removed_is_found_and_an_addition_passes() {
    let found = after(|m| m.name = Some("VersionMade".into()));
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("message slipway.event.v1.VersionCreated\n"))
    );
    let found = after(|m| {
        let mut more = m.field[0].clone();
        more.name = Some("signed_by".into());
        more.number = Some(7);
        m.field.push(more);
    });
    assert_eq!(found, Vec::<String>::new());
}
