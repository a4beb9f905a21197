//! The detector's tables; one file per table, plain SQL, the same text on SQLite and PostgreSQL.
//!
//! Functions take a connection or a transaction; only the service decides what belongs to one transaction.

pub mod alerts;
pub mod channels;
pub mod decisions;
pub mod deliveries;
mod documents;
pub mod judges;
mod select;
pub mod watches;

use slipway_platform::{Error, migrate::Migrations};

/// The tables; the name is also the event source, `//slipway/failure-detector`.
pub static MIGRATIONS: Migrations = Migrations {
    name: "failure-detector",
    steps: &[
        ("0001_init", include_str!("../../migrations/0001_init.sql")),
        (
            "0002_replicas",
            include_str!("../../migrations/0002_replicas.sql"),
        ),
    ],
};

/// A stored document that this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Corrupt {
    what: String,
}

impl Corrupt {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

impl From<Corrupt> for Error {
    fn from(error: Corrupt) -> Self {
        Error::internal("stored document", error)
    }
}

impl From<prost::DecodeError> for Corrupt {
    fn from(error: prost::DecodeError) -> Self {
        Self::new(error.to_string())
    }
}
