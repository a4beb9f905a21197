//! The one error type that crosses a service's edge, and its form on the wire.
//!
//! Every variant is something a caller can act on. The mapping to `tonic::Status` is here and nowhere
//! else: the canonical code, an `ErrorInfo` whose `reason` is stable and whose `domain` is `slipway`,
//! and the detail that fits (field violations, precondition, resource). "It did not happen"
//! ([`Error::Unavailable`]) is kept apart from "nobody knows whether it happened"
//! ([`Error::OutcomeUnknown`]). Internal errors are masked on the wire and logged once, in the mapping.

mod intern;
mod status;
mod violations;

pub(crate) use status::chain;
pub use violations::{Violation, Violations};

/// The `domain` of every `ErrorInfo` that Slipway sends.
pub const DOMAIN: &str = "slipway";

/// The result of anything that can be answered to a client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms that a caller can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such resource. `NOT_FOUND` with `ResourceInfo`.
    #[error("{kind} {name} was not found")]
    NotFound {
        /// The kind of resource in the glossary's word, such as `model`.
        kind: &'static str,
        /// Its full resource name.
        name: String,
    },
    /// A resource of this name exists. `ALREADY_EXISTS` with `ResourceInfo`.
    #[error("{kind} {name} exists already")]
    AlreadyExists {
        /// The kind of resource in the glossary's word.
        kind: &'static str,
        /// Its full resource name.
        name: String,
    },
    /// Somebody else changed it first. `ABORTED`; read it again and decide anew.
    #[error("{name} has changed: {reason} (now {current})")]
    Conflict {
        /// The resource that was to be changed.
        name: String,
        /// Its etag or generation now; empty when that is not known.
        current: String,
        /// What did not match.
        reason: String,
    },
    /// The state of the system does not allow it. `FAILED_PRECONDITION` with `PreconditionFailure`.
    #[error("{description}")]
    Precondition {
        /// A stable UPPER_SNAKE reason that clients may compare with.
        reason: &'static str,
        /// The resource whose state stands in the way.
        subject: String,
        /// What stands in the way and what to do about it, for people.
        description: String,
    },
    /// The request itself is wrong. `INVALID_ARGUMENT` with every field violation.
    #[error("invalid request: {0}")]
    Invalid(Violations),
    /// What was asked for lies outside of what is there. `OUT_OF_RANGE`.
    #[error("{description}")]
    OutOfRange {
        /// A stable UPPER_SNAKE reason that clients may compare with.
        reason: &'static str,
        /// What lies outside and what to do about it, for people.
        description: String,
    },
    /// A limit is reached. `RESOURCE_EXHAUSTED`; try again later.
    #[error("exhausted: {what}")]
    Exhausted {
        /// The limit that is reached.
        what: String,
    },
    /// It did not happen and may be tried again. `UNAVAILABLE`.
    #[error("unavailable: {what}")]
    Unavailable {
        /// What could not be reached.
        what: String,
    },
    /// Transactions got in each other's way and this one was given up: nothing happened, and the same call
    /// done again at once may succeed. `UNAVAILABLE`, reason `STORAGE_CONTENDED`.
    #[error("contended: {what}")]
    Contended {
        /// What was contended for.
        what: String,
    },
    /// It may or may not have happened: read before deciding. `UNKNOWN`, reason `OUTCOME_UNKNOWN`.
    #[error("outcome unknown: {what}")]
    OutcomeUnknown {
        /// The write whose outcome is unknown.
        what: String,
    },
    /// The time given for it ran out. `DEADLINE_EXCEEDED`.
    #[error("deadline exceeded: {what}")]
    DeadlineExceeded {
        /// What was not done in time.
        what: String,
    },
    /// A defect or a broken dependency. `INTERNAL`; the source is logged and never sent.
    #[error("internal error: {context}")]
    Internal {
        /// What was being done, safe to show to a client.
        context: &'static str,
        /// The cause, for the log only.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// One field of the request is wrong.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.push(field, reason);
        Error::Invalid(violations)
    }

    /// There is no resource of this kind and name.
    pub fn not_found(kind: &'static str, name: impl ToString) -> Self {
        Error::NotFound {
            kind,
            name: name.to_string(),
        }
    }

    /// A resource of this kind and name exists already.
    pub fn already_exists(kind: &'static str, name: impl ToString) -> Self {
        Error::AlreadyExists {
            kind,
            name: name.to_string(),
        }
    }

    /// The state of `subject` does not allow it; `reason` is a stable UPPER_SNAKE word.
    pub fn precondition(
        reason: &'static str,
        subject: impl ToString,
        description: impl Into<String>,
    ) -> Self {
        Error::Precondition {
            reason,
            subject: subject.to_string(),
            description: description.into(),
        }
    }

    /// A defect or a broken dependency while doing `context`.
    pub fn internal(
        context: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error::Internal {
            context,
            source: source.into(),
        }
    }

    /// It did not happen and may be tried again.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Error::Unavailable { what: what.into() }
    }

    /// Whether the same attempt, made again later from a fresh read, may succeed.
    ///
    /// [`Error::Internal`] is neither transient nor [permanent](Self::is_permanent): a bounded number
    /// of attempts is right for it.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Conflict { .. }
            | Error::Exhausted { .. }
            | Error::Unavailable { .. }
            | Error::Contended { .. }
            | Error::OutcomeUnknown { .. }
            | Error::DeadlineExceeded { .. } => true,
            Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::Invalid(_)
            | Error::OutOfRange { .. }
            | Error::Internal { .. } => false,
        }
    }

    /// Whether trying again is pointless until a person or another request changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::Invalid(_)
            | Error::OutOfRange { .. } => true,
            Error::Conflict { .. }
            | Error::Exhausted { .. }
            | Error::Unavailable { .. }
            | Error::Contended { .. }
            | Error::OutcomeUnknown { .. }
            | Error::DeadlineExceeded { .. }
            | Error::Internal { .. } => false,
        }
    }

    /// The stable reason that the `ErrorInfo` carries.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::NotFound { .. } => "NOT_FOUND",
            Error::AlreadyExists { .. } => "ALREADY_EXISTS",
            Error::Conflict { .. } => "CONFLICT",
            Error::Precondition { reason, .. } => reason,
            Error::Invalid(_) => "INVALID_ARGUMENT",
            Error::OutOfRange { reason, .. } => reason,
            Error::Exhausted { .. } => "RESOURCE_EXHAUSTED",
            Error::Unavailable { .. } => "UNAVAILABLE",
            Error::Contended { .. } => "STORAGE_CONTENDED",
            Error::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
            Error::DeadlineExceeded { .. } => "DEADLINE_EXCEEDED",
            Error::Internal { .. } => "INTERNAL",
        }
    }
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Error::Invalid(violations)
    }
}
