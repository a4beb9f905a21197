//! Changes of a request's path.

use std::borrow::Cow;

/// What replaces the part of the path that a route matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRewrite {
    /// How many bytes of the path the route matched.
    pub matched: usize,
    /// What stands in their place.
    pub replacement: String,
}

impl PathRewrite {
    /// The changed path and query; always starts with a slash.
    pub fn apply(&self, path_and_query: &str) -> String {
        let rest = path_and_query.get(self.matched..).unwrap_or_default();
        let mut path = String::with_capacity(self.replacement.len() + rest.len() + 1);
        if !self.replacement.starts_with('/') {
            path.push('/');
        }
        path.push_str(&self.replacement);
        path.push_str(rest);
        path
    }
}

/// The path without `.` and `..` segments (RFC 3986, 5.2.4), also where they are percent-encoded.
/// None when it would climb above the root.
pub fn without_dot_segments(path_and_query: &str) -> Option<Cow<'_, str>> {
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    if !path
        .split('/')
        .any(|segment| matches!(dots(segment), 1 | 2))
    {
        return Some(Cow::Borrowed(path_and_query));
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in path.split('/').skip(1) {
        directory = true;
        match dots(segment) {
            1 => {}
            2 => {
                kept.pop()?;
            }
            _ => {
                kept.push(segment);
                directory = false;
            }
        }
    }
    let tail = if directory { "/" } else { "" };
    let joined = format!("/{}{tail}{query}", kept.join("/"));
    Some(Cow::Owned(if kept.is_empty() {
        format!("/{query}")
    } else {
        joined
    }))
}

/// How many dots the segment is made of, or 0 when it is anything else.
fn dots(segment: &str) -> usize {
    let plain = if segment.contains('%') {
        Cow::Owned(segment.replace("%2e", ".").replace("%2E", "."))
    } else {
        Cow::Borrowed(segment)
    };
    if plain.bytes().all(|byte| byte == b'.') {
        plain.len()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_and_the_query_kept() {
        let rewrite = PathRewrite {
            matched: "/production/tumor/".len(),
            replacement: "/".into(),
        };
        assert_eq!(
            rewrite.apply("/production/tumor/v2/models?x=1"),
            "/v2/models?x=1"
        );
        assert_eq!(rewrite.apply("/production/tumor/"), "/");
        let bare = PathRewrite {
            matched: 4,
            replacement: String::new(),
        };
        assert_eq!(bare.apply("/abc"), "/");
    }

    #[test]
    fn dot_segments_are_removed() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a/./b?x=..", "/a/b?x=.."),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b/.", "/b/"),
            ("/a/..", "/"),
            ("/a/..?q", "/?q"),
            ("/...", "/..."),
        ] {
            assert_eq!(
                without_dot_segments(path).as_deref(),
                Some(expected),
                "{path}"
            );
        }
        assert_eq!(without_dot_segments("/../a"), None);
        assert_eq!(without_dot_segments("/a/../../b"), None);
    }
}
