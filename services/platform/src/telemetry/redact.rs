//! What must not leave the process: values of attributes by name, and passwords within URLs.

use std::borrow::Cow;
use std::sync::Arc;

use super::config::RedactionConfig;

/// What stands in the place of a value that is not shown.
pub(super) const REDACTED: &str = "[redacted]";

/// Decides what is shown. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Redactor {
    names: Arc<[Pattern]>,
}

impl Redactor {
    pub(super) fn new(config: &RedactionConfig) -> Self {
        Self {
            names: config.attributes.iter().map(|p| Pattern::new(p)).collect(),
        }
    }

    /// Whether the values of this attribute are not shown.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// Any text without the passwords of its URLs.
    pub(super) fn text<'v>(&self, text: &'v str) -> Cow<'v, str> {
        if !text.contains("://") {
            return Cow::Borrowed(text);
        }
        let mut shown = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("://") {
            let (before, authority) = rest.split_at(at + 3);
            shown.push_str(before);
            let end = authority
                .find(|c: char| c.is_whitespace() || "/?#\"'<>,".contains(c))
                .unwrap_or(authority.len());
            let (authority, after) = authority.split_at(end);
            match authority.rsplit_once('@') {
                Some((user, host)) if user.contains(':') => {
                    let user = user.split(':').next().unwrap_or_default();
                    shown.push_str(&format!("{user}:{REDACTED}@{host}"));
                }
                _ => shown.push_str(authority),
            }
            rest = after;
        }
        shown.push_str(rest);
        Cow::Owned(shown)
    }
}

/// A name in lower case, cut at its `*`.
#[derive(Debug)]
struct Pattern(Vec<String>);

impl Pattern {
    fn new(text: &str) -> Self {
        Self(
            text.to_ascii_lowercase()
                .split('*')
                .map(str::to_owned)
                .collect(),
        )
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| *only == name);
        };
        let Some(mut rest) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(names: &[&str]) -> Redactor {
        Redactor::new(&RedactionConfig {
            attributes: names.iter().map(|n| (*n).to_owned()).collect(),
        })
    }

    #[test]
    fn names_match_whole_in_any_case_with_stars() {
        let redactor = redactor(&["*password*", "user.id", "http.request.header.*", "*key"]);
        for hidden in [
            "password",
            "DB_PASSWORD_OLD",
            "user.id",
            "http.request.header.x",
            "api.key",
        ] {
            assert!(redactor.hides(hidden), "{hidden}");
        }
        for shown in ["pass", "user.id2", "xuser.id", "http.request", "keys", ""] {
            assert!(!redactor.hides(shown), "{shown}");
        }
    }

    #[test]
    fn passwords_in_urls_are_replaced_wherever_they_stand() {
        let redactor = Redactor::default();
        for (text, shown) in [
            ("postgres://a:b@h:1/d", "postgres://a:[redacted]@h:1/d"),
            ("no url", "no url"),
            ("http://h/p@q:r", "http://h/p@q:r"),
            ("http://user@h", "http://user@h"),
            (
                "cannot open kafka://u:p@w@h, then http://v:q@i/",
                "cannot open kafka://u:[redacted]@h, then http://v:[redacted]@i/",
            ),
        ] {
            assert_eq!(redactor.text(text), shown);
        }
    }
}
