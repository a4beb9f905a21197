//! [`Error`] to `tonic::Status` with typed details, and back.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use super::intern::intern;
use super::{DOMAIN, Error, Violations};

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = code(&error);
        let mut metadata = HashMap::new();
        let mut details = ErrorDetails::new();
        match &error {
            Error::NotFound { kind, name } | Error::AlreadyExists { kind, name } => {
                details.set_resource_info(*kind, name, "", error.to_string());
            }
            Error::Conflict {
                name,
                current,
                reason,
            } => {
                metadata.insert("current".to_owned(), current.clone());
                metadata.insert("mismatch".to_owned(), reason.clone());
                details.set_resource_info("resource", name, "", reason);
            }
            Error::Precondition {
                reason,
                subject,
                description,
            } => {
                details.set_precondition_failure(vec![PreconditionViolation::new(
                    *reason,
                    subject,
                    description,
                )]);
            }
            Error::Invalid(violations) => {
                let fields: Vec<_> = violations
                    .iter()
                    .map(|v| FieldViolation::new(&v.field, &v.description))
                    .collect();
                details.set_bad_request(fields);
            }
            Error::Internal { context, source } => {
                tracing::error!(context, error = %chain(source.as_ref()), "internal error");
            }
            Error::OutOfRange { .. } => {}
            Error::Exhausted { what }
            | Error::Unavailable { what }
            | Error::Contended { what }
            | Error::OutcomeUnknown { what }
            | Error::DeadlineExceeded { what } => {
                metadata.insert("what".to_owned(), what.clone());
            }
        }
        details.set_error_info(error.reason(), DOMAIN, metadata);
        Status::with_error_details(code, error.to_string(), details)
    }
}

impl From<Status> for Error {
    /// Reads what another service answered. A status without Slipway's details keeps its meaning by its
    /// code; what the code does not explain is an outcome that nobody knows.
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let from_metadata = |key: &str| info.and_then(|i| i.metadata.get(key)).cloned();
        let message = status.message().to_owned();
        let what = || from_metadata("what").unwrap_or_else(|| message.clone());
        let resource = || match details.resource_info() {
            Some(r) => (
                intern(&r.resource_type, "resource"),
                r.resource_name.clone(),
            ),
            None => ("resource", message.clone()),
        };
        match status.code() {
            Code::NotFound => {
                let (kind, name) = resource();
                Error::NotFound { kind, name }
            }
            Code::AlreadyExists => {
                let (kind, name) = resource();
                Error::AlreadyExists { kind, name }
            }
            Code::Aborted => Error::Conflict {
                name: resource().1,
                current: from_metadata("current").unwrap_or_default(),
                reason: from_metadata("mismatch").unwrap_or_else(|| message.clone()),
            },
            Code::FailedPrecondition => precondition(&status, "FAILED_PRECONDITION"),
            Code::PermissionDenied => precondition(&status, "PERMISSION_DENIED"),
            Code::Unauthenticated => precondition(&status, "UNAUTHENTICATED"),
            Code::OutOfRange if info.is_some() => Error::OutOfRange {
                reason: info.map_or("OUT_OF_RANGE", |i| intern(&i.reason, "OUT_OF_RANGE")),
                description: message.clone(),
            },
            Code::InvalidArgument | Code::OutOfRange => Error::Invalid(violations(&status)),
            Code::ResourceExhausted => Error::Exhausted { what: what() },
            Code::Unavailable => Error::Unavailable { what: what() },
            Code::DeadlineExceeded => Error::DeadlineExceeded { what: what() },
            // The client's own time-out arrives as CANCELLED.
            Code::Cancelled if message == tonic::TimeoutExpired(()).to_string() => {
                Error::DeadlineExceeded { what: what() }
            }
            Code::Unknown | Code::Cancelled | Code::Ok => Error::OutcomeUnknown { what: what() },
            Code::Internal | Code::DataLoss | Code::Unimplemented => Error::Internal {
                context: "call to another service",
                source: Box::new(status),
            },
        }
    }
}

fn code(error: &Error) -> Code {
    match error {
        Error::NotFound { .. } => Code::NotFound,
        Error::AlreadyExists { .. } => Code::AlreadyExists,
        Error::Conflict { .. } => Code::Aborted,
        Error::Precondition { .. } => Code::FailedPrecondition,
        Error::Invalid(_) => Code::InvalidArgument,
        Error::OutOfRange { .. } => Code::OutOfRange,
        Error::Exhausted { .. } => Code::ResourceExhausted,
        Error::Unavailable { .. } | Error::Contended { .. } => Code::Unavailable,
        Error::OutcomeUnknown { .. } => Code::Unknown,
        Error::DeadlineExceeded { .. } => Code::DeadlineExceeded,
        Error::Internal { .. } => Code::Internal,
    }
}

