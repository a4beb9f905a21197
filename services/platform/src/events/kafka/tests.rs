//! Kafka against the library's mock brokers, in this process.

mod broker_cases;
mod group_cases;
mod message_cases;
mod settings_cases;

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    message::{Header, OwnedHeaders},
    mocking::MockCluster,
    producer::{DefaultProducerContext, FutureProducer, FutureRecord},
};

use super::{super::config::BusConfig, *};
use crate::{
    clock::Timestamp,
    config,
    events::{Delivery, catalog::REGISTRY_TOPIC},
};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The brokers of a test: the library's mock ones, or those that `SLIPWAY_TEST_KAFKA` names.
pub(in crate::events) struct World {
    brokers: String,
    /// Keeps this test's topics and groups apart from others' on the same brokers.
    prefix: String,
    partitions: String,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl World {
    /// With the catalog's topics.
    pub(in crate::events) fn new(partitions: i32) -> Self {
        let real = std::env::var("SLIPWAY_TEST_KAFKA").ok();
        let mock = real.is_none().then(|| mock(partitions));
        let brokers = real.unwrap_or_else(|| mock.as_ref().unwrap().bootstrap_servers());
        let prefix = match mock {
            Some(_) => String::new(),
            None => format!("test-{}.", uuid::Uuid::new_v4().simple()),
        };
        Self {
            brokers,
            prefix,
            partitions: partitions.to_string(),
            mock,
        }
    }

    fn config(&self, overrides: &[(&str, &str)]) -> KafkaConfig {
        let create = if self.mock.is_some() { "false" } else { "true" };
        let mut all = vec![
            ("KAFKA__TOPIC_PREFIX", self.prefix.as_str()),
            ("KAFKA__GROUP_PREFIX", self.prefix.as_str()),
            ("KAFKA__TOPICS__CREATE", create),
            ("KAFKA__TOPICS__PARTITIONS", self.partitions.as_str()),
        ];
        all.extend(overrides);
        settings(&self.brokers, &all)
    }

    pub(in crate::events) fn bus(&self, overrides: &[(&str, &str)]) -> KafkaBus {
        KafkaBus::start(&self.config(overrides)).unwrap()
    }

    /// A topic by its name on the brokers.
    fn on_brokers(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// A client that is not ours.
    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("auto.offset.reset", "earliest");
        client
    }

    /// Sends a message as another program would.
    pub(in crate::events) async fn send(
        &self,
        partition: i32,
        key: &[u8],
        headers: &[(&str, &[u8])],
        value: &[u8],
    ) {
        let producer: FutureProducer = self.client().remove("auto.offset.reset").create().unwrap();
        let topic = self.on_brokers(REGISTRY_TOPIC);
        let record = FutureRecord::to(&topic)
            .partition(partition)
            .key(key)
            .payload(value)
            .headers(foreign(headers));
        producer.send(record, PATIENCE).await.unwrap();
    }
}

impl Drop for World {
    /// Topics on brokers that stay are deleted.
    fn drop(&mut self) {
        if self.mock.is_some() {
            return;
        }
        let (client, topics) = (
            self.client().remove("auto.offset.reset").clone(),
            monitor::topics().into_iter().map(|t| self.on_brokers(t)),
        );
        let topics: Vec<String> = topics.collect();
        let deleting = std::thread::spawn(move || {
            let admin: AdminClient<_> = client.create().unwrap();
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let deleted = admin.delete_topics(&topics, &AdminOptions::new());
            futures::executor::block_on(deleted).unwrap();
        });
        deleting.join().unwrap();
    }
}

fn mock(partitions: i32) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in monitor::topics() {
        cluster.create_topic(topic, partitions, 1).unwrap();
    }
    cluster
}

fn foreign(headers: &[(&str, &[u8])]) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(*value),
            })
        })
}

/// The defaults with brokers that exist and with short times.
pub(in crate::events::kafka) fn settings(brokers: &str, overrides: &[(&str, &str)]) -> KafkaConfig {
    load(brokers, overrides).unwrap().kafka
}

fn load(brokers: &str, overrides: &[(&str, &str)]) -> Result<BusConfig, config::ConfigError> {
    let mut values = BTreeMap::from([
        ("KIND", "kafka"),
        ("KAFKA__BROKERS", brokers),
        ("KAFKA__COMMIT_INTERVAL_MS", "50"),
        ("KAFKA__TOPICS__CREATE", "false"),
        ("KAFKA__TOPICS__PARTITIONS", "1"),
    ]);
    values.extend(overrides.iter().copied());
    let env = values
        .into_iter()
        .map(|(key, value)| (format!("SLIPWAY__EVENT_BUS__{key}"), value.to_owned()));
    config::load(
        super::super::config::DEFAULTS,
        Some(super::super::config::SECTION),
        None,
        env,
    )
}

fn event(key: &str, sequence: i64) -> Event {
    Event {
        id: format!("{key}-{sequence}"),
        source: "//slipway/registry".to_owned(),
        r#type: "io.slipway.version.created.v1".to_owned(),
        topic: REGISTRY_TOPIC.to_owned(),
        key: key.to_owned(),
        sequence,
        subject: format!("{key}/versions/{sequence}"),
        time: Timestamp(1_767_225_600_123_456),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        data: format!("{{\"model\":\"{key}\"}}").into_bytes(),
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} took too long"))
}

/// Publishes as the outbox does: again and again until it is done.
async fn publish(bus: &KafkaBus, events: &[Event]) {
    within("publishing", async {
        while bus.publish(events).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn deliver(subscription: &mut Box<dyn Subscription>) -> Delivery {
    within("a delivery", subscription.next()).await.unwrap()
}

async fn subscribe(bus: &KafkaBus, group: &str) -> Box<dyn Subscription> {
    bus.subscribe(group, &[REGISTRY_TOPIC]).await.unwrap()
}

async fn waiting_for(bus: &KafkaBus, part: &str) -> String {
    let mut health = bus.health();
    let says = |health: &BusHealth| matches!(health, BusHealth::Waiting(why) if why.contains(part));
    let health = within(part, health.wait_for(says)).await.unwrap().clone();
    match health {
        BusHealth::Waiting(why) => why,
        BusHealth::Ok => unreachable!("it waits"),
    }
}

pub(in crate::events) async fn usable(bus: &KafkaBus) {
    let mut health = bus.health();
    let usable = health.wait_for(|health| *health == BusHealth::Ok);
    drop(within("a usable bus", usable).await.unwrap());
}
