//! Conditions on path, headers and cookies.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName};
use regex::Regex;

use super::RequestView;
use super::hash::cookie;

/// A condition on a text.
#[derive(Debug, Clone)]
pub struct TextMatch {
    pattern: TextPattern,
    ignore_case: bool,
}

/// What a text is compared with.
#[derive(Debug, Clone)]
pub enum TextPattern {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// Any part of it.
    Contains(String),
    /// A regular expression that is anchored at both ends.
    Regex(Regex),
}

impl TextMatch {
    /// A condition; `ignore_case` speaks of ASCII letters and not of regular expressions.
    pub fn new(pattern: TextPattern, ignore_case: bool) -> Self {
        let lower = |text: String| {
            if ignore_case {
                text.to_ascii_lowercase()
            } else {
                text
            }
        };
        let pattern = match pattern {
            TextPattern::Exact(text) => TextPattern::Exact(lower(text)),
            TextPattern::Prefix(text) => TextPattern::Prefix(lower(text)),
            TextPattern::Suffix(text) => TextPattern::Suffix(lower(text)),
            TextPattern::Contains(text) => TextPattern::Contains(lower(text)),
            regex @ TextPattern::Regex(_) => regex,
        };
        Self {
            pattern,
            ignore_case,
        }
    }

    /// Whether the text fits.
    pub fn matches(&self, text: &str) -> bool {
        if let TextPattern::Regex(regex) = &self.pattern {
            return regex.is_match(text);
        }
        let text = if self.ignore_case {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
        match &self.pattern {
            TextPattern::Exact(expected) => *text == **expected,
            TextPattern::Prefix(expected) => text.starts_with(expected.as_str()),
            TextPattern::Suffix(expected) => text.ends_with(expected.as_str()),
            TextPattern::Contains(expected) => text.contains(expected.as_str()),
            TextPattern::Regex(regex) => regex.is_match(&text),
        }
    }
}

/// A condition on a header's value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// The header is there (true), or is not (false).
    Present(bool),
    /// Its value fits; several values are joined with commas first.
    Text(TextMatch),
    /// Its value is a whole number from the first (inclusive) to the second (exclusive).
    Range(i64, i64),
}

/// What a header condition looks at.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A header.
    Header(HeaderName),
    /// The method, as `:method`.
    Method,
    /// Host and port, as `:authority` or `host`.
    Authority,
}

impl Subject {
    /// The subject of this name; none for a name that no request can have.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            ":method" => Some(Self::Method),
            ":authority" | "host" => Some(Self::Authority),
            name => HeaderName::from_bytes(name.as_bytes())
                .ok()
                .map(Self::Header),
        }
    }

    fn value<'a>(&self, request: &RequestView<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(Cow::Borrowed(request.method.as_str())),
            Self::Authority => Some(Cow::Borrowed(request.authority)),
            Self::Header(name) => joined(request.headers, name),
        }
    }
}

/// A condition on one header.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// What is looked at.
    pub subject: Subject,
    /// The condition.
    pub value: ValueMatch,
    /// Whether the condition must not hold.
    pub invert: bool,
    /// Whether a missing header counts as one with an empty value.
    pub missing_is_empty: bool,
}

impl HeaderMatch {
    /// Whether the condition, inverted or not, holds for the request.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let value = match (self.subject.value(request), self.missing_is_empty) {
            (None, true) => Some(Cow::Borrowed("")),
            (value, _) => value,
        };
        let holds = match (&self.value, value) {
            (ValueMatch::Present(expected), value) => value.is_some() == *expected,
            // As in Envoy, a header that is missing fits no condition, not even an inverted one.
            (_, None) => return false,
            (ValueMatch::Text(text), Some(value)) => text.matches(&value),
            (ValueMatch::Range(start, end), Some(value)) => value
                .parse::<i64>()
                .is_ok_and(|number| (*start..*end).contains(&number)),
        };
        holds != self.invert
    }
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(first);
    };
    let mut text = first.into_owned();
    for value in std::iter::once(second).chain(values) {
        text.push(',');
        text.push_str(&value);
    }
    Some(Cow::Owned(text))
}

/// A condition on one cookie.
#[derive(Debug, Clone)]
pub struct CookieMatch {
    /// The cookie's name.
    pub name: String,
    /// What its value must be.
    pub value: TextMatch,
    /// Whether the condition must not hold; a missing cookie then matches.
    pub invert: bool,
}

