//! What librdkafka tells: its log, its errors, what a consumer holds and how far behind it is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    statistics::Partition,
};

use super::state::State;

/// What every client does with the log and with errors of its connections.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) state: Arc<State>,
    pub(super) role: &'static str,
}

impl ClientContext for Observer {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        self.state.metrics.error(self.role, code);
        tracing::debug!(client = self.role, %error, reason, "Kafka client error");
        // That all brokers are down says less than why the last one could not be reached.
        let down = code == Some(RDKafkaErrorCode::AllBrokersDown);
        self.state.note_error((!down).then_some(reason));
    }
}

impl ConsumerContext for Observer {}

/// Connections that fail are told once, by the health, and not once for each attempt.
fn log(level: RDKafkaLogLevel, fac: &str, message: &str) {
    let connection = matches!(fac, "FAIL" | "ERROR" | "CONFWARN");
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
            if !connection =>
        {
            tracing::warn!(fac, message, "librdkafka");
        }
        RDKafkaLogLevel::Debug => tracing::trace!(fac, message, "librdkafka"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning
        | RDKafkaLogLevel::Notice
        | RDKafkaLogLevel::Info => tracing::debug!(fac, message, "librdkafka"),
    }
}

/// One member of a consumer group.
pub(super) struct Member {
    observer: Observer,
    /// Tells it from other members of its group in this process, such as the one before it.
    number: u64,
    group: String,
    prefix: String,
    /// The topics it reads, by their names on the brokers.
    topics: Vec<String>,
    /// The newest offset stored of each partition that it holds.
    stored: Mutex<HashMap<(String, i32), i64>>,
    /// The topics that it was told to be unable to read; the empty name is the group itself. `None` when it has
    /// left.
    troubles: Mutex<Option<BTreeSet<String>>>,
}

impl Member {
    pub(super) fn new(state: Arc<State>, group: &str, prefix: &str, topics: Vec<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            observer: Observer {
                state,
                role: "consumer",
            },
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            group: group.to_owned(),
            prefix: prefix.to_owned(),
            topics,
            stored: Mutex::default(),
            troubles: Mutex::new(Some(BTreeSet::new())),
        }
    }

    /// Whether this offset is the newest of its partition so far, and notes it.
    pub(super) fn is_newest(&self, topic: &str, partition: i32, offset: i64) -> bool {
        let mut stored = lock(&self.stored);
        let newest = stored
            .entry((topic.to_owned(), partition))
            .or_insert(i64::MIN);
        let newer = offset > *newest;
        *newest = offset.max(*newest);
        newer
    }

    /// The member has left: it is behind nothing and has no trouble, whatever the library still says.
    pub(super) fn left(&self) {
        for topic in &self.topics {
            self.lag(topic, 0);
        }
        let mut troubles = lock(&self.troubles);
        for topic in troubles.take().unwrap_or_default() {
            self.observer.state.set_group(&self.place(&topic), None);
        }
    }

    fn trouble(&self, reason: &str) {
        let mut troubles = lock(&self.troubles);
        let Some(troubles) = troubles.as_mut() else {
            return;
        };
        let topic = self.topics.iter().find(|topic| reason.contains(*topic));
        let topic = topic.cloned().unwrap_or_default();
        let text = format!("consumer group {}: {reason}", self.group);
        self.observer
            .state
            .set_group(&self.place(&topic), Some(text));
        troubles.insert(topic);
    }

    fn no_trouble(&self, topic: &str) {
        let mut troubles = lock(&self.troubles);
        let had = troubles.as_mut().is_some_and(|all| all.remove(topic));
        if had {
            self.observer.state.set_group(&self.place(topic), None);
        }
    }

    fn place(&self, topic: &str) -> String {
        format!("{} {topic} {}", self.group, self.number)
    }

    fn lag(&self, topic: &str, events: u64) {
        let topic = topic.strip_prefix(&self.prefix).unwrap_or(topic);
        self.observer.state.metrics.lag(&self.group, topic, events);
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::InvalidSessionTimeout,
            ) => {
                self.observer
                    .state
                    .metrics
                    .error(self.observer.role, error.rdkafka_error_code());
                self.trouble(reason);
            }
            _ => self.observer.error(error, reason),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut lags: BTreeMap<&str, u64> = self
            .topics
            .iter()
            .map(|topic| (topic.as_str(), 0))
            .collect();
        for (name, topic) in &statistics.topics {
            // Partition -1 is the library's own.
            let held = topic
                .partitions
                .values()
                .filter(|p| p.partition >= 0 && p.desired);
            if let Some(lag) = lags.get_mut(name.as_str()) {
                *lag = held.filter_map(lag_of).sum();
            }
        }
        for (topic, lag) in lags {
            self.lag(topic, lag);
        }
    }
}

