//! The deployer over real gRPC, with its real database, event log, loops and xDS server. Around it: a driver
//! that only pretends to run things, proxies that only accept routes, and stand-ins for the registry, the
//! evaluator and the failure-detector that answer what a test tells them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod anomalies;
mod evidence;
mod expiry;
mod external;
mod input;
mod lifecycle;
mod people;
mod restarts;
mod restored;
mod rollouts;
mod rules;
mod support;
mod takeover;
mod wins;
