//! Publishing: every event of a batch is acknowledged by all replicas, or the batch is given up as a whole.
//!
//! The producer is idempotent, so what is written of a partition is always a beginning of what was sent to it.
//! When the time runs out or one event fails, all that is still on its way is purged and the producer is
//! replaced: the caller sends the batch again, and a later event of a key is never in the log before an earlier
//! one was.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    config::FromClientConfigAndContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{
        FutureProducer, FutureRecord, Producer as _, PurgeConfig, future_producer::DeliveryFuture,
    },
};
use tokio::time::Instant;
use tracing::Span;

use super::{SYSTEM, client, cloudevents, observer::Observer, off_runtime, state::State};
use crate::{
    Error, Result,
    events::{BusHealth, Event, config::KafkaConfig, trace},
    telemetry,
};

/// Publishing that has not succeeded for this long is a problem that the health says.
const FAILING_AFTER: Duration = Duration::from_secs(3);
/// Who publishes tries again sooner than this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How long a batch waits for Kafka before it is given back unsent.
const READY_WAIT: Duration = Duration::from_secs(3);
/// How long a full queue of the producer is given to drain before the next look.
const FULL_WAIT: Duration = Duration::from_millis(5);

/// A producer; what is left of it when it is dropped is purged, on a thread of its own because that blocks.
pub(super) struct Producer(Option<FutureProducer<Observer>>);

impl Producer {
    /// The producer itself.
    pub(super) fn get(&self) -> &FutureProducer<Observer> {
        self.0.as_ref().expect("it is taken only when dropped")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let producer = self.0.take();
        drop(off_runtime("kafka-producer-close", move || drop(producer)));
    }
}

/// Publishes events; makes its producer when it is needed.
pub(super) struct Publisher {
    config: KafkaConfig,
    state: Arc<State>,
    current: Mutex<Option<Arc<Producer>>>,
    /// The attempts that failed since the last that did not.
    failing: Mutex<Option<Failing>>,
}

struct Failing {
    /// When the first one began.
    since: Instant,
    /// When the last one failed.
    last: Instant,
}

/// A batch that is being sent. When it is dropped before all of it is settled, because it failed, took too long
/// or nobody waits for it any more, nothing of it is sent later.
struct Attempt<'a> {
    publisher: &'a Publisher,
    producer: Arc<Producer>,
    settled: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.publisher.retire(&self.producer);
        }
    }
}

/// An event on its way.
struct Sent<'a> {
    event: &'a Event,
    /// Ends when the event is acknowledged.
    span: Span,
    acknowledged: DeliveryFuture,
}

