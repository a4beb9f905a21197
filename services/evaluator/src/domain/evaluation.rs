//! The record of one run of a suite on a version.

use serde::{Deserialize, Serialize};
use slipway_platform::clock::Timestamp;
use slipway_platform::names::{EvaluationName, SuiteName, VersionName};

use super::measured::Measured;
use super::reason::{Reason, Verdict};
use super::state::State;
use super::stored_time;
use super::suite::SuiteSpec;

/// One run of a suite on a version, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Its name.
    pub name: EvaluationName,
    /// The version.
    pub version: VersionName,
    /// The digest of the version that is evaluated. Evidence is bound to it.
    pub version_digest: String,
    /// The suite with its revision, and what it said then; absent when no suite runs on the model.
    pub suite: Option<SuiteUsed>,
    /// Who asked.
    pub requested_by: Actor,
    /// When it was asked for.
    #[serde(with = "stored_time")]
    pub create_time: Timestamp,
    /// When it first began.
    #[serde(with = "stored_time::option")]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "stored_time::option")]
    pub end_time: Option<Timestamp>,
    /// Where it is.
    pub state: State,
    /// How far reading has come.
    pub progress: Progress,
    /// The digest of the predictions that were read.
    pub predictions_digest: Option<String>,
    /// What was measured, once it was.
    pub measured: Option<Measured>,
    /// The W3C trace context in which it was asked for; whoever runs it goes on with that trace.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A suite as it was when an evaluation was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteUsed {
    /// The suite.
    pub name: SuiteName,
    /// Its revision.
    pub revision: i64,
    /// What it said.
    pub spec: SuiteSpec,
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `user` or `service`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Actor {
    /// A person without an identity: on loopback there is no authentication.
    pub fn local_admin() -> Self {
        Self {
            kind: "user".to_owned(),
            name: "local-admin".to_owned(),
        }
    }

    /// The event that a version was created.
    pub fn version_created() -> Self {
        Self {
            kind: "service".to_owned(),
            name: "version.created".to_owned(),
        }
    }
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Rows read.
    pub rows_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes to read.
    pub bytes_total: u64,
}

impl Evaluation {
    /// The verdict with its reasons, once it has ended.
    pub fn outcome(&self) -> Option<(Verdict, &[Reason])> {
        match &self.state {
            State::Completed {
                verdict, reasons, ..
            } => Some((*verdict, reasons)),
            State::Queued { .. } | State::Running { .. } => None,
        }
    }
}
