//! Changes of headers: values with `%REQ(name)%` in them, how they are added, and what is removed.
//!
//! The changes of an answer are rendered while the request's headers are still at hand, so that nothing
//! of the request has to be kept until the answer comes.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The changes of one level: a share of a split, a route, a virtual host or the whole table.
#[derive(Debug, Clone, Default)]
pub struct Mutations {
    /// Added to the request before it goes upstream.
    pub request_add: Vec<Mutation>,
    /// Removed from the request before that.
    pub request_remove: Vec<HeaderName>,
    /// Added to the answer.
    pub response_add: Vec<Mutation>,
    /// Removed from the answer before that.
    pub response_remove: Vec<HeaderName>,
}

/// One header to add.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The header.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
    /// What happens when the header is there already.
    pub append: Append,
    /// Whether it is added although its value is empty.
    pub keep_empty: bool,
}

/// What happens when a header to add is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// One more value is added.
    Always,
    /// The header stays as it is.
    IfAbsent,
    /// Its values are replaced.
    Overwrite,
    /// Its values are replaced, and nothing is added when it is missing.
    OverwriteIfPresent,
}

/// A value with references to request headers.
#[derive(Debug, Clone)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(Bytes),
    Request {
        name: HeaderName,
        otherwise: Option<HeaderName>,
        length_max: usize,
    },
}

/// The text is not a template that can be rendered here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `%` that neither is doubled nor has a partner.
    #[error("has a % without a partner; write %% for a percent sign")]
    Unbalanced,
    /// A command other than `%REQ(...)%`.
    #[error("uses %{0}%, and only %REQ(header)% is known")]
    Command(String),
    /// A header name that is none, or a byte that a header must not contain.
    #[error("names or contains something that cannot be in a header: {0:?}")]
    Header(String),
}

impl Template {
    /// Reads a value in Envoy's command syntax: `%REQ(a?b):n%` is header `a`, else `b`, cut to `n` bytes.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let end = rest.find('%').ok_or(TemplateError::Unbalanced)?;
            push_literal(&mut parts, std::mem::take(&mut literal))?;
            parts.push(command(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        push_literal(&mut parts, literal)?;
        Ok(Self(parts))
    }

    /// The value for a request with these headers; a header that is missing gives nothing.
    pub fn render(&self, request: &HeaderMap) -> HeaderValue {
        let empty = || HeaderValue::from_static("");
        match self.0.as_slice() {
            [] => empty(),
            [Part::Text(text)] => {
                HeaderValue::from_maybe_shared(text.clone()).unwrap_or_else(|_| empty())
            }
            parts => {
                let mut value = Vec::new();
                for part in parts {
                    match part {
                        Part::Text(text) => value.extend_from_slice(text),
                        Part::Request {
                            name,
                            otherwise,
                            length_max,
                        } => {
                            let found = request
                                .get(name)
                                .or_else(|| request.get(otherwise.as_ref()?));
                            let bytes = found.map_or(b"".as_slice(), |found| found.as_bytes());
                            value.extend_from_slice(&bytes[..bytes.len().min(*length_max)]);
                        }
                    }
                }
                HeaderValue::from_maybe_shared(Bytes::from(value)).unwrap_or_else(|_| empty())
            }
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: String) -> Result<(), TemplateError> {
    if HeaderValue::from_str(&text).is_err() {
        return Err(TemplateError::Header(text));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(())
}

fn command(text: &str) -> Result<Part, TemplateError> {
    let unknown = || TemplateError::Command(text.to_owned());
    let arguments = text.strip_prefix("REQ(").ok_or_else(unknown)?;
    let (names, length) = arguments.split_once(')').ok_or_else(unknown)?;
    let length_max = match length.strip_prefix(':') {
        Some(number) => number.parse().map_err(|_| unknown())?,
        None if length.is_empty() => usize::MAX,
        None => return Err(unknown()),
    };
    let header = |name: &str| {
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| TemplateError::Header(name.to_owned()))
    };
    let (name, otherwise) = match names.split_once('?') {
        Some((name, otherwise)) => (name, Some(header(otherwise)?)),
        None => (names, None),
    };
    Ok(Part::Request {
        name: header(name)?,
        otherwise,
        length_max,
    })
}

/// Changes with their values filled in, in the order in which they are applied.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    remove: Vec<HeaderName>,
    add: Vec<(HeaderName, HeaderValue, Append)>,
}

impl Rendered {
    /// The changes of the answer that these levels ask for, for a request with these headers.
    pub fn of_response<'a>(
        levels: impl Iterator<Item = &'a Mutations>,
        request: &HeaderMap,
    ) -> Self {
        let mut rendered = Self::default();
        for level in levels {
            rendered.remove.extend_from_slice(&level.response_remove);
            rendered.push(&level.response_add, request);
        }
        rendered
    }

    /// The changes of the request that these levels ask for.
    pub fn of_request<'a>(
        levels: impl Iterator<Item = &'a Mutations>,
        request: &HeaderMap,
    ) -> Self {
        let mut rendered = Self::default();
        for level in levels {
            rendered.remove.extend_from_slice(&level.request_remove);
            rendered.push(&level.request_add, request);
        }
        rendered
    }

