//! What does an output cost beside the bare client? The same records to one real broker, in turn, in one run.
//!
//! `cargo bench -p switchyard-kafka` prints records a second of both, each round. It proves nothing by itself: compare within a run.

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::path::Path;
use std::time::Duration;
use switchyard_api::conformance::{deliver, parcel};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Handle, Kind, Kit, Message, Output, Parcel, Rendered, Span, Wall};
use switchyard_kafka::KafkaOutput;
use switchyard_services::kafka::Kafka;
use tokio::time::Instant;

const ROUNDS: usize = 5;
/// Records a round.
const RECORDS: u64 = 100_000;
/// Batches under way at once, as with `concurrency: 8`.
const AT_ONCE: usize = 8;
/// Bytes a record.
const SIZE: usize = 500;

fn main() -> anyhow::Result<()> {
    let kafka = Kafka::start(&[])?;
    tokio::runtime::Runtime::new()?.block_on(async {
        create(&kafka.plain()).await?;
        let output = connect(&kafka.plain()).await?;
        let bare: FutureProducer = client(&kafka.plain()).create()?;
        for round in 1..=ROUNDS {
            let (ours, theirs) = (through_the_output(&output).await?, through_the_client(&bare).await?);
            println!(
                "round {round}: output {:>7.0} records/s, bare client {:>7.0} records/s, {:.2} of it",
                rate(ours),
                rate(theirs),
                rate(ours) / rate(theirs)
            );
        }
        Ok(())
    })
}

fn rate(took: Duration) -> f64 {
    RECORDS as f64 / took.as_secs_f64()
}

fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "5").set("partitioner", "murmur2_random");
    client
}

async fn create(brokers: &str) -> anyhow::Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = client(brokers).create()?;
    let topic = NewTopic::new("bench", 4, TopicReplication::Fixed(1));
    for created in admin.create_topics([&topic], &AdminOptions::new()).await? {
        created.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

async fn connect(brokers: &str) -> anyhow::Result<KafkaOutput> {
    let brokers = Node { span: Span::default(), value: Value::List(vec![Node::text(brokers)]) };
    let settings =
        Node { span: Span::default(), value: Value::Map(vec![(Key { span: Span::default(), name: "brokers".into() }, brokers)]) };
    let mut problems = vec![];
    let config = switchyard_api::tree::read(&settings, &mut problems).ok_or_else(|| anyhow::anyhow!("{problems:?}"))?;
    let kit = Kit { timeout: Duration::from_secs(30), ..Kit::new("bench", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    Ok(switchyard_kafka::Kafka.connect(config, &kit).await?)
}

async fn through_the_output(output: &KafkaOutput) -> anyhow::Result<Duration> {
    let batch = output.max_batch() as u64;
    let fields = |n: u64| [("topic", "bench".to_owned()), ("key", format!("key-{n}")), ("body", "x".repeat(SIZE))];
    let message =
        |n| Message { fields: fields(n).map(|(name, value)| (name.to_owned(), Rendered::Text(value))).into(), ..Message::default() };
    let parcels = |from: u64| (from..from + batch).map(|n| parcel(n, &message(n % 1_000))).collect::<Vec<Parcel>>();
    let mut batches: Vec<Vec<Parcel>> = (0..RECORDS / batch).map(|n| parcels(n * batch)).collect();
    let began = Instant::now();
    while !batches.is_empty() {
        let now: Vec<_> = batches.drain(..AT_ONCE.min(batches.len())).collect();
        let handles: Vec<Handle> = now.iter().flatten().map(|parcel| parcel.handle).collect();
        let said = futures_util::future::join_all(now.into_iter().map(|parcels| deliver(output, parcels, None))).await;
        let outcomes = said.iter().flat_map(|said| said.outcomes.values().flatten());
        anyhow::ensure!(outcomes.filter(|outcome| outcome.word() == "delivered").count() == handles.len(), "not all were delivered");
    }
    Ok(began.elapsed())
}

async fn through_the_client(client: &FutureProducer) -> anyhow::Result<Duration> {
    let keys: Vec<String> = (0..1_000).map(|n| format!("key-{n}")).collect();
    let value = "x".repeat(SIZE);
    let began = Instant::now();
    for from in (0..RECORDS).step_by(AT_ONCE * 500) {
        let mut waiting = vec![];
        for n in from..(from + AT_ONCE as u64 * 500).min(RECORDS) {
            let id = format!("dlv_{n:032x}");
            let headers = OwnedHeaders::new().insert(Header { key: "switchyard-delivery", value: Some(&id) });
            let record = FutureRecord::to("bench").key(&keys[n as usize % keys.len()]).payload(&value).headers(headers);
            waiting.push(client.send_result(record).map_err(|(error, _)| error)?);
        }
        for report in waiting {
            report.await?.map_err(|(error, _)| error)?;
        }
    }
    Ok(began.elapsed())
}
