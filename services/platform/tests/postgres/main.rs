//! What only PostgreSQL does. Not part of a plain `cargo test`, since it needs a server:
//! `deploy/local/stack test`, or `SLIPWAY_TEST_POSTGRES=postgres://… cargo test --workspace --test postgres`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod leases;
mod relays;
mod storage;
