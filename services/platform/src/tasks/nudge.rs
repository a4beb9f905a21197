//! "There is something to do": wakes a periodic task before its period is over.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes one task. Nudges that come while it works are kept as one. Clones wake the same task.
#[derive(Debug, Clone, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// A nudge that nobody waits for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the task, now or as soon as its present run is over.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits for the next nudge, or returns at once when one is kept.
    pub async fn nudged(&self) {
        self.0.notified().await;
    }
}
