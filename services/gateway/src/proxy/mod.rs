//! Serving: from an accepted connection to the last byte of the answer.
//!
//! [`server`] accepts, limits and drains connections; [`handler`] takes one request through routing;
//! [`forward`] sends it upstream and decides what a failure means; [`request_body`] and
//! [`response_body`] stream, count and time both directions; [`headers`] and [`reply`] are the small
//! parts. Nothing is buffered: a body is passed on frame by frame, and a slow side holds back the other.

mod forward;
mod handler;
mod headers;
mod idle;
mod reply;
mod request_body;
mod response_body;
mod server;

pub use handler::{Proxy, ProxySettings};
pub use request_body::{RequestBody, RequestProgress};
pub use response_body::ResponseBody;
pub use server::{ServerSettings, serve};

/// What a body fails with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