fn precondition(status: &Status, fallback: &'static str) -> Error {
    let details = status.get_error_details();
    let violation = details
        .precondition_failure()
        .and_then(|p| p.violations.first());
    let reason = violation
        .map(|v| v.r#type.as_str())
        .or(details.error_info().map(|i| i.reason.as_str()));
    Error::Precondition {
        reason: reason.map_or(fallback, |word| intern(word, fallback)),
        subject: violation.map(|v| v.subject.clone()).unwrap_or_default(),
        description: violation
            .map_or_else(|| status.message().to_owned(), |v| v.description.clone()),
    }
}

fn violations(status: &Status) -> Violations {
    let mut violations = Violations::new();
    for violation in status
        .get_error_details()
        .bad_request()
        .iter()
        .flat_map(|b| &b.field_violations)
    {
        violations.push(&violation.field, &violation.description);
    }
    if violations.is_empty() {
        violations.push("request", status.message());
    }
    violations
}

/// An error with its sources, for one line of log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(error: Error) -> (Status, Error) {
        let status = Status::from(error);
        let back = Error::from(status.clone());
        (status, back)
    }

    #[test]
    fn every_variant_has_its_code_and_reason_and_comes_back_as_itself() {
        let mut violations = Violations::new();
        violations.push("model.labels", "must not be empty");
        violations.push("page_size", "must not be negative");
        let cases = [
            (
                Error::not_found("model", "workspaces/dev/models/m"),
                Code::NotFound,
                "NOT_FOUND",
            ),
            (
                Error::already_exists("model", "workspaces/dev/models/m"),
                Code::AlreadyExists,
                "ALREADY_EXISTS",
            ),
            (
                Error::Conflict {
                    name: "a".into(),
                    current: "g4".into(),
                    reason: "etag is g3".into(),
                },
                Code::Aborted,
                "CONFLICT",
            ),
            (
                Error::precondition("ENDPOINT_PINNED", "e", "unpin it"),
                Code::FailedPrecondition,
                "ENDPOINT_PINNED",
            ),
            (
                Error::Invalid(violations),
                Code::InvalidArgument,
                "INVALID_ARGUMENT",
            ),
            (
                Error::OutOfRange {
                    reason: "RESUME_TOKEN_EXPIRED",
                    description: "begin again".into(),
                },
                Code::OutOfRange,
                "RESUME_TOKEN_EXPIRED",
            ),
            (
                Error::Exhausted {
                    what: "streams".into(),
                },
                Code::ResourceExhausted,
                "RESOURCE_EXHAUSTED",
            ),
            (
                Error::unavailable("registry"),
                Code::Unavailable,
                "UNAVAILABLE",
            ),
            (
                Error::OutcomeUnknown {
                    what: "commit".into(),
                },
                Code::Unknown,
                "OUTCOME_UNKNOWN",
            ),
            (
                Error::DeadlineExceeded {
                    what: "list".into(),
                },
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
            ),
        ];
        for (error, code, reason) in cases {
            let (display, debug) = (error.to_string(), format!("{error:?}"));
            let (status, back) = round_trip(error);
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), display);
            let info = status.get_error_details().error_info().cloned().unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (reason, "slipway")
            );
            assert_eq!(format!("{back:?}"), debug);
        }
    }

    /// What is done again is the call that met the contention, not the calls that led to it.
    #[test]
    fn contention_elsewhere_is_unavailable_here() {
        let what = "storage".to_owned();
        let (status, back) = round_trip(Error::Contended { what });
        let info = status.get_error_details().error_info().cloned().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str()),
            (Code::Unavailable, "STORAGE_CONTENDED")
        );
        assert!(matches!(back, Error::Unavailable { .. }));
    }

    #[test]
    fn invalid_names_each_field() {
        let mut violations = Violations::new();
        violations.push("a", "is wrong");
        violations.push("b", "is wrong too");
        let status = Status::from(Error::Invalid(violations));
        let fields: Vec<_> = status
            .get_error_details()
            .bad_request()
            .unwrap()
            .field_violations
            .clone();
        assert_eq!(
            fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn internal_errors_are_masked() {
        let status = Status::from(Error::internal("read model", "password=hunter2"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("hunter2"));
        assert!(!String::from_utf8_lossy(status.details()).contains("hunter2"));
    }

    #[test]
    fn a_foreign_status_keeps_its_meaning_by_its_code() {
        assert!(matches!(
            Error::from(Status::unavailable("no route")),
            Error::Unavailable { .. }
        ));
        assert!(matches!(
            Error::from(Status::unknown("reset")),
            Error::OutcomeUnknown { .. }
        ));
        assert!(matches!(
            Error::from(Status::cancelled("gone")),
            Error::OutcomeUnknown { .. }
        ));
        assert!(matches!(
            Error::from(Status::unimplemented("?")),
            Error::Internal { .. }
        ));
        assert!(
            matches!(Error::from(Status::invalid_argument("bad")), Error::Invalid(v) if v.0.len() == 1)
        );
        assert!(matches!(
            Error::from(Status::permission_denied("no")),
            Error::Precondition {
                reason: "PERMISSION_DENIED",
                ..
            }
        ));
    }
}
