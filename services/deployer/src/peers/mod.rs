//! The other services, as the deployer asks them: the registry for versions and aliases, the evaluator for
//! evidence, the failure-detector for verdicts. Their protos end here.
//!
//! None of them is asked on the path of a rollback.

mod detector;
mod evaluator;
mod registry;

pub use detector::{Report, Subject};
pub use registry::Candidate;

use slipway_platform::Result;
use slipway_platform::grpc::{TracedChannel, channel};

/// Channels to the other services.
#[derive(Debug, Clone)]
pub struct Peers {
    registry: TracedChannel,
    evaluator: TracedChannel,
    detector: TracedChannel,
}

impl Peers {
    /// Lazy channels to these addresses.
    pub fn new(registry: &str, evaluator: &str, failure_detector: &str) -> Result<Self> {
        Ok(Self {
            registry: channel(registry)?,
            evaluator: channel(evaluator)?,
            detector: channel(failure_detector)?,
        })
    }

    /// The registry's channel, for whoever fetches artifacts.
    pub fn registry_channel(&self) -> TracedChannel {
        self.registry.clone()
    }
}
