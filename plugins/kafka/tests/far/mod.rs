//! What the tests share: settings as a file would give them, topics, and reading back with a consumer.

#![allow(clippy::unwrap_used)] // tests may

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Kind, Kit, Message, Output, Rendered, Span, Wall};
use switchyard_kafka::{Config, Kafka};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn text(text: &str) -> Node {
    Node::text(text)
}
pub fn list(items: &[&str]) -> Node {
    Node { span: Span::default(), value: Value::List(items.iter().map(|item| text(item)).collect()) }
}
pub fn map(entries: Vec<(&str, Node)>) -> Node {
    let key = |name: &str| Key { span: Span::default(), name: name.into() };
    Node { span: Span::default(), value: Value::Map(entries.into_iter().map(|(name, node)| (key(name), node)).collect()) }
}

pub fn kit(timeout: Duration) -> Kit {
    Kit { timeout, ..Kit::new("warehouse", Path::new("/"), "switchyard/0", Wall::new(|| 0)) }
}

pub fn config(brokers: &[&str], more: Vec<(&str, Node)>) -> Config {
    let mut entries = vec![("brokers", list(brokers))];
    entries.extend(more);
    let mut problems = vec![];
    let config: Config = switchyard_api::tree::read(&map(entries), &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    assert_eq!(Kafka.validate(&config), []);
    config
}

pub async fn connect(brokers: &[&str], more: Vec<(&str, Node)>, timeout: Duration) -> Arc<dyn Output> {
    Arc::new(Kafka.connect(config(brokers, more), &kit(timeout)).await.unwrap())
}

pub fn message(topic: &str, fields: &[(&str, &str)]) -> Message {
    let mut all = BTreeMap::from([("topic".to_owned(), Rendered::Text(topic.to_owned()))]);
    all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))));
    Message { fields: all, ..Message::default() }
}

pub async fn create(brokers: &str, topic: &str, partitions: i32, replication: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for created in admin.create_topics([&new], &options).await.unwrap() {
        created.unwrap();
    }
}

/// A record as the consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
    pub timestamp: Option<i64>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(there, _)| there == name).map_or("", |(_, value)| value)
    }
}

/// All that stands in a topic, a partition after the other, each in its order.
pub async fn read(brokers: &str, topic: &str) -> Vec<Seen> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_all(&brokers, &topic)).await.unwrap()
}

fn read_all(brokers: &str, topic: &str) -> Vec<Seen> {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("group.id", "reads-back")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", "10000000");
    let consumer: BaseConsumer = client.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut assigned = TopicPartitionList::new();
    let mut ends = BTreeMap::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), PATIENCE).unwrap();
        if high > low {
            assigned.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
            ends.insert(partition.id(), high);
        }
    }
    consumer.assign(&assigned).unwrap();
    let mut seen = vec![];
    while !ends.is_empty() {
        let message = consumer.poll(PATIENCE).expect("records up to the end").unwrap();
        if ends.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            ends.remove(&message.partition());
        }
        seen.push(owned(&message));
    }
    seen.sort_by_key(|record| (record.partition, record.offset));
    seen
}

fn owned(message: &BorrowedMessage<'_>) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers =
        message.headers().map_or(vec![], |headers| headers.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or(b"")))).collect());
    Seen {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp: message.timestamp().to_millis(),
    }
}
