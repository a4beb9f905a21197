//! Labels of models and tags of versions: small maps of text.

use std::collections::HashMap;

use slipway_platform::Violations;

use super::text;

/// Most entries of one map.
pub const ENTRIES_MAX: usize = 64;
/// Longest key, in bytes.
pub const KEY_MAX: usize = 63;
/// Longest value, in characters.
pub const VALUE_MAX: usize = 256;

/// Whether `key` has the form `[a-zA-Z_][a-zA-Z0-9_.-]{0,62}`.
pub fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    key.len() <= KEY_MAX
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Notes what is wrong with a map of labels or tags.
pub fn check(field: &str, map: &HashMap<String, String>, violations: &mut Violations) {
    check_size(field, map.len(), violations);
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort();
    // Beyond the most allowed, the map is refused anyway.
    for (key, value) in entries.into_iter().take(ENTRIES_MAX) {
        check_key(field, key, violations);
        text::check(
            &format!("{field}[{}]", shown(key)),
            value,
            VALUE_MAX,
            violations,
        );
    }
}

/// Notes that there are too many entries.
pub fn check_size(field: &str, entries: usize, violations: &mut Violations) {
    violations.require(
        entries <= ENTRIES_MAX,
        field,
        format!("has {entries} entries; at most {ENTRIES_MAX} are allowed"),
    );
}

/// Notes what is wrong with one key.
pub fn check_key(field: &str, key: &str, violations: &mut Violations) {
    violations.require(
        is_key(key),
        format!("{field}[{}]", shown(key)),
        "the key must have the form [a-zA-Z_][a-zA-Z0-9_.-]{0,62}",
    );
}

fn shown(key: &str) -> String {
    key.chars()
        .filter(|c| !c.is_control())
        .take(KEY_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        for good in ["a", "_a", "cutoff_date", "x.y-z", &"k".repeat(63)] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "1a", ".a", "a b", "ä", "a/b", "a\0", &"k".repeat(64)] {
            assert!(!is_key(bad), "{bad}");
        }
    }

    #[test]
    fn every_problem_of_a_map_is_named() {
        let map = HashMap::from([
            ("good".to_owned(), "value".to_owned()),
            ("bad key".to_owned(), "v".to_owned()),
            ("long".to_owned(), "v".repeat(257)),
            ("control".to_owned(), "a\u{7}b".to_owned()),
        ]);
        let mut violations = Violations::new();
        check("tags", &map, &mut violations);
        let fields: Vec<_> = violations.iter().map(|v| v.field.clone()).collect();
        assert_eq!(fields, ["tags[bad key]", "tags[control]", "tags[long]"]);
    }
}
