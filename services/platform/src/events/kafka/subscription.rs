//! One member of a consumer group.
//!
//! It joins when its topics are there. Partitions change only inside of [`Subscription::next`], so nobody else
//! handles an event while it is in hand here, unless this member was silent for so long that the group went on
//! without it. Offsets are stored when an event had its effect, and committed every
//! `commit_interval_ms`, before a partition is given away, and on leaving.

use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::{
    Message,
    config::FromClientConfigAndContext,
    consumer::{Consumer as _, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{Shared, client, cloudevents, monitor, observer::Member, off_runtime};
use crate::{
    Error, Result,
    events::{Delivery, Position, Received, Subscription},
};

/// A place in a consumer group; left when it is dropped.
pub(super) struct KafkaSubscription {
    shared: Arc<Shared>,
    group: String,
    topics: Vec<String>,
    consumer: Option<StreamConsumer<Member>>,
}

impl KafkaSubscription {
    pub(super) fn new(shared: Arc<Shared>, group: &str, topics: &[&str]) -> Self {
        Self {
            shared,
            group: group.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            consumer: None,
        }
    }

    /// Joins the group, when it has not yet.
    async fn join(&mut self) -> Result<()> {
        if self.consumer.is_some() {
            return Ok(());
        }
        let ours = monitor::topics();
        let mut existing = self.shared.state.topics();
        existing
            .wait_for(|existing| {
                let mut ours = self.topics.iter().filter(|t| ours.contains(t.as_str()));
                ours.all(|topic| existing.contains(topic))
            })
            .await
            .map_err(|_| Error::unavailable("event bus is closed"))?;
        let config = &self.shared.config;
        let names: Vec<String> = self.topics.iter().map(|t| self.on_brokers(t)).collect();
        let member = Member::new(
            self.shared.state.clone(),
            &self.group,
            &config.topic_prefix,
            names.clone(),
        );
        let properties = client::consumer(config, &self.group)?;
        let failed = |error: KafkaError| {
            Error::unavailable(format!("Kafka consumer group {}: {error}", self.group))
        };
        let consumer: StreamConsumer<Member> =
            StreamConsumer::from_config_and_context(&properties, member).map_err(failed)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // From here on it leaves as every member does, also when it could not join.
        self.shared.members.send_modify(|members| *members += 1);
        let consumer = self.consumer.insert(consumer);
        consumer.subscribe(&names).map_err(failed)
    }

    fn on_brokers(&self, topic: &str) -> String {
        format!("{}{topic}", self.shared.config.topic_prefix)
    }

    fn delivery(&self, message: &impl Message) -> Delivery {
        let prefix = &self.shared.config.topic_prefix;
        let topic = message.topic().strip_prefix(prefix.as_str());
        let topic = topic.unwrap_or_else(|| message.topic());
        let received = cloudevents::decode(message, topic);
        let metrics = &self.shared.state.metrics;
        metrics.consumed(&self.group, topic);
        if let Received::Malformed(_) = &received {
            metrics.malformed(&self.group, topic);
        }
        Delivery {
            received,
            position: Position {
                topic: topic.to_owned(),
                partition: message.partition(),
                offset: message.offset(),
            },
        }
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<Delivery> {
        self.join().await?;
        let consumer = self.consumer.as_ref().expect("it has joined");
        loop {
            match consumer.recv().await {
                Ok(message) => return Ok(self.delivery(&message)),
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    let why = consumer.client().fatal_error().map(|(_, why)| why);
                    let why = why.unwrap_or_else(|| code.to_string());
                    return Err(Error::unavailable(format!(
                        "Kafka consumer group {}: {why}",
                        self.group
                    )));
                }
                // The library goes on by itself, and the member has noted what it is.
                Err(error) => {
                    tracing::debug!(group = self.group, %error, "Kafka consumer error");
                }
            }
        }
    }

    async fn commit(&mut self, delivery: &Delivery) -> Result<()> {
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let Position {
            topic,
            partition,
            offset,
        } = &delivery.position;
        let topic = self.on_brokers(topic);
        if !consumer.context().is_newest(&topic, *partition, *offset) {
            return Ok(());
        }
        match consumer.store_offset(&topic, *partition, *offset) {
            Ok(()) => Ok(()),
            // The partition went to another member: the event will be delivered there too.
            Err(KafkaError::StoreOffset(
                code @ (RDKafkaErrorCode::State | RDKafkaErrorCode::UnknownPartition),
            )) => {
                tracing::debug!(group = self.group, topic, partition, offset, %code, "offset of another member's partition");
                Ok(())
            }
            Err(error) => Err(Error::unavailable(format!(
                "Kafka consumer group {}: {error}",
                self.group
            ))),
        }
    }
}

impl Drop for KafkaSubscription {
    /// Leaving commits, tells the group and waits for both, so it happens on a thread of its own.
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        let shared = self.shared.clone();
        drop(off_runtime("kafka-consumer-close", move || {
            let member = consumer.context().clone();
            drop(consumer);
            member.left();
            shared.members.send_modify(|members| *members -= 1);
        }));
    }
}
