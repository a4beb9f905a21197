//! What is known of Kafka's state, and who is told.
//!
//! Problems have a place: the brokers, the topics, publishing, one consumer group. The health says the first of them.
//! Publishing waits for brokers and topics only: a group that is not allowed to read stops no publisher, and
//! publishing that failed is tried again.
//! Who follows the health logs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Notify, watch};

use super::metrics::Metrics;
use crate::events::BusHealth;

/// Shared by the bus, its clients and its subscriptions.
pub(super) struct State {
    problems: Mutex<Problems>,
    health: watch::Sender<BusHealth>,
    publishing: watch::Sender<BusHealth>,
    /// The topics that exist, as far as they were asked for.
    topics: watch::Sender<BTreeSet<String>>,
    /// Asks for a look at brokers and topics now.
    pub(super) look: Notify,
    pub(super) metrics: Metrics,
}

#[derive(Default)]
struct Problems {
    brokers: Option<String>,
    topics: Option<String>,
    publishing: Option<String>,
    groups: BTreeMap<String, String>,
    /// The last thing that a client said of its connection.
    last_error: Option<String>,
}

impl State {
    /// Nothing is known yet.
    pub(super) fn new(waiting_for: String) -> Self {
        let waiting = BusHealth::Waiting(waiting_for.clone());
        Self {
            problems: Mutex::new(Problems {
                brokers: Some(waiting_for),
                ..Problems::default()
            }),
            health: watch::channel(waiting.clone()).0,
            publishing: watch::channel(waiting).0,
            topics: watch::channel(BTreeSet::new()).0,
            look: Notify::new(),
            metrics: Metrics::new(),
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<BusHealth> {
        self.health.subscribe()
    }

    /// Whether events may be published.
    pub(super) fn publishing(&self) -> watch::Receiver<BusHealth> {
        self.publishing.subscribe()
    }

    /// Which topics are known to exist.
    pub(super) fn topics(&self) -> watch::Receiver<BTreeSet<String>> {
        self.topics.subscribe()
    }

    pub(super) fn set_brokers(&self, problem: Option<String>) {
        self.change(|problems| {
            if problem.is_none() {
                // Of the time before, or of one broker of several.
                problems.last_error = None;
            }
            // Brokers take turns in being the last that could not be reached: that is no news.
            if cause(&problem).is_none() || cause(&problem) != cause(&problems.brokers) {
                problems.brokers = problem;
            }
        });
    }

    pub(super) fn set_topics(&self, existing: BTreeSet<String>, problem: Option<String>) {
        self.topics.send_if_modified(|known| {
            let changed = *known != existing;
            *known = existing;
            changed
        });
        self.change(|problems| problems.topics = problem);
    }

    /// Events are not published, though brokers and topics are there.
    pub(super) fn set_publishing(&self, problem: Option<String>) {
        self.change(|problems| problems.publishing = problem);
    }

    pub(super) fn set_group(&self, group: &str, problem: Option<String>) {
        self.change(|problems| match problem {
            Some(problem) => drop(problems.groups.insert(group.to_owned(), problem)),
            None => drop(problems.groups.remove(group)),
        });
    }

    /// A client says that something is wrong with its connection.
    pub(super) fn note_error(&self, reason: Option<&str>) {
        if let Some(reason) = reason {
            // Without how long the attempt took, which is another each time.
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            self.lock().last_error = Some(reason.to_owned());
        }
        self.look.notify_one();
    }

    /// What a client last said of its connection.
    pub(super) fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Problems)) {
        let mut problems = self.lock();
        change(&mut problems);
        let publishing = problems.brokers.as_ref().or(problems.topics.as_ref());
        let any = publishing
            .or(problems.publishing.as_ref())
            .or(problems.groups.values().next());
        let (publishing, health) = (as_health(publishing), as_health(any));
        // Under the lock, so that the last change is the last told.
        set(&self.publishing, publishing);
        set(&self.health, health);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Problems> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_health(problem: Option<&String>) -> BusHealth {
    problem.map_or(BusHealth::Ok, |problem| BusHealth::Waiting(problem.clone()))
}

/// The last part of what is told, such as `Connection refused`.
fn cause(problem: &Option<String>) -> Option<&str> {
    problem.as_deref()?.rsplit(": ").next()
}

fn set(sender: &watch::Sender<BusHealth>, health: BusHealth) {
    sender.send_if_modified(|now| {
        let changed = *now != health;
        *now = health;
        changed
    });
}
