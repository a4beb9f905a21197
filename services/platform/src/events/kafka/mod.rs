//! Apache Kafka as the event bus.
//!
//! [`KafkaBus`] publishes with an idempotent producer ([`publisher`]) in CloudEvents' binary content mode
//! ([`cloudevents`]), and reads as a member of consumer groups ([`subscription`]). A [`monitor`] looks after
//! brokers and topics; [`state`] is what is known of them. `docs/adr/0004-kafka.md` says what is delivered how
//! often and in which order, and why.
//!
//! Nothing here waits for Kafka at the start. The library's blocking calls run on threads of their own, so that
//! neither the runtime nor a stop waits for brokers that do not answer.

pub(super) mod client;
mod cloudevents;
mod metrics;
mod monitor;
mod observer;
mod publisher;
mod state;
mod subscription;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{monitor::Monitor, publisher::Publisher, state::State, subscription::KafkaSubscription};
use super::{BusHealth, Event, EventBus, Subscription, config::KafkaConfig};
use crate::{Error, Result, tasks::Tasks};

/// What it is called in telemetry.
const SYSTEM: &str = "kafka";
/// Topics that one subscription may name.
const TOPICS_MAX: usize = 16;

/// Events over Apache Kafka.
pub struct KafkaBus {
    shared: Arc<Shared>,
    publisher: Arc<Publisher>,
    /// The monitor ends with the bus.
    end: CancellationToken,
    _end: DropGuard,
}

/// What the bus and its subscriptions share.
struct Shared {
    config: KafkaConfig,
    state: Arc<State>,
    /// Members of groups that have not left yet.
    members: watch::Sender<usize>,
}

impl KafkaBus {
    /// A bus with these settings. Kafka need not be there. Call it inside of a runtime.
    pub fn start(config: &KafkaConfig) -> Result<Self> {
        let waiting = format!(
            "Kafka at {} (event_bus.kafka.brokers): not reached yet",
            config.brokers
        );
        let state = Arc::new(State::new(waiting));
        let publisher = Arc::new(Publisher::new(config.clone(), state.clone()));
        // What is wrong with the settings is said now, and not each second by the monitor.
        publisher.current()?;
        let end = CancellationToken::new();
        let monitor = Monitor {
            config: config.clone(),
            publisher: publisher.clone(),
            state: state.clone(),
        };
        Tasks::new(end.clone()).spawn("kafka monitor", monitor.run(end.clone()));
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                state,
                members: watch::channel(0).0,
            }),
            publisher,
            _end: end.clone().drop_guard(),
            end,
        })
    }
}

#[async_trait]
impl EventBus for KafkaBus {
    fn system(&self) -> &'static str {
        SYSTEM
    }

    async fn publish(&self, events: &[Event]) -> Result<()> {
        self.publisher.publish(events).await
    }

    async fn subscribe(&self, group: &str, topics: &[&str]) -> Result<Box<dyn Subscription>> {
        // A name that begins with ^ is a pattern for the library.
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let named = topics.iter().all(|t| !t.is_empty() && t.chars().all(legal));
        if group.is_empty() || topics.is_empty() || topics.len() > TOPICS_MAX || !named {
            return Err(Error::invalid(
                "topics",
                format!("1 to {TOPICS_MAX} names of topics and a group are needed"),
            ));
        }
        Ok(Box::new(KafkaSubscription::new(
            self.shared.clone(),
            group,
            topics,
        )))
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.shared.state.health()
    }

    async fn close(&self, within: Duration) {
        self.end.cancel();
        let mut members = self.shared.members.subscribe();
        let left = members.wait_for(|members| *members == 0);
        if tokio::time::timeout(within, left).await.is_err() {
            tracing::warn!(
                ?within,
                "consumer groups were not left in time: others wait for event_bus.kafka.session_timeout_ms"
            );
        }
        self.publisher.close();
    }
}

/// Runs what blocks on a thread of its own. The receiver hears nothing when there is no thread to be had.
fn off_runtime<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (answer, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || drop(answer.send(work())));
    if let Err(error) = started {
        tracing::error!(name, %error, "thread not started");
    }
    receiver
}

#[cfg(test)]
pub(super) mod tests;
