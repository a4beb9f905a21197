//! What a channel may point at, and how it is shown.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use slipway_platform::config::Secret;
use slipway_platform::{Result, Violations};

use super::secrets::is_reference;
use crate::domain::channel::Target;

const URL_LENGTH_MAX: usize = 2_048;
/// A signing key has this many bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Refuses a target that can never work. References are checked when they are resolved.
pub fn check(target: &Target) -> Result<()> {
    let mut violations = Violations::new();
    match target {
        Target::Webhook { url, signing } => {
            check_url("channel.webhook.url", url, &mut violations);
            let value = signing.expose();
            if !is_reference(value) && signing_key(value).is_none() {
                violations.push(
                    "channel.webhook.secret",
                    "must be whsec_ and base64 of 24 to 64 bytes, or a reference env:NAME or file:PATH",
                );
            }
        }
        Target::Teams { url } => check_url("channel.teams.url", url, &mut violations),
    }
    violations.into_result()
}

fn check_url(field: &str, url: &Secret, violations: &mut Violations) {
    if !is_reference(url.expose())
        && let Err(problem) = parse_url(url)
    {
        violations.push(field, problem);
    }
}

/// The address to send to. The error never quotes it.
pub(super) fn parse_url(url: &Secret) -> Result<Url, String> {
    let text = url.expose();
    if text.is_empty() || text.len() > URL_LENGTH_MAX {
        return Err(format!(
            "must be a URL of at most {URL_LENGTH_MAX} characters"
        ));
    }
    let parsed = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    let Some(host) = parsed.host_str() else {
        return Err("must name a host".to_owned());
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    if address.is_ok_and(is_forbidden) {
        return Err(
            "must not be a link-local, metadata, multicast or unspecified address".to_owned(),
        );
    }
    Ok(parsed)
}

/// Where AWS serves an instance's credentials over IPv6: `fd00:ec2::254`, not link-local.
const CLOUD_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Addresses that are never a person's receiver: link-local ones, where clouds keep their credentials, among them.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_multicast() || v4.is_unspecified() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_forbidden(IpAddr::V4(v4)),
            None => {
                v6.is_unicast_link_local()
                    || v6.is_multicast()
                    || v6.is_unspecified()
                    || v6 == CLOUD_METADATA_V6
            }
        },
    }
}

/// The key of a `whsec_…` secret.
pub(super) fn signing_key(secret: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    KEY_BYTES.contains(&key.len()).then_some(key)
}

/// An address without what may be secret in it: user, password, path, query and fragment (many receivers keep their
/// key in the path). A reference is shown as it is.
pub fn shown_url(url: &Secret) -> String {
    let text = url.expose();
    if is_reference(text) {
        return text.to_owned();
    }
    let Ok(mut parsed) = Url::parse(text) else {
        return String::new();
    };
    parsed.set_path("");
    parsed.set_query(None);
    parsed.set_fragment(None);
    if parsed.set_username("").is_err() || parsed.set_password(None).is_err() {
        return String::new();
    }
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str, signing: &str) -> usize {
        let target = Target::Webhook {
            url: Secret::new(url),
            signing: Secret::new(signing),
        };
        match check(&target) {
            Ok(()) => 0,
            Err(slipway_platform::Error::Invalid(violations)) => violations.iter().count(),
            Err(other) => panic!("{other}"),
        }
    }

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn only_what_can_work_is_taken() {
        assert_eq!(problems("https://example.com/hook?token=x", KEY), 0);
        assert_eq!(problems("http://127.0.0.1:9/hook", "env:HOOK_SECRET"), 0);
        assert_eq!(
            problems("file:/run/secrets/url", "file:/run/secrets/key"),
            0
        );
        for url in [
            "",
            "ftp://example.com",
            "example.com",
            "http://169.254.169.254/latest",
            "http://[fe80::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://0.0.0.0/",
            "http://[fd00:ec2::254]/latest",
            "http://2852039166/",
        ] {
            assert_eq!(problems(url, KEY), 1, "{url}");
        }
        for secret in ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64"] {
            assert_eq!(problems("https://example.com", secret), 1, "{secret}");
        }
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let shown = shown_url(&Secret::new("https://user:pass@example.com/hook?token=x#y"));
        assert_eq!(shown, "https://example.com/");
        assert_eq!(shown_url(&Secret::new("env:HOOK_URL")), "env:HOOK_URL");
        assert_eq!(shown_url(&Secret::new("not a url")), "");
    }
}