    /// Changes the headers: removals first, then additions.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value, append) in self.add {
            let present = headers.contains_key(&name);
            match append {
                Append::Always => {
                    headers.append(name, value);
                }
                Append::IfAbsent if present => {}
                Append::OverwriteIfPresent if !present => {}
                Append::IfAbsent | Append::Overwrite | Append::OverwriteIfPresent => {
                    headers.insert(name, value);
                }
            }
        }
    }

    fn push(&mut self, mutations: &[Mutation], request: &HeaderMap) {
        for mutation in mutations {
            let value = mutation.value.render(request);
            if !value.is_empty() || mutation.keep_empty {
                self.add
                    .push((mutation.name.clone(), value, mutation.append));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_static("0194"));
        headers
    }

    fn rendered(text: &str) -> String {
        Template::parse(text)
            .unwrap()
            .render(&request())
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn values_take_parts_from_the_request() {
        assert_eq!(
            rendered("slipway-id=%REQ(x-request-id)%; Path=/"),
            "slipway-id=0194; Path=/"
        );
        assert_eq!(rendered("%REQ(x-missing?x-request-id):2%"), "01");
        assert_eq!(rendered("100%%"), "100%");
        assert_eq!(rendered("%REQ(x-missing)%"), "");
    }

    #[test]
    fn what_cannot_be_rendered_is_refused() {
        assert_eq!(
            Template::parse("50%").unwrap_err(),
            TemplateError::Unbalanced
        );
        assert!(matches!(
            Template::parse("%UPSTREAM_CLUSTER%"),
            Err(TemplateError::Command(_))
        ));
        assert!(matches!(
            Template::parse("%REQ(a b)%"),
            Err(TemplateError::Header(_))
        ));
        assert!(matches!(
            Template::parse("a\nb"),
            Err(TemplateError::Header(_))
        ));
    }

    #[test]
    fn headers_are_added_as_asked() {
        let level = |append, value: &str| Mutations {
            response_add: vec![Mutation {
                name: HeaderName::from_static("x"),
                value: Template::parse(value).unwrap(),
                append,
                keep_empty: false,
            }],
            ..Mutations::default()
        };
        let apply = |append, value: &str, before: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append("x", HeaderValue::from_static(value));
            }
            Rendered::of_response(std::iter::once(&level(append, value)), &request())
                .apply(&mut headers);
            headers
                .get_all("x")
                .iter()
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(apply(Append::Always, "2", &["1"]), ["1", "2"]);
        assert_eq!(apply(Append::IfAbsent, "2", &["1"]), ["1"]);
        assert_eq!(apply(Append::Overwrite, "2", &["1"]), ["2"]);
        assert!(apply(Append::OverwriteIfPresent, "2", &[]).is_empty());
        assert!(apply(Append::Always, "%REQ(x-missing)%", &[]).is_empty());
    }
}
