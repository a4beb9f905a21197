//! Resource names as types: what is parsed is valid, and what is valid prints as it was parsed.
//!
//! A name is a list of `collection/id` pairs. Each type knows its parents by reference:
//! `version.model()`, `version.workspace()`, and `parent()` for the nearest. `id()` is the last part.
//! Every name orders and hashes by its text's parts, and is written as a string by serde.

mod define;
mod id;
mod numbered;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

pub use id::{Digest, Id};
pub use numbered::{RevisionName, VersionName};

use crate::error::{Error, Violations};
use define::{child_name, root_name};

root_name!(
    /// A namespace of models: `workspaces/{workspace}`.
    WorkspaceName, "workspaces"
);
child_name!(
    /// A named family of versions: `workspaces/{workspace}/models/{model}`.
    ModelName { workspace: WorkspaceName }, "models", Id, "{model}"
);
child_name!(
    /// A movable name for a version: `workspaces/{workspace}/models/{model}/aliases/{alias}`.
    AliasName { model: ModelName => workspace: WorkspaceName }, "aliases", Id, "{alias}"
);
child_name!(
    /// Bytes with a digest: `workspaces/{workspace}/artifacts/sha256:{64 hex digits}`.
    ArtifactName { workspace: WorkspaceName }, "artifacts", Digest, "sha256:{64 hex digits}"
);
child_name!(
    /// What to evaluate and what must hold: `workspaces/{workspace}/suites/{suite}`.
    SuiteName { workspace: WorkspaceName }, "suites", Id, "{suite}"
);
child_name!(
    /// One run of a suite: `workspaces/{workspace}/evaluations/{uuid}`.
    EvaluationName { workspace: WorkspaceName }, "evaluations", Uuid, "{uuid}"
);
root_name!(
    /// Where endpoints live: `environments/{environment}`.
    EnvironmentName, "environments"
);
child_name!(
    /// A named serving address: `environments/{environment}/endpoints/{endpoint}`.
    EndpointName { environment: EnvironmentName }, "endpoints", Id, "{endpoint}"
);
child_name!(
    /// A move from stable to candidate: `environments/{environment}/endpoints/{endpoint}/rollouts/{uuid}`.
    RolloutName { endpoint: EndpointName => environment: EnvironmentName }, "rollouts", Uuid, "{uuid}"
);
child_name!(
    /// "May not run here": `environments/{environment}/endpoints/{endpoint}/blocks/{uuid}`.
    BlockName { endpoint: EndpointName => environment: EnvironmentName }, "blocks", Uuid, "{uuid}"
);
child_name!(
    /// A deduplicated anomaly: `environments/{environment}/endpoints/{endpoint}/alerts/{uuid}`.
    AlertName { endpoint: EndpointName => environment: EnvironmentName }, "alerts", Uuid, "{uuid}"
);
root_name!(
    /// "On this event, do this": `rules/{rule}`.
    RuleName, "rules"
);
root_name!(
    /// Where notifications go: `channels/{channel}`.
    ChannelName, "channels"
);

/// A text that is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    form: String,
    why: String,
}

impl NameError {
    fn new(form: &str, why: impl Into<String>) -> Self {
        Self {
            form: form.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must have the form {}: {}", self.form, self.why)
    }
}

impl std::error::Error for NameError {}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Error::invalid("name", error.to_string())
    }
}

/// A type that is written as a resource name.
pub trait ResourceName: FromStr<Err = NameError> + fmt::Display {
    /// The form of such a name, for error messages.
    fn form() -> String;
}

/// Parses `value` as the field `field` of a request, or notes what is wrong with it.
pub fn parse<T: FromStr<Err = NameError>>(
    field: &str,
    value: &str,
    violations: &mut Violations,
) -> Option<T> {
    match value.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            violations.push(field, NameError::to_string(&error));
            None
        }
    }
}

/// Splits `{parent}/{collection}/{id}`; a root has an empty parent.
fn split<'a>(
    value: &'a str,
    collection: &str,
    form: &str,
) -> Result<(&'a str, &'a str), NameError> {
    let mut parts = value.rsplitn(3, '/');
    let id = parts.next().unwrap_or_default();
    let found = parts.next();
    let parent = parts.next().unwrap_or_default();
    match found {
        Some(found) if found == collection => Ok((parent, id)),
        _ if value.is_empty() => Err(NameError::new(form, "it is empty")),
        _ => Err(NameError::new(form, format!("found {}", shorten(value)))),
    }
}

/// At most 80 characters of what a client sent, quoted, for an error message.
fn shorten(value: &str) -> String {
    const SHOWN_MAX: usize = 80;
    if value.chars().count() <= SHOWN_MAX {
        return format!("{value:?}");
    }
    let head: String = value.chars().take(SHOWN_MAX).collect();
    format!("{head:?}…")
}

#[cfg(test)]
mod tests;
