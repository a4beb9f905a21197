//! Looks at brokers and topics, and makes the topics that are missing.
//!
//! Every few seconds, at once when a client has trouble, and each second while something is waited for. What it
//! finds is the bus's health; it never gives up and changes nothing that exists.
//!
//! A program whose user may not see some topics does not wait for them: it is not to use them. If it does all the
//! same, the brokers refuse it, and that is said of the publishing or of the consumer group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::RDKafkaErrorCode,
    producer::Producer as _,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{client, observer::Observer, off_runtime, publisher::Publisher, state::State};
use crate::{
    Error, Result,
    events::{
        DEAD_LETTER_TOPIC,
        catalog::CATALOG,
        config::{KafkaConfig, TopicsConfig},
    },
};

/// How often all is looked at while all is well.
const PERIOD: Duration = Duration::from_secs(10);
/// How often it is looked at while something is waited for.
const WAITING_PERIOD: Duration = Duration::from_secs(1);
/// The least time between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How long brokers have to answer a look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long brokers have to create topics.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);

/// The topics of this product.
pub(super) fn topics() -> BTreeSet<&'static str> {
    let published = CATALOG.iter().map(|(_, topic, _)| *topic);
    published.chain([DEAD_LETTER_TOPIC]).collect()
}

/// Looks after brokers and topics until the end.
pub(super) struct Monitor {
    pub(super) config: KafkaConfig,
    pub(super) publisher: Arc<Publisher>,
    pub(super) state: Arc<State>,
}

impl Monitor {
    pub(super) async fn run(self, end: CancellationToken) {
        loop {
            let period = tokio::select! {
                () = end.cancelled() => return,
                well = self.look() => if well { PERIOD } else { WAITING_PERIOD },
            };
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(period) => {}
                () = self.state.look.notified() => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether all is well.
    async fn look(&self) -> bool {
        self.publisher.forget_failures(Instant::now());
        let seen = match self.existing().await {
            Ok(existing) => self.unlisted(&existing).await.map(|rest| (existing, rest)),
            Err(error) => Err(error),
        };
        let (existing, (hidden, missing)) = match seen {
            Ok(seen) => seen,
            Err(error) => {
                let why = self.state.last_error().unwrap_or(error);
                let brokers = &self.config.brokers;
                let text = format!("Kafka at {brokers} (event_bus.kafka.brokers): {why}");
                self.state.set_brokers(Some(text));
                return false;
            }
        };
        let problem = if missing.is_empty() {
            self.too_few(&existing)
        } else if self.config.topics.create {
            let created = self.create(missing).await;
            Some(
                created
                    .err()
                    .unwrap_or_else(|| "topics are being created".to_owned()),
            )
        } else {
            Some(self.absent(&missing))
        };
        let well = problem.is_none();
        let hidden = hidden.into_iter().map(str::to_owned);
        self.state
            .set_topics(existing.into_keys().chain(hidden).collect(), problem);
        self.state.set_brokers(None);
        well
    }

    /// The topics that there are, with how many partitions they have.
    async fn existing(&self) -> Result<BTreeMap<String, usize>, String> {
        let producer = self
            .publisher
            .current()
            .map_err(|error| error.to_string())?;
        let fetched = off_runtime("kafka-metadata", move || {
            // Of all topics, because asking for one may create it.
            producer.get().client().fetch_metadata(None, LOOK_TIMEOUT)
        });
        let metadata = fetched
            .await
            .map_err(|_| "no thread to ask the brokers".to_owned())?
            .map_err(|error| match error.rdkafka_error_code() {
                Some(code) => code.to_string(),
                None => error.to_string(),
            })?;
        let prefix = &self.config.topic_prefix;
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.error().is_none())
            .filter_map(|topic| {
                let name = topic.name().strip_prefix(prefix.as_str())?;
                Some((name.to_owned(), topic.partitions().len()))
            })
            .collect())
    }

    /// Our topics that are not in the list: those that this user may not see, and those that are missing.
    async fn unlisted(
        &self,
        existing: &BTreeMap<String, usize>,
    ) -> Result<(Vec<&'static str>, Vec<&'static str>), String> {
        let unlisted: Vec<&str> = topics()
            .into_iter()
            .filter(|topic| !existing.contains_key(*topic))
            .collect();
        if unlisted.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let config = self.config.clone();
        let observer = Observer {
            state: self.state.clone(),
            role: "admin",
        };
        let asked = off_runtime("kafka-topics", move || hidden(&config, observer, &unlisted));
        let sorted = asked
            .await
            .map_err(|_| "no thread to ask the brokers".to_owned())?;
        sorted.map_err(|error| error.to_string())
    }

    fn too_few(&self, existing: &BTreeMap<String, usize>) -> Option<String> {
        let wanted = self.config.topics.partitions as usize;
        topics().into_iter().find_map(|topic| {
            let there = *existing.get(topic)?;
            (there < wanted).then(|| {
                format!(
                    "topic {}{topic} has {there} partitions and event_bus.kafka.topics.partitions is {wanted}: add \
                     partitions to the topic or lower the setting; nothing is published until then",
                    self.config.topic_prefix
                )
            })
        })
    }

