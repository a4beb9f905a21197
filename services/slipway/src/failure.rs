//! How a command ends: its exit code, and what is said when it fails.
//!
//! A refusal by a service is read by its typed details, so that the message names the field or the
//! precondition and what to do next. Messages go to standard error, as text or as one JSON object.

mod advice;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use slipway_platform::config::ConfigError;
use slipway_platform::error::Error;
use tonic::Status;
use tonic_types::StatusExt;

use crate::output::{Format, plain};

/// How a command ended when nothing went wrong with the command itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; where a verdict was waited for, it is good.
    Ok,
    /// A program that was run ended with a failure of its own.
    Failed,
    /// An evaluation is FAIL, or a rollout was rolled back.
    Fail,
    /// An evaluation is INCONCLUSIVE.
    Inconclusive,
    /// An evaluation is ERROR, or a rollout FAILED.
    Error,
}

impl Exit {
    /// The code, as `--help` explains it.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Fail => 3,
            Exit::Inconclusive => 4,
            Exit::Error => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl From<ExitCode> for Exit {
    fn from(code: ExitCode) -> Self {
        if code == ExitCode::SUCCESS {
            Exit::Ok
        } else {
            Exit::Failed
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line, a file or a name is wrong. Exit code 2.
    Usage(String),
    /// A service refused, or could not be reached. Exit code 1.
    Refused(Box<Status>),
    /// Anything else. Exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    /// The command line, a file or a name is wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Failure::Usage(what.into())
    }

    /// `error`, while doing `what`.
    pub fn other(what: impl Into<String>, error: impl Into<anyhow::Error>) -> Self {
        Failure::Other(error.into().context(what.into()))
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Refused(_) | Failure::Other(_) => 1,
        }
    }

    /// Says it on standard error and gives the exit code.
    pub fn report(&self, format: Format) -> ExitCode {
        let text = match format {
            Format::Table => plain(&self.text()),
            Format::Json => self.json().to_string(),
        };
        // There is nobody left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
        ExitCode::from(self.code())
    }

    /// What a person reads.
    fn text(&self) -> String {
        match self {
            Failure::Usage(what) => format!("error: {what}"),
            Failure::Other(error) => format!("error: {error:#}"),
            Failure::Refused(status) => {
                let mut text = format!("error: {}", first_line(status));
                for (field, description) in fields(status) {
                    text.push_str(&format!("\n  {field}: {description}"));
                }
                for advice in advice::next(status) {
                    text.push_str(&format!("\n  → {advice}"));
                }
                text
            }
        }
    }

    /// What a script reads.
    fn json(&self) -> Value {
        match self {
            Failure::Usage(what) => json!({"error": {"code": "USAGE", "message": what}}),
            Failure::Other(error) => {
                json!({"error": {"code": "FAILED", "message": format!("{error:#}")}})
            }
            Failure::Refused(status) => {
                let details = status.get_error_details();
                let violations: Vec<_> = fields(status)
                    .into_iter()
                    .map(|(field, description)| json!({"field": field, "description": description}))
                    .collect();
                json!({"error": {
                    "code": code_name(status),
                    "reason": details.error_info().map(|info| info.reason.clone()),
                    "message": status.message(),
                    "fieldViolations": violations,
                    "resource": details.resource_info().map(|resource| resource.resource_name.clone()),
                    "next": advice::next(status),
                }})
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        f.write_str(text.strip_prefix("error: ").unwrap_or(&text))
    }
}

impl std::error::Error for Failure {}

fn first_line(status: &Status) -> String {
    match (fields(status).is_empty(), status.message()) {
        (false, _) => "the request is invalid".to_owned(),
        (true, "") => format!("{:?}", status.code()),
        (true, message) => message.to_owned(),
    }
}

fn fields(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    violations
        .into_iter()
        .map(|v| (v.field, v.description))
        .collect()
}

/// The code's name as gRPC writes it, such as `FAILED_PRECONDITION`.
fn code_name(status: &Status) -> String {
    let mut name = String::new();
    for c in format!("{:?}", status.code()).chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Failure::Refused(Box::new(status))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Internal { context, source } => {
                Failure::Other(anyhow::anyhow!("{context}: {source}"))
            }
            error => Failure::Refused(Box::new(error.into())),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Status>() {
            Ok(status) => status.into(),
            Err(error) => Failure::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_platform::error::Violations;

    use super::*;

    #[test]
    fn field_violations_are_told_one_by_one() {
        let mut violations = Violations::new();
        violations.push("model_id", "must be lower-case");
        violations.push("parent", "must have the form workspaces/{workspace}");
        let failure = Failure::from(Error::Invalid(violations));
        assert_eq!(
            failure.text(),
            "error: the request is invalid\n  model_id: must be lower-case\n  parent: must have the form workspaces/{workspace}"
        );
        assert_eq!(failure.code(), 1);
    }

    #[test]
    fn a_precondition_says_what_to_do_next() {
        let error = Error::precondition(
            "PINNED",
            "environments/production/endpoints/tumor",
            "the endpoint is pinned",
        );
        let failure = Failure::from(error);
        assert!(failure.text().contains("--unpin"), "{}", failure.text());
        assert_eq!(failure.json()["error"]["code"], "FAILED_PRECONDITION");
        assert_eq!(failure.json()["error"]["reason"], "PINNED");
    }

    #[test]
    fn advice_names_the_endpoint_and_nothing_else() {
        let running = Error::precondition(
            "ROLLOUT_RUNNING",
            "environments/production/endpoints/tumor",
            "one runs",
        );
        assert!(
            Failure::from(running)
                .text()
                .contains("rollout abort production/tumor")
        );
        let blocked = Error::precondition(
            "BLOCKED",
            "workspaces/dev/models/tumor/versions/3",
            "it is blocked",
        );
        assert!(
            Failure::from(blocked)
                .text()
                .contains("blocks list ENDPOINT")
        );
    }

    #[test]
    fn an_unreachable_service_says_how_to_start_it() {
        let text = Failure::from(Error::unavailable("tcp connect error")).text();
        assert!(text.contains("slipway up"), "{text}");
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        let codes = [
            Exit::Ok,
            Exit::Failed,
            Exit::Fail,
            Exit::Inconclusive,
            Exit::Error,
        ]
        .map(Exit::code);
        assert_eq!(codes, [0, 1, 3, 4, 5]);
        assert_eq!(Failure::usage("x").code(), 2);
    }
}
