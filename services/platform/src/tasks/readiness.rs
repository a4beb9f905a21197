//! Whether a service may be given work, as the health service reports it.

use std::sync::Arc;

use tokio::sync::watch;

/// The state that health checks are answered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not yet able to serve.
    Starting,
    /// Able to serve.
    Ready,
    /// Something that the service needs is lost; it stays so until it is restarted.
    Failed(String),
    /// On its way out: finishes what it has and takes nothing new.
    Stopping,
}

/// The readiness of one service. Clones speak of the same service.
///
/// Transitions: `Starting → Ready`, either of them `→ Failed`, and any `→ Stopping`.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<State>>);

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A service that is starting.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Starting)))
    }

    /// The service can serve, unless it has failed or is stopping.
    pub fn ready(&self) {
        self.0.send_if_modified(|state| {
            let starting = *state == State::Starting;
            if starting {
                *state = State::Ready;
            }
            starting
        });
    }

    /// Something that the service needs is lost. The first reason is kept.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|state| match state {
            State::Starting | State::Ready => {
                *state = State::Failed(reason.into());
                true
            }
            State::Failed(_) | State::Stopping => false,
        });
    }

    /// The service is on its way out.
    pub fn stop(&self) {
        self.0.send_replace(State::Stopping);
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// Whether the state is [`State::Ready`].
    pub fn is_ready(&self) -> bool {
        *self.0.borrow() == State::Ready
    }

    /// The state now and every later one; states that follow each other quickly may be skipped.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_kept_and_stopping_is_last() {
        let readiness = Readiness::new();
        assert!(!readiness.is_ready());
        readiness.ready();
        assert!(readiness.is_ready());
        readiness.fail("lost");
        readiness.fail("later");
        readiness.ready();
        assert_eq!(readiness.state(), State::Failed("lost".into()));
        readiness.stop();
        readiness.fail("after");
        assert_eq!(readiness.state(), State::Stopping);
    }
}
