//! The last verdict of each rollout and endpoint, in memory. The failure-detector speaks every second; what is
//! stored is only a change of the verdict.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::resources::VerdictSummary;

/// The last verdicts, by the name of the rollout or of the endpoint.
#[derive(Debug)]
pub struct Live {
    verdicts: Mutex<HashMap<String, VerdictSummary>>,
    changes: watch::Sender<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            verdicts: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Live {
    /// Keeps what was said last.
    pub fn put(&self, subject: &str, summary: VerdictSummary) {
        self.lock().insert(subject.to_owned(), summary);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// What was said last.
    pub fn get(&self, subject: &str) -> Option<VerdictSummary> {
        self.lock().get(subject).cloned()
    }

    /// Forgets what was said last.
    pub fn forget(&self, subject: &str) {
        self.lock().remove(subject);
    }

    /// Forgets everything that is not about one of these.
    pub fn keep_only(&self, is_watched: impl Fn(&str) -> bool) {
        self.lock().retain(|subject, _| is_watched(subject));
    }

    /// Rises with every verdict.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VerdictSummary>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
