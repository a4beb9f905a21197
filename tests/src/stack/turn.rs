//! Whose turn it is: stories share the servers, unless one stops them.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More stories than this are not at once in one program, whatever its number of threads.
const EVERYBODY: u32 = 64;

static TURNS: OnceLock<Arc<Semaphore>> = std::sync::OnceLock::new();

/// Held while a story runs.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Waits until this story may run: with the others, or alone.
pub(super) async fn take(alone: bool) -> Turn {
    let turns = TURNS
        .get_or_init(|| Arc::new(Semaphore::new(EVERYBODY as usize)))
        .clone();
    let share = if alone { EVERYBODY } else { 1 };
    // The semaphore is never closed, and it is fair: who waits to be alone is not overtaken for ever.
    Turn {
        _permit: turns.acquire_many_owned(share).await.ok(),
    }
}

/// A word that no other run on the same servers has.
pub(super) fn unique() -> String {
    format!("{:08x}", rand::random::<u32>())
}
