//! The layers of the settings and how they become one table.
//!
//! An override is one leaf of a later layer: its path, its value, and where it came from. When the merged
//! table does not fit the settings' type, the leaves are tried one by one, so that every wrong one is
//! named with its origin and not only the first.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ConfigError, ENV_PREFIX, SECTIONS};

/// A file of settings larger than this is not one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One leaf of a later layer.
#[derive(Debug, Clone)]
pub(super) struct Override {
    origin: String,
    path: Vec<String>,
    value: Value,
}

pub(super) fn defaults(text: &str, section: Option<&str>) -> Result<Table, ConfigError> {
    let table: Table = text
        .parse()
        .map_err(|error| ConfigError::one(format!("embedded defaults: {error}")))?;
    match section.and_then(|name| table.get(name)) {
        Some(Value::Table(section)) => Ok(section.clone()),
        _ => Ok(table),
    }
}

pub(super) fn from_file(
    path: &Path,
    section: Option<&str>,
    problems: &mut Vec<String>,
) -> Result<Vec<Override>, ConfigError> {
    let shown = path.display();
    let read = || -> std::io::Result<String> {
        let length = std::fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "{length} bytes is too large for settings"
            )));
        }
        std::fs::read_to_string(path)
    };
    let text = read().map_err(|error| ConfigError::one(format!("{shown}: {error}")))?;
    let table: Table = text
        .parse()
        .map_err(|error| ConfigError::one(format!("{shown}: {error}")))?;
    let mut leaves = Vec::new();
    match section {
        None => flatten(table, &mut Vec::new(), &mut leaves),
        Some(section) => {
            for (name, value) in table {
                match value {
                    Value::Table(inner) if name == section => {
                        flatten(inner, &mut Vec::new(), &mut leaves)
                    }
                    Value::Table(_) if SECTIONS.contains(&name.as_str()) => {}
                    _ => problems.push(format!(
                        "{shown}: {name}: is not a section; the sections are {}",
                        SECTIONS.join(", ")
                    )),
                }
            }
        }
    }
    let prefix = section.map(|s| format!("{s}.")).unwrap_or_default();
    let with_origin = |(path, value): (Vec<String>, Value)| Override {
        origin: format!("{shown}: {prefix}{}", path.join(".")),
        path,
        value,
    };
    Ok(leaves.into_iter().map(with_origin).collect())
}

pub(super) fn from_env(
    env: impl IntoIterator<Item = (String, String)>,
    section: Option<&str>,
    base: &Table,
    problems: &mut Vec<String>,
) -> Vec<Override> {
    let mut settings: Vec<_> = env
        .into_iter()
        .filter(|(key, _)| key.starts_with(ENV_PREFIX))
        .collect();
    settings.sort();
    let mut overrides = Vec::new();
    for (key, text) in settings {
        let mut path: Vec<String> = key[ENV_PREFIX.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        if let Some(section) = section {
            let first = path.remove(0);
            if first != section {
                if !SECTIONS.contains(&first.as_str()) {
                    problems.push(format!(
                        "{key}: {first} is not one of the sections {}",
                        SECTIONS.join(", ")
                    ));
                }
                continue;
            }
        }
        if path.is_empty() || path.iter().any(String::is_empty) {
            problems.push(format!(
                "{key}: must have the form {ENV_PREFIX}SECTION__KEY"
            ));
            continue;
        }
        let value = env_value(&text, lookup(base, &path));
        overrides.push(Override {
            origin: key,
            path,
            value,
        });
    }
    overrides
}

/// Text stays text where the default is text; otherwise it is read as TOML, and as text if it is none.
fn env_value(text: &str, default: Option<&Value>) -> Value {
    if matches!(default, Some(Value::String(_))) {
        return Value::String(text.to_owned());
    }
    let document = format!("value = {text}");
    let parsed = document
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1);
    parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

pub(super) fn merge<T: DeserializeOwned>(
    base: Table,
    overrides: Vec<Override>,
    problems: &mut Vec<String>,
) -> Option<T> {
    let mut merged = base.clone();
    for leaf in &overrides {
        if let Err(problem) = set(&mut merged, leaf) {
            problems.push(problem);
        }
    }
    let error = match merged.try_into::<T>() {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let before = problems.len();
    for leaf in &overrides {
        let mut alone = base.clone();
        if set(&mut alone, leaf).is_ok()
            && let Err(error) = alone.try_into::<T>()
            && !is_incomplete(&error)
        {
            problems.push(format!("{}: {}", leaf.origin, one_line(&error)));
        }
    }
    if problems.len() == before {
        problems.push(one_line(&error));
    }
    None
}

/// A leaf of a table that needs other leaves too is not wrong by itself.
fn is_incomplete(error: &toml::de::Error) -> bool {
    error.message().contains("missing field")
}

fn one_line(error: &toml::de::Error) -> String {
    error
        .message()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn flatten(table: Table, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(inner, path, leaves),
            leaf => leaves.push((path.clone(), leaf)),
        }
        path.pop();
    }
}

fn lookup<'t>(table: &'t Table, path: &[String]) -> Option<&'t Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        lookup(value.as_table()?, rest)
    }
}

fn set(table: &mut Table, leaf: &Override) -> Result<(), String> {
    let (last, parents) = leaf.path.split_last().ok_or("a setting without a name")?;
    let mut table = table;
    for parent in parents {
        let entry = table
            .entry(parent.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        match entry {
            Value::Table(inner) => table = inner,
            _ => {
                return Err(format!(
                    "{}: {parent} is a value, not a table of settings",
                    leaf.origin
                ));
            }
        }
    }
    table.insert(last.clone(), leaf.value.clone());
    Ok(())
}
