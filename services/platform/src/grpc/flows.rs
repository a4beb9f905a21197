//! Answers that are being sent, so that one whose client takes nothing of it is given up.
//!
//! The transport asks a body for more only when its client has room for it, so a body alone never learns that
//! nobody reads. All answers under way are kept here, and looked through now and then: what was asked for nothing
//! for too long loses its body, and with it everything that the handler held for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;

use super::guard::Call;

/// Each call enters and leaves one of them, so that calls on different cores seldom meet.
const SHARDS: usize = 16;

/// The answers of one server.
#[derive(Debug)]
pub(super) struct Flows {
    shards: [Mutex<HashMap<u64, Arc<Flow>>>; SHARDS],
    next: AtomicU64,
    idle: Duration,
}

/// One answer, shared by who sends it and who looks after it.
#[derive(Debug)]
pub(super) struct Flow(Mutex<State>);

#[derive(Debug)]
pub(super) struct State {
    /// What is being sent; `None` once it was given up.
    pub(super) held: Option<Held>,
    /// Since when the client has not asked for more; `None` while it waits for the handler.
    pub(super) untouched_since: Option<Instant>,
}

/// What an answer holds until its end.
pub(super) struct Held {
    pub(super) body: Body,
    pub(super) call: Call,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

/// An answer's place among all; leaving it ends the looking after.
#[derive(Debug)]
pub(super) struct Place {
    flows: Arc<Flows>,
    number: u64,
    flow: Arc<Flow>,
}

impl Flows {
    pub(super) fn new(idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            shards: Default::default(),
            next: AtomicU64::new(0),
            idle,
        })
    }

    /// Takes an answer in.
    pub(super) fn enter(self: &Arc<Self>, held: Held) -> Place {
        let flow = Arc::new(Flow(Mutex::new(State {
            held: Some(held),
            untouched_since: Some(Instant::now()),
        })));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(number).insert(number, flow.clone());
        Place {
            flows: self.clone(),
            number,
            flow,
        }
    }

    /// Gives up, from time to time, what nobody takes. Goes on for ever.
    pub(super) async fn look_after(&self) {
        loop {
            tokio::time::sleep(self.idle / 4).await;
            let now = Instant::now();
            for shard in 0..SHARDS {
                let flows: Vec<_> = self.shard(shard as u64).values().cloned().collect();
                for flow in flows {
                    // Dropped outside of the lock: a handler's stream may do anything when it goes.
                    drop(flow.give_up(now, self.idle));
                }
            }
        }
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, HashMap<u64, Arc<Flow>>> {
        let shard = usize::try_from(number % SHARDS as u64).unwrap_or_default();
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, now: Instant, idle: Duration) -> Option<Held> {
        let mut state = self.state();
        let since = state.untouched_since?;
        if now.saturating_duration_since(since) < idle {
            return None;
        }
        let held = state.held.take()?;
        held.call.note(Code::DeadlineExceeded);
        tracing::warn!(
            path = held.call.path(),
            ?idle,
            "a client took nothing of its answer, which is given up"
        );
        Some(held)
    }
}

impl Place {
    pub(super) fn flow(&self) -> &Flow {
        &self.flow
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.flows.shard(self.number).remove(&self.number);
    }
}
