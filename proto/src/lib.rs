//! The generated types of Slipway's gRPC APIs and events, and nothing else.
//!
//! The `.proto` files under `slipway/` are the contract and carry its documentation. Every message
//! implements [`prost::Name`], so that it can be found in [`FILE_DESCRIPTOR_SET`] by its full name.

#![allow(clippy::all, clippy::pedantic, missing_docs)]

/// The descriptors of every file, with those that they import, for reflection and ProtoJSON.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Types that more than one service speaks of.
pub mod common {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.common.v1");
    }
}

/// Models, versions, artifacts and aliases.
pub mod registry {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.registry.v1");
    }
}

/// Suites and evaluations.
pub mod evaluator {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.evaluator.v1");
    }
}

/// Environments, endpoints, rollouts and rules.
pub mod deployer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.deployer.v1");
    }
}

/// Verdicts, alerts and channels.
pub mod detector {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.detector.v1");
    }
}

/// The data of events, and the service that shows them.
pub mod event {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("slipway.event.v1");
    }
}
