//! Settings in layers: the commented defaults, then a file, then `SLIPWAY__SECTION__KEY`.
//!
//! One file serves all services: each reads its own section (`[registry]`, `[failure_detector]`, …).
//! Keys that nobody knows are refused, and all problems are reported at once, each with the layer that
//! it came from. [`Secret`] keeps credentials out of logs. [`bind`] opens a listener so that a failure
//! names the address and the setting to change.

mod bind;
mod layers;
mod secret;

use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Violations};
pub use bind::bind;
pub use secret::Secret;

/// What every environment variable that is a setting begins with.
pub const ENV_PREFIX: &str = "SLIPWAY__";

/// The sections that a settings file may have.
pub const SECTIONS: &[&str] = &[
    "registry",
    "evaluator",
    "deployer",
    "failure_detector",
    "gateway",
    "console",
    "slipway",
    "telemetry",
];

/// Settings that can say what is wrong with them beyond their types.
pub trait Validate {
    /// Notes every problem; the field is the path of the setting within its section.
    fn validate(&self, problems: &mut Violations);
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One line for each problem, with where it came from.
    pub problems: Vec<String>,
}

impl ConfigError {
    fn one(problem: impl Into<String>) -> Self {
        Self {
            problems: vec![problem.into()],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => f.write_str(only),
            many => {
                write!(f, "{} problems with the settings", many.len())?;
                many.iter()
                    .try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let mut violations = Violations::new();
        for problem in error.problems {
            violations.push("settings", problem);
        }
        Error::Invalid(violations)
    }
}

/// Loads the settings of one section, or a whole document when `section` is `None`.
///
/// `defaults` is the TOML of `deploy/config/`, either the section itself or a document with it. `env` is
/// what `std::env::vars()` gives; variables of other sections are passed over.
pub fn load<T: DeserializeOwned + Validate>(
    defaults: &str,
    section: Option<&str>,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut problems = Vec::new();
    let base = layers::defaults(defaults, section)?;
    let mut overrides = Vec::new();
    if let Some(path) = file {
        overrides.extend(layers::from_file(path, section, &mut problems)?);
    }
    overrides.extend(layers::from_env(env, section, &base, &mut problems));
    let value: Option<T> = layers::merge(base, overrides, &mut problems);
    if let Some(value) = &value {
        let mut violations = Violations::new();
        value.validate(&mut violations);
        let prefix = section.map(|s| format!("{s}.")).unwrap_or_default();
        problems.extend(
            violations
                .iter()
                .map(|v| format!("{prefix}{}: {}", v.field, v.description)),
        );
    }
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(ConfigError { problems }),
    }
}

#[cfg(test)]
mod tests;
