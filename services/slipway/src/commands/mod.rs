//! The commands for people, one file for each group.
//!
//! Each makes names full, calls one service, and shows the answer. What may be repeated safely carries a
//! request id; what waits follows a stream and survives a restart of the service.

pub mod alerts;
pub mod alias;
pub mod blocks;
pub mod deploy;
pub mod endpoint;
pub mod environment;
pub mod evaluate;
pub mod events;
pub mod model;
pub mod rollback;
pub mod rollout;
pub mod rules;
pub mod storage;
pub mod suite;
pub mod traffic;
pub mod upload;
pub mod version;

use std::collections::HashMap;

use slipway_proto::common::v1::Actor;

use crate::failure::Failure;

/// `key=value` flags as a map; a key that comes twice is refused.
fn map<V>(pairs: &[(String, V)], flag: &str) -> Result<HashMap<String, V>, Failure>
where
    V: Clone,
{
    let mut map = HashMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("{flag} names {key:?} twice")));
        }
    }
    Ok(map)
}

/// Reads a `key=value` flag.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must have the form key=value".to_owned()),
    }
}

/// Reads a `key=number` flag.
fn number_pair(text: &str) -> Result<(String, f64), String> {
    let (key, value) = pair(text)?;
    let number: f64 = value
        .parse()
        .map_err(|_| format!("{value:?} is not a number"))?;
    Ok((key, number))
}

/// Who, as people read it.
fn who(actor: &Option<Actor>) -> String {
    match actor {
        Some(actor) if actor.kind.is_empty() || actor.kind == "user" => actor.name.clone(),
        Some(actor) => format!("{} {}", actor.kind, actor.name)
            .trim_end()
            .to_owned(),
        None => String::new(),
    }
}

/// A number that is left out when it is zero.
fn unless_zero(number: i64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}
