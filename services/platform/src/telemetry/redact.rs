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

    /// Any text without the passwords of its URLs, and without the values of their parameters whose names are
    /// [hidden](Self::hides). Rather too much is replaced than too little: quotes and commas may be part of either.
    pub(super) fn text<'v>(&self, text: &'v str) -> Cow<'v, str> {
        if !text.contains("://") {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len());
        for word in without_passwords(text).split_inclusive(char::is_whitespace) {
            if word.contains("://") {
                self.parameters(word, &mut shown);
            } else {
                shown.push_str(word);
            }
        }
        Cow::Owned(shown)
    }

    /// Appends a word with a URL, its query's and fragment's hidden values replaced.
    fn parameters(&self, word: &str, shown: &mut String) {
        let url = word.trim_end();
        let mut parts = url.split_inclusive(['?', '&', '#']);
        shown.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (pair, end) = match part.strip_suffix(['?', '&', '#']) {
                Some(pair) => (pair, &part[pair.len()..]),
                None => (part, ""),
            };
            match pair.split_once('=') {
                Some((name, _)) if self.hides(name) => {
                    shown.push_str(name);
                    shown.push('=');
                    shown.push_str(REDACTED);
                }
                _ => shown.push_str(pair),
            }
            shown.push_str(end);
        }
        shown.push_str(&word[url.len()..]);
    }
}

/// The text with the password of each `user:password@host` in a URL replaced.
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let end = after.find(|c: char| c.is_whitespace() || "/?#".contains(c));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = after;
        if let Some(host) = authority.rfind('@')
            && let Some(colon) = authority[..host].find(':')
        {
            shown.push_str(&authority[..=colon]);
            shown.push_str(REDACTED);
            rest = &after[host..];
        }
    }
    shown.push_str(rest);
    shown
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
        let redactor = redactor(&["*password*"]);
        for (text, shown) in [
            ("postgres://a:b@h:1/d", "postgres://a:[redacted]@h:1/d"),
            ("no url", "no url"),
            ("http://h/p@q:r", "http://h/p@q:r"),
            ("http://user@h", "http://user@h"),
            (
                "cannot open kafka://u:p@w@h, then http://v:q@i/",
                "cannot open kafka://u:[redacted]@h, then http://v:[redacted]@i/",
            ),
            ("db://u:pa,ss@h/d", "db://u:[redacted]@h/d"),
            ("db://u:it's\"<x>@h", "db://u:[redacted]@h"),
            ("http://a:1,http://b:2/", "http://a:1,http://b:2/"),
            (
                "http://a:1,http://u:p@b,http://v:q@c",
                "http://a:1,http://u:[redacted]@b,http://v:[redacted]@c",
            ),
            (
                "db://h/d?user=u&password=a,b=c&x=1 is away",
                "db://h/d?user=u&password=[redacted]&x=1 is away",
            ),
            (
                "db:///d?sslPassword=p#part, password=not-in-a-url",
                "db:///d?sslPassword=[redacted]#part, password=not-in-a-url",
            ),
        ] {
            assert_eq!(redactor.text(text), shown);
        }
    }
}
