//! What is on the story's topics, as a stranger with a Kafka client sees it: headers, keys, bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use slipway_platform::events::catalog::{
    ANOMALY_TOPIC, DEAD_LETTER_TOPIC, DEPLOYMENT_TOPIC, EVALUATION_TOPIC, REGISTRY_TOPIC,
};

/// A call to a broker on this machine takes less.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Everything that services publish on.
pub const EVENT_TOPICS: [&str; 4] = [
    REGISTRY_TOPIC,
    EVALUATION_TOPIC,
    DEPLOYMENT_TOPIC,
    ANOMALY_TOPIC,
];

/// One message as it is on the topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The topic, as Slipway calls it.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// The key.
    pub key: String,
    /// Header values as text.
    pub headers: BTreeMap<String, String>,
    /// The value.
    pub value: Vec<u8>,
}

impl Message {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        self.header("ce_id")
    }

    /// The event's type.
    pub fn r#type(&self) -> &str {
        self.header("ce_type")
    }

    /// The event's number within its source, topic and key; 0 when it has none.
    pub fn sequence(&self) -> i64 {
        self.header("ce_sequence").parse().unwrap_or(0)
    }

    /// The data as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.value).context("the data of an event")
    }
}

/// A message that is to be produced as it is.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    /// The key.
    pub key: String,
    /// Headers, in this order.
    pub headers: Vec<(String, String)>,
    /// The value.
    pub value: Vec<u8>,
}

impl Raw {
    /// What a message was, to be produced again or changed.
    pub fn again(message: &Message) -> Self {
        Self {
            key: message.key.clone(),
            headers: message.headers.clone().into_iter().collect(),
            value: message.value.clone(),
        }
    }

    /// With a header in place of the one of that name.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(one, _)| one != name);
        self
    }
}

/// The topics and consumer groups of one story.
#[derive(Debug, Clone)]
pub struct Topics {
    bootstrap: String,
    prefix: String,
}

impl Topics {
    pub(super) fn new(bootstrap: &str, prefix: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    /// A topic's or a group's name on the broker.
    pub fn on_broker(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Every message of these topics, by topic, partition and offset.
    pub async fn read(&self, topics: &[&str]) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        for topic in topics {
            let (this, topic) = (self.clone(), (*topic).to_owned());
            let read = tokio::task::spawn_blocking(move || this.read_topic(&topic)).await?;
            messages.extend(read?);
        }
        Ok(messages)
    }

    /// Every event that the services have published.
    pub async fn events(&self) -> Result<Vec<Message>> {
        self.read(&EVENT_TOPICS).await
    }

    /// Everything that consumers have given up.
    pub async fn dead_letters(&self) -> Result<Vec<Message>> {
        self.read(&[DEAD_LETTER_TOPIC]).await
    }

    /// Produces a message as it is, and waits until the broker has it.
    pub async fn produce(&self, topic: &str, raw: &Raw) -> Result<()> {
        let producer: FutureProducer = self.client().set("acks", "all").create()?;
        let mut headers = OwnedHeaders::new();
        for (key, value) in &raw.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let name = self.on_broker(topic);
        let record = FutureRecord::to(&name)
            .key(&raw.key)
            .payload(&raw.value)
            .headers(headers);
        producer
            .send(record, TIMEOUT)
            .await
            .map_err(|(error, _)| error)
            .with_context(|| format!("producing to {name}"))?;
        Ok(())
    }

    /// Creates a topic as its administrator would.
    pub async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let name = self.on_broker(topic);
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for result in self.admin()?.create_topics([&new], &options()).await? {
            result.map_err(|(name, code)| anyhow::anyhow!("creating {name}: {code}"))?;
        }
        Ok(())
    }

    /// Gives a topic more partitions, so many in all.
    pub async fn widen(&self, topic: &str, partitions: usize) -> Result<()> {
        let name = self.on_broker(topic);
        let more = NewPartitions::new(&name, partitions);
        for result in self.admin()?.create_partitions([&more], &options()).await? {
            result.map_err(|(name, code)| anyhow::anyhow!("widening {name}: {code}"))?;
        }
        Ok(())
    }

