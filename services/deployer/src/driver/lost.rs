//! Announcements of revisions that died: kept until they are heard, and none is lost however many die at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_platform::names::RevisionName;
use slipway_platform::tasks::Nudge;

/// From a driver to the one that listens. Clones speak of the same announcements. A revision that dies twice
/// before it is heard of is announced once, so there are never more than there are revisions.
#[derive(Debug, Clone, Default)]
pub struct Lost {
    unheard: Arc<Mutex<BTreeSet<RevisionName>>>,
    nudge: Nudge,
}

impl Lost {
    /// An instance of this revision is gone without having been stopped.
    pub fn announce(&self, revision: &RevisionName) {
        self.unheard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(revision.clone());
        self.nudge.notify();
    }

    /// Forgets what was announced so far.
    pub fn clear(&self) {
        self.unheard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The next one. Only one task may listen at a time.
    pub async fn next(&self) -> RevisionName {
        loop {
            let next = self
                .unheard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_first();
            if let Some(next) = next {
                return next;
            }
            self.nudge.nudged().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use slipway_platform::names::EndpointName;

    use super::*;

    #[tokio::test]
    async fn all_that_die_before_anybody_listens_are_heard_of() {
        let endpoint: EndpointName = "environments/production/endpoints/tumor".parse().unwrap();
        let lost = Lost::default();
        let revisions: Vec<_> = (1..=1_000)
            .map(|number| RevisionName::new(&endpoint, number).unwrap())
            .collect();
        for revision in revisions.iter().chain(&revisions) {
            lost.announce(revision);
        }
        for revision in &revisions {
            assert_eq!(lost.next().await, *revision);
        }
    }
}
