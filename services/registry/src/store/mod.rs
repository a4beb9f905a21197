//! The registry's tables and its artifact store; one file per table.
//!
//! Versions and models are stored as the API's own messages beside the columns that are searched, so that
//! reading one is a single query by its key with nothing to assemble. Functions take a connection or a
//! transaction; only the service decides what belongs to one transaction.

pub mod aliases;
pub mod artifacts;
pub mod blobs;
pub mod list;
pub mod models;
pub mod versions;

use slipway_platform::{Error, migrate::Migrations};

/// The tables of the registry; the name is also its event source, `//slipway/registry`.
pub static MIGRATIONS: Migrations = Migrations {
    name: "registry",
    steps: &[("0001_init", include_str!("../../migrations/0001_init.sql"))],
};

fn corrupt(error: prost::DecodeError) -> Error {
    Error::internal("stored document", error)
}
