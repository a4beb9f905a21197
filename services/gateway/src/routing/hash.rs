//! Hash policies: which part of a request decides its place in a split.
//!
//! xxHash64 with seed 0 over the bytes of the value. Several policies are combined as Envoy does: the
//! hash so far is rotated left by one bit and xored with the next, and a terminal policy that gave a
//! hash ends the list. So a request whose cookie holds the request id of the first request hashes like
//! that first request did without the cookie.

use http::header::{COOKIE, HeaderMap, HeaderName};
use xxhash_rust::xxh64::xxh64;

use super::RequestView;

/// One source of a hash.
#[derive(Debug, Clone)]
pub struct HashPolicy {
    /// The part of the request.
    pub source: HashSource,
    /// Whether later policies are skipped when this one, or one before it, gave a hash.
    pub terminal: bool,
}

/// A part of a request that can be hashed.
#[derive(Debug, Clone)]
pub enum HashSource {
    /// The value of the cookie with this name, unless it is absent or empty.
    Cookie(String),
    /// The values of this header, in sorted order.
    Header(HeaderName),
    /// The client's IP address.
    SourceIp,
}

/// The hash of a request under a list of policies, or none when no policy found anything.
pub fn combined(policies: &[HashPolicy], request: &RequestView<'_>) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        if let Some(next) = policy.source.hash(request) {
            hash = Some(hash.map_or(0, |before| before.rotate_left(1)) ^ next);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

impl HashSource {
    fn hash(&self, request: &RequestView<'_>) -> Option<u64> {
        match self {
            Self::Cookie(name) => cookie(request.headers, name)
                .filter(|value| !value.is_empty())
                .map(|value| xxh64(value, 0)),
            Self::Header(name) => header(request.headers, name),
            Self::SourceIp => Some(xxh64(request.source.to_string().as_bytes(), 0)),
        }
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_none() {
        return Some(xxh64(first.as_bytes(), 0));
    }
    let mut values: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    values.sort_unstable();
    Some(values.into_iter().fold(0, |seed, value| xxh64(value, seed)))
}

/// The value of a cookie, without surrounding quotes; the first one when several have the name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|header| header.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            (&pair[..equals] == name.as_bytes()).then(|| unquoted(&pair[equals + 1..]))
        })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::header::HeaderValue;

    use super::*;

    fn view(headers: &HeaderMap) -> RequestView<'_> {
        RequestView {
            authority: "a",
            path: "/",
            method: &Method::GET,
            headers,
            source: std::net::Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn policies() -> Vec<HashPolicy> {
        vec![
            HashPolicy {
                source: HashSource::Cookie("slipway-id".into()),
                terminal: true,
            },
            HashPolicy {
                source: HashSource::Header(HeaderName::from_static("x-request-id")),
                terminal: false,
            },
        ]
    }

    #[test]
    fn xxhash64_has_its_published_values() {
        // Test vectors of the reference implementation.
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"a", 0), 0xd24e_c4f1_a98c_6e5b);
    }

    #[test]
    fn the_first_request_hashes_like_later_ones_with_the_cookie_made_of_its_request_id() {
        let mut first = HeaderMap::new();
        first.insert("x-request-id", HeaderValue::from_static("0194-abc"));
        let mut later = HeaderMap::new();
        later.insert("x-request-id", HeaderValue::from_static("another"));
        later.insert(
            "cookie",
            HeaderValue::from_static("theme=dark; slipway-id=0194-abc"),
        );
        let policies = policies();
        assert_eq!(
            combined(&policies, &view(&first)),
            combined(&policies, &view(&later))
        );
        assert_eq!(
            combined(&policies, &view(&first)),
            Some(xxh64(b"0194-abc", 0))
        );
    }

    #[test]
    fn policies_that_are_not_terminal_are_combined() {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("1"));
        headers.insert("b", HeaderValue::from_static("2"));
        let policies: Vec<_> = ["a", "b"]
            .map(|name| HashPolicy {
                source: HashSource::Header(HeaderName::from_static(name)),
                terminal: false,
            })
            .into();
        assert_eq!(
            combined(&policies, &view(&headers)),
            Some(xxh64(b"1", 0).rotate_left(1) ^ xxh64(b"2", 0))
        );
    }

    #[test]
    fn nothing_to_hash_is_no_hash() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("slipway-id="));
        assert_eq!(combined(&policies(), &view(&headers)), None);
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(
            "cookie",
            HeaderValue::from_static("xslipway-id=1;slipway-id2=2"),
        );
        headers.append("cookie", HeaderValue::from_static(" slipway-id=\"q\" "));
        assert_eq!(cookie(&headers, "slipway-id"), Some(b"q".as_slice()));
        assert_eq!(cookie(&headers, "slipway"), None);
    }
}
