//! Suites and evaluations in the database: plain SQL beside documents.
//!
//! A document is the JSON of the domain's record. Functions take a connection, so that a service decides
//! what is one transaction.

pub mod evaluations;
pub mod suites;

use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_platform::migrate::Migrations;
use slipway_platform::{Error, Result};

/// The evaluator's tables.
pub static MIGRATIONS: Migrations = Migrations {
    name: "evaluator",
    steps: &[("0001_init", include_str!("../../migrations/0001_init.sql"))],
};

fn write<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(|error| Error::internal("write a document", error))
}

fn read<T: DeserializeOwned>(document: &[u8]) -> Result<T> {
    serde_json::from_slice(document).map_err(|error| Error::internal("read a document", error))
}

#[cfg(test)]
mod tests;