impl CookieMatch {
    /// Whether the condition, inverted or not, holds for these headers.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let found = cookie(headers, &self.name).map(String::from_utf8_lossy);
        found.is_some_and(|value| self.value.matches(&value)) != self.invert
    }
}

/// A condition on the path, without its query.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// It begins with this.
    Prefix(String),
    /// It is this, or goes on with a slash after it.
    Segments(String),
    /// It is this.
    Exact(String),
    /// A text condition of any other kind, such as one that ignores case.
    Text(TextMatch),
}

impl PathMatch {
    /// Whether the path fits.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Segments(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Exact(exact) => path == exact,
            Self::Text(text) => text.matches(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::HeaderValue;

    use super::*;

    fn text(pattern: TextPattern) -> TextMatch {
        TextMatch::new(pattern, false)
    }

    fn check(matcher: &HeaderMatch, headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        matcher.matches(&RequestView {
            authority: "tumor.production:7400",
            path: "/x",
            method: &Method::POST,
            headers: &headers,
            source: std::net::Ipv4Addr::LOCALHOST.into(),
        })
    }

    fn header(name: &str, value: ValueMatch) -> HeaderMatch {
        HeaderMatch {
            subject: Subject::parse(name).unwrap(),
            value,
            invert: false,
            missing_is_empty: false,
        }
    }

    #[test]
    fn headers_match_by_presence_text_and_range() {
        let exact = header(
            "x-slipway-revision",
            ValueMatch::Text(text(TextPattern::Exact("tumor-00002".into()))),
        );
        assert!(check(&exact, &[("x-slipway-revision", "tumor-00002")]));
        assert!(!check(&exact, &[("x-slipway-revision", "tumor-000021")]));
        assert!(!check(&exact, &[]));
        assert!(check(&header("a", ValueMatch::Present(true)), &[("a", "")]));
        assert!(check(&header("a", ValueMatch::Present(false)), &[]));
        assert!(check(&header("a", ValueMatch::Range(1, 3)), &[("a", "2")]));
        assert!(!check(&header("a", ValueMatch::Range(1, 3)), &[("a", "3")]));
        assert!(check(
            &header(
                ":method",
                ValueMatch::Text(text(TextPattern::Exact("POST".into())))
            ),
            &[]
        ));
    }

    #[test]
    fn an_inverted_condition_on_a_missing_header_holds_only_for_presence() {
        let inverted = |value| HeaderMatch {
            invert: true,
            ..header("a", value)
        };
        assert!(check(&inverted(ValueMatch::Present(true)), &[]));
        assert!(!check(
            &inverted(ValueMatch::Text(text(TextPattern::Exact("1".into())))),
            &[]
        ));
        assert!(check(
            &inverted(ValueMatch::Text(text(TextPattern::Exact("1".into())))),
            &[("a", "2")]
        ));
        let empty = HeaderMatch {
            missing_is_empty: true,
            ..inverted(ValueMatch::Text(text(TextPattern::Exact("1".into()))))
        };
        assert!(check(&empty, &[]));
    }

    #[test]
    fn several_values_are_one_text() {
        let both = header(
            "a",
            ValueMatch::Text(text(TextPattern::Exact("1,2".into()))),
        );
        assert!(check(&both, &[("a", "1"), ("a", "2")]));
    }

    #[test]
    fn cookies_match_by_name_and_value() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("slipway-id=abc"));
        let present = |invert| CookieMatch {
            name: "slipway-id".into(),
            value: text(TextPattern::Regex(Regex::new("^(?:.+)$").unwrap())),
            invert,
        };
        assert!(present(false).matches(&headers));
        assert!(!present(true).matches(&headers));
        assert!(present(true).matches(&HeaderMap::new()));
    }

    #[test]
    fn paths_match_by_prefix_segments_and_whole() {
        assert!(PathMatch::Prefix("/a".into()).matches("/ab"));
        assert!(PathMatch::Segments("/a".into()).matches("/a/b"));
        assert!(!PathMatch::Segments("/a".into()).matches("/ab"));
        assert!(PathMatch::Exact("/a".into()).matches("/a"));
        assert!(
            PathMatch::Text(TextMatch::new(TextPattern::Prefix("/A".into()), true)).matches("/ab")
        );
    }
}
