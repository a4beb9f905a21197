//! Headers between two hops: what must not be passed on, and what is added.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRANSFER_ENCODING, UPGRADE,
};

/// The request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The addresses that the request came through.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme of the client's request.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest request id that is taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Headers that speak of one connection (RFC 9110, 7.6.1), besides those that `connection` names.
const HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Removes what speaks of one connection only. `te: trailers` stays.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| *name != TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // The framing was chunked; a length beside it is not to be believed.
        headers.remove(CONTENT_LENGTH);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Entry::Occupied(te) = headers.entry(TE)
        && te.get() != "trailers"
    {
        te.remove();
    }
}

/// Makes sure that the request has one id, and gives it. One of the client is kept when it is the only one
/// and made of letters, digits and `-_.`: it ends up in a cookie and in logs.
pub fn ensure_request_id(headers: &mut HeaderMap) -> String {
    if let Some(id) = headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && headers.get_all(REQUEST_ID).iter().nth(1).is_none()
    {
        return id.to_owned();
    }
    let id = uuid::Builder::from_random_bytes(rand::random())
        .into_uuid()
        .to_string();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    id
}

/// Prepares a client's headers for an HTTP/1.1 upstream. Gives the `x-forwarded-for` that it will see.
pub fn prepare_request(headers: &mut HeaderMap, host: HeaderValue, client: IpAddr) -> String {
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.insert(HOST, host);
    join_cookies(headers);
    let forwarded_for = match joined(headers, &FORWARDED_FOR) {
        Some(before) => format!("{before}, {client}"),
        None => client.to_string(),
    };
    if let Ok(value) = HeaderValue::from_str(&forwarded_for) {
        headers.insert(FORWARDED_FOR, value);
    }
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    forwarded_for
}

/// HTTP/2 may split cookies over several headers; HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    if let Ok(value) = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice())) {
        headers.insert(COOKIE, value);
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn headers_of_one_connection_are_removed() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("x-kept", "1"),
        ]);
        remove_hop_by_hop(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["te", "x-kept"]);
    }

    #[test]
    fn a_request_id_is_kept_when_it_is_harmless_and_made_otherwise() {
        let mut map = headers(&[("x-request-id", "abc-1.2_3")]);
        assert_eq!(ensure_request_id(&mut map), "abc-1.2_3");
        for hostile in ["a; Domain=example.com", "", "a b"] {
            let mut map = headers(&[]);
            map.insert(REQUEST_ID, HeaderValue::from_str(hostile).unwrap());
            let made = ensure_request_id(&mut map);
            assert!(uuid::Uuid::parse_str(&made).is_ok());
            assert_eq!(map[REQUEST_ID], made.as_str());
        }
    }

    #[test]
    fn of_several_request_ids_none_is_kept() {
        let mut map = headers(&[("x-request-id", "a"), ("x-request-id", "b")]);
        let made = ensure_request_id(&mut map);
        let left: Vec<_> = map.get_all(REQUEST_ID).iter().collect();
        assert_eq!(left, [made.as_str()]);
    }

    #[test]
    fn the_client_is_added_to_x_forwarded_for_and_cookies_are_joined() {
        let mut map = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("expect", "100-continue"),
        ]);
        let client = IpAddr::from([127, 0, 0, 1]);
        let forwarded = prepare_request(&mut map, HeaderValue::from_static("h"), client);
        assert_eq!(forwarded, "10.0.0.1, 127.0.0.1");
        assert_eq!(map[FORWARDED_FOR], forwarded.as_str());
        assert_eq!(map[COOKIE], "a=1; b=2");
        assert_eq!(map[HOST], "h");
        assert!(!map.contains_key(EXPECT));
    }
}
