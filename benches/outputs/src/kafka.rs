//! Records of a Kafka topic of four partitions: idempotent, `acks=all`, each with its delivery report.
//!
//! The bare client is librdkafka's producer with a callback, the least that can be done with it, and settings of the same meaning.

use crate::crew::{Crew, Hand};
use crate::delivery::{CONTENT_TYPE, Delivery, RECEIVED_AT, Sample};
use crate::far_side::{AtOnce, FarSide, ids, text};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, metadata::MetadataTopic};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchyard_api::{AnyKind, Rendered, kind};
use switchyard_services::kafka::Kafka;
use tokio::sync::Notify;

const PARTITIONS: i32 = 4;
/// Asking a broker takes no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one broker.
pub struct Broker(Kafka);

impl Broker {
    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.0.plain());
        client
    }
    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        Ok(self.client().create()?)
    }
}

impl FarSide for Broker {
    const NAME: &'static str = "kafka";
    const COUNT: u64 = 200_000;
    type Bare = Crew<Share>;

    fn start(_scratch: &Path) -> anyhow::Result<Self> {
        Kafka::start(&[]).map(Broker)
    }
    async fn make(&self, place: &str) -> anyhow::Result<()> {
        let topic = NewTopic::new(place, PARTITIONS, TopicReplication::Fixed(1)).set("file.delete.delay.ms", "1000");
        // Their time is long past: by default the broker would soon remove them.
        let topic = topic.set("retention.ms", "-1");
        for made in self.admin()?.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await? {
            made.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
        }
        Ok(())
    }
    fn kind(&self) -> Arc<dyn AnyKind> {
        kind::any(switchyard_kafka::Kafka)
    }
    fn settings(&self, _place: &str) -> Json {
        json!({ "brokers": [self.0.plain()] })
    }
    fn message(&self, place: &str, sample: &Sample) -> Vec<(&'static str, Rendered)> {
        vec![text("topic", place), text("key", &sample.key), text("body", &sample.body)]
    }
    async fn bare(&self, place: &str, at_once: AtOnce) -> anyhow::Result<Crew<Share>> {
        let mut client = self.client();
        client.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        client.set("linger.ms", "5").set("batch.size", "1000000");
        let producer = Arc::new(client.create_with_context::<_, ThreadedProducer<Reports>>(Reports)?);
        let share = || Share { producer: Arc::clone(&producer), topic: place.to_owned() };
        Ok(Crew::new((0..at_once.calls).map(|_| share()).collect()))
    }
    /// By the offsets: an idempotent producer writes nothing else into a topic.
    async fn arrived(&self, place: &str) -> anyhow::Result<u64> {
        let consumer: BaseConsumer = self.client().create()?;
        let metadata = consumer.fetch_metadata(Some(place), PATIENCE)?;
        let mut count = 0;
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (low, high) = consumer.fetch_watermarks(place, partition.id(), PATIENCE)?;
            count += high - low;
        }
        Ok(u64::try_from(count)?)
    }
    async fn remove(&self, place: &str) -> anyhow::Result<()> {
        for removed in self.admin()?.delete_topics(&[place], &AdminOptions::new()).await? {
            removed.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
        }
        Ok(())
    }
}

/// Counts reports.
struct Reports;

/// A batch whose reports are awaited.
#[derive(Default)]
struct Waiting {
    landed: AtomicUsize,
    failed: AtomicUsize,
    all: AtomicUsize,
    done: Notify,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Arc<Waiting>) {
        if result.is_err() {
            waiting.failed.fetch_add(1, Ordering::AcqRel);
        }
        if waiting.landed.fetch_add(1, Ordering::AcqRel) + 1 == waiting.all.load(Ordering::Acquire) {
            waiting.done.notify_one();
        }
    }
}

/// A share of the producer.
pub struct Share {
    producer: Arc<ThreadedProducer<Reports>>,
    topic: String,
}

impl Hand for Share {
    type Item = Delivery;

    async fn send(&mut self, batch: Vec<Delivery>) -> anyhow::Result<()> {
        let waiting = Arc::new(Waiting { all: AtomicUsize::new(batch.len()), ..Waiting::default() });
        for delivery in &batch {
            let mut headers = OwnedHeaders::new_with_capacity(4).insert(Header { key: "content-type", value: Some(CONTENT_TYPE) });
            for (key, value) in ids(delivery) {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(&waiting));
            let record = record.key(&delivery.sample.key).payload(&delivery.sample.body).headers(headers).timestamp(RECEIVED_AT);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        waiting.done.notified().await;
        anyhow::ensure!(waiting.failed.load(Ordering::Acquire) == 0, "a record was not taken");
        Ok(())
    }
}
