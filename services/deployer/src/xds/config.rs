//! Settings of the control plane and of what it tells the proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use slipway_platform::config::Validate;
use slipway_platform::error::Violations;

/// Settings of the xDS server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XdsConfig {
    /// Where proxies listen for requests. The embedded gateway listens where its own setting says.
    pub listener_address: SocketAddr,
    /// A proxy that was lost is waited for this long; after it, it does not count.
    pub proxy_lease_seconds: u64,
    /// A connection to a revision that takes longer has failed.
    pub connect_timeout_millis: u64,
    /// A request that takes longer, its answer included, is answered 504.
    pub route_timeout_seconds: u64,
    /// How long a browser keeps the cookie that keeps it on one revision.
    pub cookie_max_age_seconds: u64,
    /// Streams at once; further ones are refused.
    pub streams_max: usize,
}

impl Default for XdsConfig {
    fn default() -> Self {
        Self {
            listener_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            proxy_lease_seconds: 30,
            connect_timeout_millis: 1_000,
            route_timeout_seconds: 60,
            cookie_max_age_seconds: 7 * 24 * 60 * 60,
            streams_max: 10_000,
        }
    }
}

impl XdsConfig {
    pub(crate) fn proxy_lease(&self) -> Duration {
        Duration::from_secs(self.proxy_lease_seconds)
    }
}

impl Validate for XdsConfig {
    fn validate(&self, problems: &mut Violations) {
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            let holds = (least..=most).contains(&value);
            problems.require(
                holds,
                key,
                format!("must be between {least} and {most}, and is {value}"),
            );
        };
        within("proxy_lease_seconds", self.proxy_lease_seconds, 1, 86_400);
        within(
            "connect_timeout_millis",
            self.connect_timeout_millis,
            1,
            60_000,
        );
        within(
            "route_timeout_seconds",
            self.route_timeout_seconds,
            1,
            86_400,
        );
        within(
            "cookie_max_age_seconds",
            self.cookie_max_age_seconds,
            60,
            31_536_000,
        );
        within("streams_max", self.streams_max as u64, 1, 1_000_000);
    }
}
