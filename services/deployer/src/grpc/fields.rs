//! Fields that many messages have: times, durations, actors, texts, pages, request ids.

use std::time::Duration;

use prost::{Message, Name};
use slipway_platform::clock::{Timestamp, duration_from_proto};
use slipway_platform::error::{Result, Violations};
use slipway_platform::names::NameError;
use slipway_platform::paging::Page;
use slipway_platform::requests;
use slipway_proto::common::v1 as common;

use crate::domain::resources::Actor;
use crate::service::{Cause, Retry};

/// The longest reason, description or tag text.
pub const TEXT_MAX: usize = 4_096;
const REQUEST_ID_MAX: usize = 128;

/// A time, as messages write it.
pub fn time(time: Timestamp) -> Option<prost_types::Timestamp> {
    Some(time.to_proto())
}

/// An actor, as messages write it.
pub fn actor(actor: &Actor) -> Option<common::Actor> {
    Some(common::Actor {
        kind: actor.kind.clone(),
        name: actor.name.clone(),
    })
}

/// The duration of a field; `default` when it is absent. Negative and too long ones are violations.
pub fn duration(
    field: &str,
    value: Option<&prost_types::Duration>,
    default: Duration,
    most: Duration,
    violations: &mut Violations,
) -> Duration {
    let Some(value) = value else { return default };
    match duration_from_proto(value) {
        Some(duration) if duration <= most => duration,
        Some(_) => {
            violations.push(field, format!("must be at most {} s", most.as_secs()));
            default
        }
        None => {
            violations.push(field, "must not be negative");
            default
        }
    }
}

/// A duration for which 0 means the default.
pub fn duration_or(
    field: &str,
    value: Option<&prost_types::Duration>,
    default: Duration,
    most: Duration,
    violations: &mut Violations,
) -> Duration {
    let given = duration(field, value, default, most, violations);
    if given.is_zero() { default } else { given }
}

/// A text of bounded length.
pub fn text(field: &str, value: &str, violations: &mut Violations) -> String {
    violations.require(
        value.len() <= TEXT_MAX,
        field,
        format!("must have at most {TEXT_MAX} bytes"),
    );
    value.to_owned()
}

/// A text that must be there.
pub fn required_text(field: &str, value: &str, violations: &mut Violations) -> String {
    violations.require(!value.trim().is_empty(), field, "must be given");
    text(field, value, violations)
}

/// A name that may be left out.
pub fn optional_name<T: std::str::FromStr<Err = NameError>>(
    field: &str,
    value: &str,
    violations: &mut Violations,
) -> Option<T> {
    if value.is_empty() {
        return None;
    }
    slipway_platform::names::parse(field, value, violations)
}

/// A name, parsed by itself.
pub fn name<T: std::str::FromStr<Err = NameError>>(field: &str, value: &str) -> Result<T> {
    let mut violations = Violations::new();
    let parsed = slipway_platform::names::parse(field, value, &mut violations);
    violations.into_result()?;
    // Without a violation there is a value.
    parsed.ok_or_else(|| slipway_platform::Error::invalid(field, "must be given"))
}

/// Where a page begins and how long it is; `query` is what decides what is listed.
pub fn page(page_size: i32, page_token: &str, query: &[&str]) -> Result<Page> {
    Page::parse(page_size, page_token, query)
}

/// Whoever calls, with their reason. Nobody is authenticated on loopback.
pub fn person(reason: &str) -> Cause {
    Cause::person(Actor::local_admin(), reason)
}

/// What makes a retry the same request. `request` must have its id taken out.
pub fn retry<M: Message + Name>(
    method: &'static str,
    request_id: &str,
    request: &M,
    violations: &mut Violations,
) -> Retry {
    let fits = request_id.len() <= REQUEST_ID_MAX;
    violations.require(
        fits,
        "request_id",
        format!("must have at most {REQUEST_ID_MAX} bytes"),
    );
    let fingerprint = requests::fingerprint(request).unwrap_or_else(|error| {
        violations.push(
            "",
            format!("the request cannot be written as JSON: {error}"),
        );
        Vec::new()
    });
    Retry {
        method,
        request_id: request_id.to_owned(),
        fingerprint,
    }
}