    fn absent(&self, missing: &[&str]) -> String {
        let names: Vec<String> = missing
            .iter()
            .map(|topic| format!("{}{topic}", self.config.topic_prefix))
            .collect();
        format!(
            "missing topics: {}; create them with {} partitions each, or set event_bus.kafka.topics.create = true",
            names.join(", "),
            self.config.topics.partitions
        )
    }

    /// Asks for the missing topics; the next look sees whether they are there.
    async fn create(&self, missing: Vec<&'static str>) -> Result<(), String> {
        let config = self.config.clone();
        let observer = Observer {
            state: self.state.clone(),
            role: "admin",
        };
        let created = off_runtime("kafka-topics", move || create(&config, observer, &missing));
        match created.await {
            Ok(Ok(created)) => {
                // Otherwise the brokers have what they do not list yet: the next look comes soon enough.
                if created > 0 {
                    self.state.look.notify_one();
                }
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no thread to create topics".to_owned()),
        }
    }
}

/// Asks for each topic by its name, and gives those that the user may not see, and the others; blocks.
fn hidden(
    config: &KafkaConfig,
    observer: Observer,
    unlisted: &[&'static str],
) -> Result<(Vec<&'static str>, Vec<&'static str>)> {
    let failed = |error| Error::unavailable(format!("asking for topics: {error}"));
    // Unlike a producer's, a consumer's question creates no topic. It joins no group.
    let asking: BaseConsumer<Observer> =
        BaseConsumer::from_config_and_context(&client::consumer(config, "monitor")?, observer)
            .map_err(failed)?;
    let (mut hidden, mut missing) = (Vec::new(), Vec::new());
    for topic in unlisted {
        let name = format!("{}{topic}", config.topic_prefix);
        let metadata = asking
            .fetch_metadata(Some(&name), LOOK_TIMEOUT)
            .map_err(failed)?;
        let may_not = metadata.topics().iter().any(|found| {
            found.error().map(RDKafkaErrorCode::from)
                == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
        });
        match may_not {
            true => hidden.push(*topic),
            false => missing.push(*topic),
        }
    }
    Ok((hidden, missing))
}

/// Creates topics and waits for it; gives how many were not there before. Blocks.
fn create(config: &KafkaConfig, observer: Observer, missing: &[&str]) -> Result<usize> {
    let admin = AdminClient::from_config_and_context(&client::producer(config)?, observer)
        .map_err(|error| Error::unavailable(format!("creating topics: {error}")))?;
    let names: Vec<String> = missing
        .iter()
        .map(|topic| format!("{}{topic}", config.topic_prefix))
        .collect();
    let settings: Vec<Vec<(&str, String)>> = missing
        .iter()
        .map(|topic| settings(config, topic))
        .collect();
    let partitions = i32::try_from(config.topics.partitions).unwrap_or(i32::MAX);
    let replication = match config.topics.replication_factor {
        0 => -1,
        copies => i32::from(copies),
    };
    let new: Vec<NewTopic<'_>> = names
        .iter()
        .zip(&settings)
        .map(|(name, settings)| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
            settings
                .iter()
                .fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(CREATE_TIMEOUT))
        .operation_timeout(Some(CREATE_TIMEOUT));
    let results = futures::executor::block_on(admin.create_topics(&new, &options))
        .map_err(|error| Error::unavailable(format!("creating topics: {error}")))?;
    let mut created = 0;
    for result in results {
        match result {
            Ok(topic) => {
                created += 1;
                tracing::info!(topic, partitions, "topic created");
            }
            // Another program was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(Error::unavailable(refused(&config.topics, &topic, code)));
            }
        }
    }
    Ok(created)
}

/// The settings of a new topic.
fn settings(config: &KafkaConfig, topic: &str) -> Vec<(&'static str, String)> {
    let topics = &config.topics;
    let hours = match topic {
        DEAD_LETTER_TOPIC => topics.dead_letter_retention_hours,
        _ => topics.retention_hours,
    };
    let mut settings = vec![
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", (u64::from(hours) * 3_600_000).to_string()),
        ("max.message.bytes", config.message_bytes_max.to_string()),
    ];
    let in_sync = match (topics.min_insync_replicas, topics.replication_factor) {
        (0, 0) => None,
        (0, copies) => Some((copies - 1).max(1)),
        (least, _) => Some(least),
    };
    settings.extend(in_sync.map(|least| ("min.insync.replicas", least.to_string())));
    settings
}

/// Why a topic was not created, with what to do about it.
fn refused(topics: &TopicsConfig, topic: &str, code: RDKafkaErrorCode) -> String {
    let advice = match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => format!(
            "the user may not create it: allow it, or create it by hand with {} partitions and set \
             event_bus.kafka.topics.create = false",
            topics.partitions
        ),
        RDKafkaErrorCode::InvalidReplicationFactor => format!(
            "event_bus.kafka.topics.replication_factor is {}, more than there are brokers",
            topics.replication_factor
        ),
        RDKafkaErrorCode::InvalidPartitions => {
            format!("event_bus.kafka.topics.partitions is {}", topics.partitions)
        }
        _ => "see event_bus.kafka.topics".to_owned(),
    };
    format!("topic {topic} cannot be created ({code}): {advice}")
}
