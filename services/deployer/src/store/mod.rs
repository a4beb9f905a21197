//! Plain SQL, one file per aggregate. Functions take a connection, so that they serve a reader and a
//! transaction alike; a decision is the caller's transaction.
//!
//! Documents are JSON of the domain's types. Invariants: a row with a generation is saved by generation; the
//! audit and the history of traffic are only appended to.

pub mod alerts;
pub mod audit;
pub mod blocks;
pub mod endpoints;
pub mod environments;
pub mod proxies;
pub mod revisions;
pub mod rollouts;
pub mod routes;
pub mod rules;
pub mod signals;
pub mod traffic;
pub mod work;

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_platform::migrate::Migrations;
use slipway_platform::{Error, Result};

/// The deployer's tables.
pub static MIGRATIONS: Migrations = Migrations {
    name: "deployer",
    steps: &[
        ("0001_init", include_str!("../../migrations/0001_init.sql")),
        (
            "0002_replicas",
            include_str!("../../migrations/0002_replicas.sql"),
        ),
        (
            "0003_routes_stamps",
            include_str!("../../migrations/0003_routes_stamps.sql"),
        ),
    ],
};

fn to_text<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("write a stored document", error))
}

fn from_text<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::internal("read a stored document", error))
}

/// The rows that can be read. Of the others it is said that a person must look: one of them must not hold up the rest.
fn readable<R, T>(
    rows: Vec<R>,
    name: impl Fn(&R) -> &String,
    read: impl Fn(R) -> Result<T>,
) -> Vec<T> {
    let readable = rows.into_iter().filter_map(|row| {
        let name = name(&row).clone();
        read(row)
            .inspect_err(|error| tracing::error!(name, %error, "what is stored is not readable"))
            .ok()
    });
    readable.collect()
}

fn stored_name<T: FromStr>(text: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse()
        .map_err(|error: T::Err| Error::internal("read a stored name", error))
}