    /// How many partitions a topic has; 0 when it is not there.
    pub async fn partitions(&self, topic: &str) -> Result<usize> {
        let (this, name) = (self.clone(), self.on_broker(topic));
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = this.client().create()?;
            let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
            let topic = metadata.topics().iter().find(|one| one.name() == name);
            Ok(topic.map_or(0, |topic| topic.partitions().len()))
        })
        .await?
    }

    /// Puts a group back to the beginning of these topics. Its consumers must have left.
    pub async fn rewind(&self, group: &str, topics: &[&str]) -> Result<()> {
        let (this, group) = (self.clone(), self.on_broker(group));
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = this.client().set("group.id", &group).create()?;
            let mut offsets = TopicPartitionList::new();
            for topic in &topics {
                let name = this.on_broker(topic);
                for partition in partitions(&consumer, &name)? {
                    offsets.add_partition_offset(&name, partition, Offset::Offset(0))?;
                }
            }
            ensure!(offsets.count() > 0, "none of {topics:?} is there");
            consumer
                .commit(&offsets, CommitMode::Sync)
                .with_context(|| format!("putting {group} back"))
        })
        .await?
    }

    /// What a group has committed, by topic (as Slipway calls it) and partition; partitions without are left out.
    pub async fn committed(
        &self,
        group: &str,
        topics: &[&str],
    ) -> Result<BTreeMap<(String, i32), i64>> {
        let (this, group) = (self.clone(), self.on_broker(group));
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = this.client().set("group.id", &group).create()?;
            let mut found = BTreeMap::new();
            for topic in &topics {
                let name = this.on_broker(topic);
                let mut wanted = TopicPartitionList::new();
                for partition in partitions(&consumer, &name)? {
                    wanted.add_partition(&name, partition);
                }
                for element in consumer.committed_offsets(wanted, TIMEOUT)?.elements() {
                    if let Offset::Offset(offset) = element.offset() {
                        found.insert((topic.clone(), element.partition()), offset);
                    }
                }
            }
            Ok(found)
        })
        .await?
    }

    pub(super) async fn delete(&self) -> Result<()> {
        let this = self.clone();
        let names = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = this.client().create()?;
            let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
            let names = metadata.topics().iter().map(|topic| topic.name());
            let mine = names.filter(|name| name.starts_with(&this.prefix));
            anyhow::Ok(mine.map(str::to_owned).collect::<Vec<_>>())
        })
        .await??;
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.admin()?.delete_topics(&names, &options()).await?;
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "slipway-story")
            .set("enable.auto.commit", "false")
            .set("group.id", format!("{}story", self.prefix));
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.client().create()?)
    }

    fn read_topic(&self, topic: &str) -> Result<Vec<Message>> {
        let name = self.on_broker(topic);
        let consumer: BaseConsumer = self.client().create()?;
        let mut ends = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in partitions(&consumer, &name)? {
            let (low, high) = consumer.fetch_watermarks(&name, partition, TIMEOUT)?;
            if high > low {
                ends.insert(partition, high);
                assignment.add_partition_offset(&name, partition, Offset::Offset(low))?;
            }
        }
        consumer.assign(&assignment)?;
        let mut messages = Vec::new();
        while !ends.is_empty() {
            let Some(received) = consumer.poll(TIMEOUT) else {
                bail!("{name} gave nothing more; missing up to {ends:?}");
            };
            let received = received?;
            if ends
                .get(&received.partition())
                .is_some_and(|end| received.offset() + 1 >= *end)
            {
                ends.remove(&received.partition());
            }
            messages.push(Message {
                topic: topic.to_owned(),
                partition: received.partition(),
                offset: received.offset(),
                key: String::from_utf8_lossy(received.key().unwrap_or_default()).into_owned(),
                headers: received.headers().map(texts).unwrap_or_default(),
                value: received.payload().unwrap_or_default().to_vec(),
            });
        }
        messages.sort_by_key(|message| (message.partition, message.offset));
        Ok(messages)
    }
}

fn texts<H: Headers>(headers: &H) -> BTreeMap<String, String> {
    let text =
        |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers
        .iter()
        .map(|header| (header.key.to_owned(), text(header.value)))
        .collect()
}

fn partitions(consumer: &BaseConsumer, name: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
    let topic = metadata.topics().iter().find(|one| one.name() == name);
    let partitions = topic.iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.id()).collect())
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT))
}