/// How many events of the partition have not had their effect; `None` while that is not known.
fn lag_of(partition: &Partition) -> Option<u64> {
    let known = [partition.consumer_lag_stored, partition.consumer_lag];
    if let Some(lag) = known.into_iter().find(|lag| *lag >= 0) {
        return u64::try_from(lag).ok();
    }
    // Nothing is committed yet: all after what was handed to the consumer, or else after what is fetched.
    let position = [
        partition.app_offset,
        partition.next_offset - partition.fetchq_cnt,
    ];
    let position = position.into_iter().find(|offset| *offset >= 0)?;
    u64::try_from(partition.hi_offset - position).ok()
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (what, partitions) = match rebalance {
            Rebalance::Assign(partitions) => ("assigned", partitions),
            Rebalance::Revoke(partitions) => ("revoked", partitions),
            Rebalance::Error(error) => {
                tracing::warn!(group = self.group, %error, "rebalance failed");
                return;
            }
        };
        self.observer.state.metrics.rebalance(&self.group);
        let mut stored = lock(&self.stored);
        let mut names = Vec::new();
        for element in partitions.elements() {
            let place = (element.topic().to_owned(), element.partition());
            names.push(format!("{}/{}", place.0, place.1));
            stored.remove(&place);
        }
        drop(stored);
        if what == "assigned" {
            // Also with nothing to read, as one member too many: it is in the group.
            self.no_trouble("");
            for element in partitions.elements() {
                self.no_trouble(element.topic());
            }
        }
        if names.is_empty() {
            return;
        }
        tracing::info!(
            group = self.group,
            partitions = names.join(" "),
            "partitions {what}"
        );
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // There was nothing to commit.
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => {
                self.observer
                    .state
                    .metrics
                    .error(self.observer.role, error.rdkafka_error_code());
                tracing::warn!(group = self.group, %error, "offsets not committed, events will be delivered again");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rdkafka::{ClientConfig, config::FromClientConfigAndContext};

    use super::*;
    use crate::events::BusHealth;

    const TOPIC: &str = "slipway.registry";

    fn state() -> Arc<State> {
        let state = Arc::new(State::new("not reached yet".to_owned()));
        state.set_brokers(None);
        state
    }

    fn member(state: &Arc<State>) -> Member {
        Member::new(state.clone(), "g", "", vec![TOPIC.to_owned()])
    }

    fn health(state: &State) -> BusHealth {
        state.health().borrow().clone()
    }

    #[test]
    fn the_trouble_of_a_group_is_over_when_its_member_is_in_it_with_nothing_to_read() {
        let state = state();
        let mut config = ClientConfig::new();
        config.set("group.id", "g");
        let client = BaseConsumer::from_config_and_context(&config, member(&state)).unwrap();
        let member = member(&state);
        member.trouble("GroupCoordinator: not authorized");
        assert!(matches!(health(&state), BusHealth::Waiting(_)));
        let nothing = TopicPartitionList::new();
        member.pre_rebalance(&client, &Rebalance::Assign(&nothing));
        assert_eq!(health(&state), BusHealth::Ok);
    }

    #[test]
    fn a_member_that_left_takes_its_own_trouble_with_it_and_no_other() {
        let state = state();
        let (before, after) = (member(&state), member(&state));
        before.trouble("slipway.registry: not authorized");
        after.trouble("slipway.registry: not authorized");
        before.left();
        assert!(matches!(health(&state), BusHealth::Waiting(_)));
        after.left();
        assert_eq!(health(&state), BusHealth::Ok);
        // The library may say one more thing while it closes.
        after.trouble("slipway.registry: not authorized");
        assert_eq!(health(&state), BusHealth::Ok);
    }
}
