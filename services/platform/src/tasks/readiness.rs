//! Whether a service may be given work, as the health service reports it, and what it depends on.

use std::collections::BTreeMap;
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

/// The storage of a service, as a dependency.
pub const STORAGE: &str = "storage";
/// The event bus, as a dependency.
pub const EVENT_BUS: &str = "event_bus";

/// How something that a service depends on is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dependency {
    /// It answers.
    Ok,
    /// It is waited for; the text says what, where and why.
    Waiting(String),
}

/// What a service depends on, by name.
pub type Dependencies = BTreeMap<&'static str, Dependency>;

/// The readiness of one service. Clones speak of the same service.
///
/// Transitions: `Starting → Ready`, either of them `→ Failed`, and any `→ Stopping`. A dependency that is away
/// changes none of them by itself: each use of it says so.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: watch::Sender<State>,
    dependencies: watch::Sender<Dependencies>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// A service that is starting.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: watch::Sender::new(State::Starting),
            dependencies: watch::Sender::default(),
        }))
    }

    /// The service can serve, unless it has failed or is stopping.
    pub fn ready(&self) {
        self.0.state.send_if_modified(|state| {
            let starting = *state == State::Starting;
            if starting {
                *state = State::Ready;
            }
            starting
        });
    }

    /// Something that the service needs is lost. The first reason is kept.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.state.send_if_modified(|state| match state {
            State::Starting | State::Ready => {
                *state = State::Failed(reason.into());
                true
            }
            State::Failed(_) | State::Stopping => false,
        });
    }

    /// The service is on its way out.
    pub fn stop(&self) {
        self.0.state.send_replace(State::Stopping);
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Whether the state is [`State::Ready`].
    pub fn is_ready(&self) -> bool {
        *self.0.state.borrow() == State::Ready
    }

    /// Notes how a dependency is doing; true when that is news.
    pub fn depend(&self, name: &'static str, dependency: Dependency) -> bool {
        self.0.dependencies.send_if_modified(|all| {
            let news = all.get(name) != Some(&dependency);
            if news {
                all.insert(name, dependency);
            }
            news
        })
    }

    /// How every dependency that was noted is doing.
    pub fn dependencies(&self) -> Dependencies {
        self.0.dependencies.borrow().clone()
    }

    /// The dependencies now and after every change.
    pub fn subscribe_dependencies(&self) -> watch::Receiver<Dependencies> {
        self.0.dependencies.subscribe()
    }

    /// What the service waits for before it can serve, on one line; `None` when nothing. Nothing waits for the
    /// event bus.
    pub fn waiting(&self) -> Option<String> {
        let dependencies = self.0.dependencies.borrow();
        let texts: Vec<&str> = dependencies
            .iter()
            .filter(|(name, _)| **name != EVENT_BUS)
            .filter_map(|(_, dependency)| match dependency {
                Dependency::Ok => None,
                Dependency::Waiting(text) => Some(text.as_str()),
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The state now and every later one; states that follow each other quickly may be skipped.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
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

    #[test]
    fn what_is_waited_for_is_said_and_changes_no_state() {
        let readiness = Readiness::new();
        assert_eq!(readiness.waiting(), None);
        let away = Dependency::Waiting("waiting for the bus".into());
        assert!(readiness.depend(EVENT_BUS, away.clone()));
        assert!(!readiness.depend(EVENT_BUS, away), "no news");
        readiness.depend(STORAGE, Dependency::Waiting("waiting for storage".into()));
        assert_eq!(readiness.waiting().unwrap(), "waiting for storage");
        readiness.depend(STORAGE, Dependency::Ok);
        readiness.ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.waiting(), None);
    }
}