impl Publisher {
    pub(super) fn new(config: KafkaConfig, state: Arc<State>) -> Self {
        Self {
            config,
            state,
            current: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// Returns when all are acknowledged. After an error any of them may have been written; `Unavailable`
    /// says that none was.
    pub(super) async fn publish(&self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.ready().await?;
        let mut attempt = Attempt {
            publisher: self,
            producer: self.current()?,
            settled: false,
        };
        let limit = self.config.publish_timeout();
        let begun = Instant::now();
        let sending = self.send(attempt.producer.get(), events);
        let sent = tokio::time::timeout(limit, self.told(begun, &events[0], sending)).await;
        attempt.settled = matches!(sent, Ok(Ok(()) | Err(Error::Precondition { .. })));
        let error = match sent {
            Ok(done @ (Ok(()) | Err(Error::Precondition { .. }))) => {
                self.note_success();
                return done;
            }
            Ok(Err(error)) => error,
            Err(_) => {
                let (more, limit) = (events.len() - 1, limit.as_millis());
                let why = format!(
                    "it and the {more} after it are not all acknowledged after {limit} ms \
                     (event_bus.kafka.publish_timeout_ms)"
                );
                self.failed(&events[0], &why)
            }
        };
        self.state.note_error(None);
        self.note_failure(begun, Instant::now(), &error);
        Err(error)
    }

    /// Sends, and says so when it takes long.
    async fn told(
        &self,
        begun: Instant,
        first: &Event,
        sending: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut sending = std::pin::pin!(sending);
        if let Ok(sent) = tokio::time::timeout(FAILING_AFTER, &mut sending).await {
            return sent;
        }
        // What failed before says more.
        if self.failing().is_none() {
            let why = format!("it and those after it are not acknowledged after {FAILING_AFTER:?}");
            self.note_failure(begun, Instant::now(), &self.failed(first, &why));
        }
        sending.await
    }

    fn note_success(&self) {
        if self.failing().take().is_some() {
            self.state.set_publishing(None);
        }
    }

    /// An attempt that began at `begun` failed; the next one follows.
    fn note_failure(&self, begun: Instant, now: Instant, error: &Error) {
        let mut failing = self.failing();
        let failing = failing.get_or_insert(Failing {
            since: begun,
            last: now,
        });
        failing.last = now;
        if now - failing.since >= FAILING_AFTER {
            let text = format!("events are not published: {error}");
            self.state.set_publishing(Some(text));
        }
    }

    /// Forgets failures after which nobody has tried again: another replica publishes now.
    pub(super) fn forget_failures(&self, now: Instant) {
        let mut failing = self.failing();
        let is_over = |failing: &mut Failing| now - failing.last >= FORGOTTEN_AFTER;
        if failing.take_if(is_over).is_some() {
            self.state.set_publishing(None);
        }
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer in use.
    pub(super) fn current(&self) -> Result<Arc<Producer>> {
        let mut current = self.lock();
        if let Some(producer) = &*current {
            return Ok(producer.clone());
        }
        let observer = Observer {
            state: self.state.clone(),
            role: "producer",
        };
        let producer =
            FutureProducer::from_config_and_context(&client::producer(&self.config)?, observer)
                .map_err(|error| Error::unavailable(format!("Kafka producer: {error}")))?;
        Ok(current.insert(Arc::new(Producer(Some(producer)))).clone())
    }

    /// Lets go of the producer; what is on its way in it is given up.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    /// Gives up all that is on its way in this producer, for every caller, and uses another one from now on.
    fn retire(&self, producer: &Arc<Producer>) {
        self.lock()
            .take_if(|current| Arc::ptr_eq(current, producer));
        producer
            .get()
            .purge(PurgeConfig::default().queue().inflight());
    }

    async fn ready(&self) -> Result<()> {
        let mut publishing = self.state.publishing();
        let wait = READY_WAIT.min(self.config.publish_timeout());
        let ready = publishing.wait_for(|health| *health == BusHealth::Ok);
        if let Ok(Ok(_)) = tokio::time::timeout(wait, ready).await {
            return Ok(());
        }
        let now = publishing.borrow().clone();
        match now {
            BusHealth::Ok => Ok(()),
            BusHealth::Waiting(reason) => Err(Error::unavailable(reason)),
        }
    }

    async fn send(&self, producer: &FutureProducer<Observer>, events: &[Event]) -> Result<()> {
        let mut sent = VecDeque::with_capacity(events.len());
        let mut refused = Ok(());
        for event in events {
            match self.enqueue(producer, event, &mut sent).await {
                Ok(()) => {}
                Err(error @ Error::Precondition { .. }) => {
                    // Nothing is wrong with the producer, and the events before this one are fine.
                    refused = Err(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(next) = sent.pop_front() {
            self.acknowledged(next).await?;
        }
        refused
    }

    async fn enqueue<'a>(
        &self,
        producer: &FutureProducer<Observer>,
        event: &'a Event,
        sent: &mut VecDeque<Sent<'a>>,
    ) -> Result<()> {
        let topic = format!("{}{}", self.config.topic_prefix, event.topic);
        let span = trace::sending(SYSTEM, event);
        let hop = telemetry::traceparent_of(&span);
        let hop = hop.as_deref().or(event.traceparent.as_deref());
        let mut record = FutureRecord::to(&topic)
            .key(event.key.as_str())
            .payload(event.data.as_slice())
            .headers(cloudevents::headers(event, hop));
        loop {
            let error = match producer.send_result(record) {
                Ok(acknowledged) => {
                    sent.push_back(Sent {
                        event,
                        span,
                        acknowledged,
                    });
                    return Ok(());
                }
                Err((error, again)) => {
                    record = again;
                    error
                }
            };
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => match sent.pop_front() {
                    Some(oldest) => self.acknowledged(oldest).await?,
                    // Full of what others send.
                    None => tokio::time::sleep(FULL_WAIT).await,
                },
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    return Err(self.too_large(event));
                }
                _ => return Err(self.failed(event, &reason(&error))),
            }
        }
    }

    async fn acknowledged(&self, sent: Sent<'_>) -> Result<()> {
        let Sent {
            event,
            span,
            acknowledged,
        } = sent;
        let error = match acknowledged.await {
            Ok(Ok(_)) => {
                self.state.metrics.published(&event.topic);
                drop(span);
                return Ok(());
            }
            Ok(Err((error, _))) => error,
            Err(_) => KafkaError::Canceled,
        };
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            return Err(self.failed(
                event,
                "the brokers say that it is too large: raise max.message.bytes of the topic",
            ));
        }
        Err(self.failed(event, &reason(&error)))
    }

    fn failed(&self, event: &Event, why: &str) -> Error {
        Error::OutcomeUnknown {
            what: format!(
                "event {} ({}) for topic {}{} of Kafka at {}: {why}",
                event.id, event.r#type, self.config.topic_prefix, event.topic, self.config.brokers
            ),
        }
    }

    fn too_large(&self, event: &Event) -> Error {
        let why = format!(
            "event {} ({}) has {} bytes of data, and a message may have {} (event_bus.kafka.message_bytes_max)",
            event.id,
            event.r#type,
            event.data.len(),
            self.config.message_bytes_max
        );
        Error::precondition("EVENT_TOO_LARGE", &event.id, why)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Producer>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What people can act on.
fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed),
        ) => format!("the user may not write it ({code})"),
        Some(code) => code.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::kafka::tests::settings;

    #[test]
    fn failures_are_said_after_a_while_and_forgotten_when_nobody_tries_again() {
        let state = Arc::new(State::new("not reached yet".to_owned()));
        state.set_brokers(None);
        let publisher = Publisher::new(settings("127.0.0.1:9", &[]), state.clone());
        let is_well = || *state.health().borrow() == BusHealth::Ok;
        let (error, start) = (Error::unavailable("refused"), Instant::now());
        publisher.note_failure(start, start, &error);
        assert!(is_well(), "one failure is not yet a problem");
        let later = start + FAILING_AFTER;
        publisher.note_failure(later, later, &error);
        assert!(!is_well());
        let may_publish = state.publishing().borrow().clone();
        assert_eq!(may_publish, BusHealth::Ok, "it is tried again");
        publisher.forget_failures(later + FORGOTTEN_AFTER / 2);
        assert!(!is_well());
        publisher.forget_failures(later + FORGOTTEN_AFTER);
        assert!(is_well());
        publisher.note_failure(start, later, &error);
        assert!(!is_well(), "one attempt that took so long");
        publisher.note_success();
        assert!(is_well());
    }
}
