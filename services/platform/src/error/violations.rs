//! Everything that is wrong with one request, collected before it is answered.

use std::fmt;

use super::{Error, Result};

/// At most this many violations are kept; a request that is wrong in more ways is wrong enough.
const VIOLATIONS_MAX: usize = 100;

/// One field that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `splits[1].percent`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub description: String,
}

/// The violations of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// No violations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violations in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// Notes that `field` is wrong. Beyond a hundred violations further ones are dropped.
    pub fn push(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation {
                field: field.into(),
                description: description.into(),
            });
        }
    }

    /// Notes that `field` is wrong unless `condition` holds, and gives the condition back.
    pub fn require(
        &mut self,
        condition: bool,
        field: impl Into<String>,
        description: impl Into<String>,
    ) -> bool {
        if !condition {
            self.push(field, description);
        }
        condition
    }

    /// `Ok` when nothing is wrong, otherwise [`Error::Invalid`] with all of it.
    pub fn into_result(self) -> Result<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self))
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}
