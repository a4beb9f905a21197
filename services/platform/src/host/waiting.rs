//! What is waited for, said to whom it concerns: in the readiness at once, in the log when it changes and now
//! and then, so that a long wait is neither silent nor noisy.

use std::time::Duration;

use tokio::time::Instant;

use crate::tasks::{Dependency, Readiness};

/// How often the log repeats what is still waited for.
const SAID_EVERY: Duration = Duration::from_secs(30);

/// Says how one dependency is doing.
#[derive(Debug)]
pub(super) struct Teller {
    name: &'static str,
    ready: Readiness,
    said: Option<(String, Instant)>,
}

impl Teller {
    pub(super) fn new(name: &'static str, ready: Readiness) -> Self {
        Self {
            name,
            ready,
            said: None,
        }
    }

    /// It is away; `text` says what is waited for and why.
    pub(super) fn waiting(&mut self, text: String) {
        self.ready
            .depend(self.name, Dependency::Waiting(text.clone()));
        let news = self
            .said
            .as_ref()
            .is_none_or(|(said, at)| *said != text || at.elapsed() >= SAID_EVERY);
        if news {
            tracing::warn!(dependency = self.name, "{text}");
            self.said = Some((text, Instant::now()));
        }
    }

    /// It is there.
    pub(super) fn ok(&mut self) {
        self.ready.depend(self.name, Dependency::Ok);
        if self.said.take().is_some() {
            tracing::info!(dependency = self.name, "is there");
        }
    }
}
