//! What is judged.

use std::fmt;

use slipway_platform::names::{EndpointName, RevisionName, RolloutName};
use slipway_statistics::sequential::Arm;

/// A candidate on an endpoint, perhaps in a rollout, perhaps against a stable revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// The rollout; none: the steady watch of the serving revision.
    pub rollout: Option<RolloutName>,
    /// The revision that is judged.
    pub candidate: RevisionName,
    /// What it is compared with; none: only absolute rules apply.
    pub stable: Option<RevisionName>,
}

/// What a watch is known by: one for each rollout, and one steady one for each endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKey {
    /// The watch of a rollout.
    Rollout(RolloutName),
    /// The steady watch of an endpoint.
    Steady(EndpointName),
}

impl WatchKey {
    /// The endpoint that is watched.
    pub fn endpoint(&self) -> &EndpointName {
        match self {
            WatchKey::Rollout(rollout) => rollout.endpoint(),
            WatchKey::Steady(endpoint) => endpoint,
        }
    }
}

impl Subject {
    /// What its watch is known by.
    pub fn key(&self) -> WatchKey {
        match &self.rollout {
            Some(rollout) => WatchKey::Rollout(rollout.clone()),
            None => WatchKey::Steady(self.endpoint.clone()),
        }
    }

    /// The arm that a revision of the endpoint is, if it is one.
    pub fn arm(&self, revision: &RevisionName) -> Option<Arm> {
        if *revision == self.candidate {
            Some(Arm::Candidate)
        } else if self.stable.as_ref() == Some(revision) {
            Some(Arm::Stable)
        } else {
            None
        }
    }
}

impl fmt::Display for WatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchKey::Rollout(rollout) => rollout.fmt(f),
            WatchKey::Steady(endpoint) => endpoint.fmt(f),
        }
    }
}
