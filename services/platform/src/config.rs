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
pub use bind::{bind, check, url_of};
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
    "event_bus",
];

/// Settings that can say what is wrong with them beyond their types.
pub trait Validate {
    /// Notes every problem; the field is the path of the setting within its section.
    fn validate(&self, problems: &mut Violations);

    /// The same for a section within a section: fields are named `section.field`.
    fn validate_in(&self, section: &str, problems: &mut Violations) {
        let mut found = Violations::new();
        self.validate(&mut found);
        for violation in found.iter() {
            let field = format!("{section}.{}", violation.field);
            problems.push(field, violation.description.clone());
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One line for each problem, with where it came from.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// One problem.
    pub fn one(problem: impl Into<String>) -> Self {
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

/// Reads several sections, and collects everything that is wrong with any of them.
#[derive(Debug)]
pub struct Sections<'a> {
    file: Option<&'a Path>,
    env: Vec<(String, String)>,
    problems: Vec<String>,
}

impl<'a> Sections<'a> {
    /// Of this file and these environment variables.
    pub fn new(
        file: Option<&'a Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Sections<'a> {
        Self {
            file,
            env: env.into_iter().collect(),
            problems: Vec::new(),
        }
    }

    /// One section, as [`load`] reads it; `None` when something is wrong with it.
    pub fn read<T: DeserializeOwned + Validate>(
        &mut self,
        defaults: &str,
        section: &str,
    ) -> Option<T> {
        load(defaults, Some(section), self.file, self.env.iter().cloned())
            .map_err(|error| self.note(error))
            .ok()
    }

    /// Notes what else is wrong. What is wrong with the file as a whole is found by every section, and noted once.
    pub fn note(&mut self, error: ConfigError) {
        for problem in error.problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    /// Fails with everything that is wrong.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError {
            problems: self.problems,
        })
    }
}

#[cfg(test)]
mod tests;
