//! What is wrong with resources, gathered so that one refusal tells everything.

use std::fmt;

/// Problems that a message lists; the rest is only counted.
const LISTED_MAX: usize = 8;

/// Everything that is wrong, each with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn push(&mut self, place: impl fmt::Display, text: impl fmt::Display) {
        self.0.push(format!("{place}: {text}"));
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems as an error, unless there are none.
    pub fn into_result(self) -> Result<(), Problems> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Where the problems of one resource go.
    pub fn scope(&mut self, place: impl fmt::Display) -> Scope<'_> {
        Scope {
            place: place.to_string(),
            problems: self,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().take(LISTED_MAX).enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match self.0.len().saturating_sub(LISTED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A place within the resources, for the messages of what is found there.
#[derive(Debug)]
pub struct Scope<'a> {
    place: String,
    problems: &'a mut Problems,
}

impl Scope<'_> {
    /// A field that is wrong.
    pub fn refuse(&mut self, field: &str, text: impl fmt::Display) {
        self.problems
            .push(&self.place, format_args!("{field} {text}"));
    }

    /// Fields that the gateway cannot serve, where they are set.
    pub fn unserved<const N: usize>(&mut self, fields: [(&str, bool); N]) {
        for (field, is_set) in fields {
            if is_set {
                self.refuse(field, "is not supported by the embedded gateway");
            }
        }
    }

    /// A place within this one.
    pub fn inner(&mut self, place: impl fmt::Display) -> Scope<'_> {
        Scope {
            place: format!("{} {place}", self.place),
            problems: self.problems,
        }
    }
}
