//! `docs/metrics.md` has every metric of the code and no other, under the name that Prometheus shows, and the
//! alerting rules use only metrics that are there.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What Prometheus makes itself of what it scrapes.
const OF_PROMETHEUS: &[&str] = &["up"];

/// A row of the tables.
#[derive(Debug)]
struct Row {
    kind: String,
    unit: String,
    shown: String,
    attributes: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn documented() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line
            .split('|')
            .map(|c| c.trim().trim_matches('`'))
            .collect();
        let [_, name, kind, unit, shown, attributes, ..] = cells[..] else {
            panic!("{line}");
        };
        let row = Row {
            kind: kind.to_owned(),
            unit: unit.to_owned(),
            shown: shown.to_owned(),
            attributes: attributes.to_owned(),
        };
        assert!(rows.insert(name.to_owned(), row).is_none(), "{name} twice");
    }
    assert!(rows.len() > 10, "{rows:?}");
    rows
}

/// Every text in quotes that is the name of a metric or of an attribute of ours, in code that measures.
fn in_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("services")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                if code.contains("meter()") {
                    names.extend(code.split('"').filter(|t| is_name(t)).map(str::to_owned));
                }
            }
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    let ours = text.starts_with("slipway.") || text.starts_with("rpc.");
    ours && text
        .chars()
        .all(|c| c.is_ascii_lowercase() || "._".contains(c))
}

#[test]
fn the_page_has_every_metric_of_the_code_and_no_other() {
    let documented = documented();
    let code = in_code();
    for name in &code {
        let is_attribute = documented.values().any(|row| {
            row.attributes
                .split(' ')
                .any(|a| a.trim_matches('`') == name)
        });
        assert!(
            documented.contains_key(name) || is_attribute,
            "{name} is measured and not in docs/metrics.md"
        );
    }
    for name in documented.keys() {
        assert!(
            code.contains(name),
            "{name} is in docs/metrics.md and not measured"
        );
    }
}

#[test]
fn the_page_has_the_names_that_prometheus_shows() {
    for (name, row) in documented() {
        let unit = match row.unit.as_str() {
            "s" => "_seconds",
            "ms" => "_milliseconds",
            "By" => "_bytes",
            other if other.is_empty() || other.starts_with('{') => "",
            other => panic!("{name} has the unit {other}"),
        };
        let suffix = match row.kind.as_str() {
            "counter" => "_total",
            "gauge" | "histogram" => "",
            other => panic!("{name} is a {other}"),
        };
        assert_eq!(
            row.shown,
            format!("{}{unit}{suffix}", name.replace('.', "_"))
        );
    }
}

#[test]
fn the_alerting_rules_use_metrics_that_are_there() {
    let documented = documented();
    let shown: BTreeSet<_> = documented
        .values()
        .flat_map(|row| match row.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"]
                .map(|part| format!("{}{part}", row.shown))
                .to_vec(),
            _ => vec![row.shown.clone()],
        })
        .collect();
    let rules = fs::read_to_string(root().join("deploy/alerts/slipway.rules.yaml")).unwrap();
    let mut used = BTreeSet::new();
    for expression in expressions(&rules) {
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)));
        for word in words {
            let ours = word.starts_with("slipway_") || word.starts_with("rpc_");
            let is_label = documented.values().any(|row| {
                row.attributes
                    .split(' ')
                    .any(|a| a.trim_matches('`').replace('.', "_") == word)
            });
            if (ours && !is_label) || OF_PROMETHEUS.contains(&word) {
                used.insert(word.to_owned());
            }
        }
    }
    assert!(used.len() > 8, "{used:?}");
    for name in &used {
        assert!(
            shown.contains(name) || OF_PROMETHEUS.contains(&name.as_str()),
            "{name} is in the rules and not in docs/metrics.md"
        );
    }
}

/// The text of each `expr:`, which goes on over lines that are indented more.
fn expressions(rules: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in rules.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some((of_key, text)) = &mut open {
            if indent > *of_key {
                text.push_str(line);
                continue;
            }
            found.push(std::mem::take(text));
            open = None;
        }
        if let Some(rest) = line.trim_start().strip_prefix("expr:") {
            open = Some((indent, rest.to_owned()));
        }
    }
    found
}
