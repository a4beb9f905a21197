//! Whether a version may be released.
//!
//! ```text
//! ACTIVE ──archive──▶ ARCHIVED
//!   │ ▲
//!   │ └───────lift────────┐
//!   └──quarantine──▶ QUARANTINED
//! ```
//!
//! Doing again what is done already changes nothing. Archiving is final; a quarantined version is not
//! archived, so that the fault stays visible.

use slipway_platform::{Error, Result};

/// The state of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// May be released.
    Active,
    /// Out of use.
    Archived,
    /// At fault: may not be released anywhere.
    Quarantined,
}

/// What a person or a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Take out of use.
    Archive,
    /// Mark as at fault.
    Quarantine,
    /// Lift the quarantine.
    Lift,
}

impl State {
    /// The stable word for the column and the filter.
    pub fn word(self) -> &'static str {
        match self {
            State::Active => "ACTIVE",
            State::Archived => "ARCHIVED",
            State::Quarantined => "QUARANTINED",
        }
    }

    /// The state after `change` of version `name`; `None` when it is so already.
    pub fn apply(self, change: Change, name: &str) -> Result<Option<State>> {
        match (self, change) {
            (State::Active, Change::Archive) => Ok(Some(State::Archived)),
            (State::Active, Change::Quarantine) => Ok(Some(State::Quarantined)),
            (State::Quarantined, Change::Lift) => Ok(Some(State::Active)),
            (State::Archived, Change::Archive)
            | (State::Quarantined, Change::Quarantine)
            | (State::Active, Change::Lift) => Ok(None),
            (State::Archived, Change::Quarantine | Change::Lift) => Err(refused(
                "VERSION_ARCHIVED",
                name,
                "the version is archived, and cannot be released anyway",
            )),
            (State::Quarantined, Change::Archive) => Err(refused(
                "VERSION_QUARANTINED",
                name,
                "the version is quarantined; lift the quarantine first",
            )),
        }
    }
}

fn refused(reason: &'static str, name: &str, description: &str) -> Error {
    Error::Precondition {
        reason,
        subject: name.to_owned(),
        description: description.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_change() {
        use Change::{Archive, Lift, Quarantine};
        use State::{Active, Archived, Quarantined};
        let table = [
            (Active, Archive, Some(Some(Archived))),
            (Active, Quarantine, Some(Some(Quarantined))),
            (Active, Lift, Some(None)),
            (Archived, Archive, Some(None)),
            (Archived, Quarantine, None),
            (Archived, Lift, None),
            (Quarantined, Archive, None),
            (Quarantined, Quarantine, Some(None)),
            (Quarantined, Lift, Some(Some(Active))),
        ];
        for (state, change, expected) in table {
            assert_eq!(
                state.apply(change, "v").ok(),
                expected,
                "{state:?} {change:?}"
            );
        }
    }
}
