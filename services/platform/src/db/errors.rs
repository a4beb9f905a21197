//! What the database's errors mean to a caller.

use sqlx::any::AnyQueryResult;

use crate::{Error, Result};

/// Fails with `Conflict` when a save by generation met no row: `current` is what the row says now.
pub fn expect_saved(result: &AnyQueryResult, name: &str, current: &str) -> Result<()> {
    if result.rows_affected() == 0 {
        return Err(Error::Conflict {
            name: name.to_owned(),
            current: current.to_owned(),
            reason: "the resource changed in between; read it again and decide anew".to_owned(),
        });
    }
    Ok(())
}

/// Whether a statement failed because a row with the same key is there already. On PostgreSQL the
/// transaction is over with it: the caller answers, it does not go on.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(db) if db.is_unique_violation())
}

/// Whether the storage said it, and the same attempt may succeed later: it could not be reached, it was too
/// slow or contended, or the answer to a commit was lost. Other parts say `Unavailable` too, of what is not the storage's.
pub(crate) fn may_pass(error: &Error) -> bool {
    match error {
        Error::Contended { .. } | Error::OutcomeUnknown { .. } => true,
        Error::Unavailable { what } | Error::DeadlineExceeded { what } => is_of_storage(what),
        _ => false,
    }
}

/// All that is said of the storage names it first: `storage: why`, `storage postgres://…: why`.
pub(crate) fn is_of_storage(what: &str) -> bool {
    what.starts_with("storage: ") || what.starts_with("storage ")
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let what = || format!("storage: {error}");
        match &error {
            sqlx::Error::PoolTimedOut => Error::unavailable(
                "storage: no connection became free in time, or the database does not answer",
            ),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
                Error::unavailable(what())
            }
            sqlx::Error::Database(db) => match meaning(db.code().as_deref()) {
                Meaning::Contended => Error::Contended { what: what() },
                Meaning::Unavailable => Error::unavailable(what()),
                Meaning::TooSlow => Error::DeadlineExceeded { what: what() },
                Meaning::Defect => Error::internal("storage", error),
            },
            _ => Error::internal("storage", error),
        }
    }
}

/// What an error code says of the statement that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It did not happen because of another transaction.
    Contended,
    /// It did not happen and may happen later.
    Unavailable,
    /// It did not happen in the time that it had.
    TooSlow,
    /// It cannot happen.
    Defect,
}

/// The length of an SQLSTATE. SQLite's codes are numbers below 10,000 and never begin with a zero.
const SQLSTATE_LENGTH: usize = 5;

fn meaning(code: Option<&str>) -> Meaning {
    match code {
        Some(state) if state.len() == SQLSTATE_LENGTH => match state {
            // Serialization failure, deadlock, and a lock that was not to be had in time.
            "40001" | "40P01" | "55P03" => Meaning::Contended,
            "57014" => Meaning::TooSlow,
            // The server takes no writes: a standby, or a primary that is one no more.
            "25006" => Meaning::Unavailable,
            // The server goes down, comes up, or ended a session that was idle in its transaction.
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Meaning::Unavailable,
            // Connection exceptions, and too few resources (connections, memory, disk).
            _ if state.starts_with("08") || state.starts_with("53") => Meaning::Unavailable,
            _ => Meaning::Defect,
        },
        // SQLite's primary result codes BUSY, LOCKED, IOERR and FULL.
        Some(code)
            if code
                .parse()
                .is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6 | 10 | 13)) =>
        {
            Meaning::Unavailable
        }
        _ => Meaning::Defect,
    }
}

/// A commit whose connection broke may have happened; one that the database refused did not.
pub(super) fn commit_error(error: sqlx::Error) -> Error {
    let refused = match &error {
        sqlx::Error::Database(db) => refused(db.code().as_deref()),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => false,
        _ => true,
    };
    if refused {
        return error.into();
    }
    Error::OutcomeUnknown {
        what: format!("commit: {error}"),
    }
}

/// Whether an answer with this code to a commit means that nothing happened. The end of a session does not:
/// a server that goes down may have committed before it said so.
fn refused(code: Option<&str>) -> bool {
    let Some(state) = code.filter(|code| code.len() == SQLSTATE_LENGTH) else {
        return true;
    };
    !(state.starts_with("08") || state.starts_with("57P") || state.starts_with("XX"))
        && state != "40003"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for (code, expected) in [
            ("5", Meaning::Unavailable),
            ("261", Meaning::Unavailable),
            ("3338", Meaning::Unavailable),
            ("1555", Meaning::Defect),
            ("40001", Meaning::Contended),
            ("55P03", Meaning::Contended),
            ("57014", Meaning::TooSlow),
            ("25006", Meaning::Unavailable),
            ("57P01", Meaning::Unavailable),
            ("08006", Meaning::Unavailable),
            ("53300", Meaning::Unavailable),
            ("25P03", Meaning::Unavailable),
            ("23505", Meaning::Defect),
            ("42601", Meaning::Defect),
        ] {
            assert_eq!(meaning(Some(code)), expected, "{code}");
        }
        assert_eq!(meaning(None), Meaning::Defect);
    }

    #[test]
    fn what_the_storage_said_is_told_from_what_others_said() {
        let timed_out = Error::from(sqlx::Error::PoolTimedOut);
        let gone = Error::unavailable("storage postgres://u@db:5432/x: connection refused");
        let lost = commit_error(sqlx::Error::WorkerCrashed);
        for of_storage in [timed_out, gone, lost] {
            assert!(may_pass(&of_storage), "{of_storage}");
        }
        let folder = Error::unavailable("artifact store /srv/a: Permission denied");
        let full = Error::Exhausted {
            what: "storage".to_owned(),
        };
        let wrong = Error::from(sqlx::Error::RowNotFound);
        for other in [folder, full, wrong] {
            assert!(!may_pass(&other), "{other}");
        }
    }

    #[test]
    fn a_commit_that_a_dying_server_answered_may_have_happened() {
        assert!(refused(Some("40001")) && refused(Some("23505")) && refused(Some("5")));
        assert!(!refused(Some("57P01")) && !refused(Some("08006")) && !refused(Some("40003")));
    }
}
