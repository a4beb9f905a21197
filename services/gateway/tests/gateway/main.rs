//! The gateway as a whole: real sockets on both sides, a fake control plane and a fake log service.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod access_log;
mod configuration;
mod draining;
mod failures;
mod routing;
mod support;
mod traffic;
