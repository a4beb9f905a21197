//! Events that were dropped because newer ones of their key were seen.
//!
//! Relays keep the order of a key and leave nothing out, so that this does not happen, but for one case: the
//! publisher's database was restored, or lost its last commits in a failover, and numbers events anew that
//! its consumers know others by. `docs/operations.md` says what to do; here it is said which stream it is.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::events::Event;

/// How often it is said; in between it is counted.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// What one consumer says of them.
#[derive(Debug, Default)]
pub(super) struct Stale(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said_at: Option<Instant>,
    /// Dropped since it was said.
    unsaid: u64,
}

impl Stale {
    /// The event was dropped: of its stream, `seen` is the newest.
    pub(super) fn say(&self, group: &str, event: &Event, seen: i64) {
        let Some(dropped) = self.count(Instant::now()) else {
            return;
        };
        let Event {
            id,
            source,
            topic,
            key,
            sequence,
            ..
        } = event;
        tracing::warn!(
            group,
            source,
            topic,
            key,
            event = id,
            sequence,
            seen,
            dropped,
            "an event was dropped because a newer one of its stream was seen; was the publisher's database restored? \
             See \"Events after a restore\" in docs/operations.md"
        );
    }

    /// How many were dropped since it was said last, if it is time to say it again.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unsaid += 1;
        if state.said_at.is_some_and(|at| now - at < SAID_EVERY) {
            return None;
        }
        state.said_at = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_once_a_minute_with_how_many_there_were() {
        let (stale, start) = (Stale::default(), Instant::now());
        assert_eq!(stale.count(start), Some(1));
        for second in 1..60 {
            assert_eq!(stale.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(stale.count(start + SAID_EVERY), Some(60));
    }
}
