//! One YAML mapping, key by key: what is wrong with a value is noted under its path, and what was not
//! taken is refused at the end.

use serde_norway::{Mapping, Value};
use slipway_platform::Violations;

/// The keys of one mapping that were not taken yet.
pub struct Keys {
    mapping: Mapping,
    prefix: String,
}

impl Keys {
    /// The keys of `mapping`, which stands at the path `prefix`.
    pub fn new(mapping: Mapping, prefix: &str) -> Self {
        Self {
            mapping,
            prefix: prefix.to_owned(),
        }
    }

    /// The path of `key`.
    pub fn path(&self, key: &str) -> String {
        match self.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}.{key}"),
        }
    }

    /// Whether `key` is there with a value.
    pub fn has(&self, key: &str) -> bool {
        self.mapping.get(key).is_some_and(|value| !value.is_null())
    }

    /// Takes the value of `key`, whatever it is.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.mapping.remove(key)
    }

    /// The value of `key` as `read` understands it; notes that it must be `form` when it does not.
    pub fn read<T>(
        &mut self,
        key: &str,
        form: &str,
        problems: &mut Violations,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key).filter(|value| !value.is_null())?;
        let found = read(value);
        if found.is_none() {
            problems.push(self.path(key), format!("must be {form}"));
        }
        found
    }

    /// Text; empty without it.
    pub fn text(&mut self, key: &str, problems: &mut Violations) -> String {
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        self.read(key, "text", problems, text).unwrap_or_default()
    }

    /// A list of texts; empty without it.
    pub fn texts(&mut self, key: &str, problems: &mut Violations) -> Vec<String> {
        let texts = |value: Value| -> Option<Vec<String>> {
            let list = value.as_sequence()?;
            list.iter()
                .map(|item| Some(item.as_str()?.to_owned()))
                .collect()
        };
        self.read(key, "a list of texts", problems, texts)
            .unwrap_or_default()
    }

    /// True or false.
    pub fn flag(&mut self, key: &str, problems: &mut Violations) -> Option<bool> {
        self.read(key, "true or false", problems, |value| value.as_bool())
    }

    /// A finite number.
    pub fn number(&mut self, key: &str, problems: &mut Violations) -> Option<f64> {
        self.read(key, "a number", problems, |value| {
            value.as_f64().filter(|n| n.is_finite())
        })
    }

    /// A number above 0, since 0 in the message stands for the default.
    pub fn positive(&mut self, key: &str, problems: &mut Violations) -> f64 {
        let positive = |value: Value| value.as_f64().filter(|number| *number > 0.0);
        self.read(key, "a number above 0", problems, positive)
            .unwrap_or(0.0)
    }

    /// A whole number above 0, since 0 in the message stands for the default.
    pub fn whole(&mut self, key: &str, problems: &mut Violations) -> Option<i64> {
        let whole = |value: Value| value.as_i64().filter(|number| *number > 0);
        self.read(key, "a whole number above 0", problems, whole)
    }

    /// A whole number of either sign.
    pub fn any_whole(&mut self, key: &str, problems: &mut Violations) -> Option<i64> {
        self.read(key, "a whole number", problems, |value| value.as_i64())
    }

    /// One of `words`, in any case; gives it in lower case.
    pub fn word(&mut self, key: &str, words: &[&str], problems: &mut Violations) -> Option<String> {
        let word = |value: Value| {
            let text = value.as_str()?.to_ascii_lowercase();
            words.contains(&text.as_str()).then_some(text)
        };
        self.read(key, &format!("one of {}", words.join(", ")), problems, word)
    }

    /// What `read` makes of the mapping at `key`; its other keys are refused.
    pub fn within<T>(
        &mut self,
        key: &str,
        problems: &mut Violations,
        read: impl FnOnce(&mut Keys, &mut Violations) -> T,
    ) -> Option<T> {
        let mapping = |value| match value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        };
        let path = self.path(key);
        let mut keys = Keys::new(self.read(key, "a mapping", problems, mapping)?, &path);
        let found = read(&mut keys, problems);
        keys.finish(problems);
        Some(found)
    }

    /// Refuses what was not taken.
    pub fn finish(self, problems: &mut Violations) {
        for key in self.mapping.keys() {
            let name = key
                .as_str()
                .map_or_else(|| "a key".to_owned(), str::to_owned);
            problems.push(self.path(&name), "is not a field of a suite");
        }
    }
}
