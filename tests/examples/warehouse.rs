//! `examples/warehouse`: a real Kafka broker, read by Kafka's own consumer, and the files beside it.

use super::stage::{events, nothing_is_lost, plan, send, start};
use super::yard::{Yard, http, lines, wait_for, wait_until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use switchyard::model::{Clock, SystemClock};
use switchyard_services::kafka::Kafka;

const SECRET: &[u8] = b"made-up-secret-of-32-bytes!!!!!!";
const TOPICS: [&str; 3] = ["shop.order.confirmed", "shop.order.paid", "shop.order.cancelled"];

fn create_topics(broker: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let admin: AdminClient<DefaultClientContext> = rdkafka::ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    let new = TOPICS.map(|topic| NewTopic::new(topic, 4, TopicReplication::Fixed(1)));
    for created in runtime.block_on(admin.create_topics(&new, &AdminOptions::new())).unwrap() {
        created.unwrap();
    }
}

/// Posts an event as the platform would: many, without a process for each.
fn post(yard: &Yard, nth: usize, body: &Value) {
    let (id, body) = (format!("msg-{nth}"), body.to_string());
    let at = SystemClock::default().wall().0 / 1_000;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [("webhook-id", id.as_str()), ("webhook-timestamp", &at.to_string()), ("webhook-signature", &signature)];
    let answer = http::request(&yard.daemon().events, "POST", "/platform", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", String::from_utf8_lossy(&answer.body), yard.log());
}

/// What Kafka's own consumer reads: topic's partition, headers, key, value.
#[derive(Debug)]
struct Record {
    partition: String,
    headers: String,
    key: String,
    value: String,
}

impl Record {
    fn json(&self) -> Value {
        serde_json::from_str(&self.value).unwrap()
    }
}

fn consumed(kafka: &Kafka, topic: &str, count: usize) -> Vec<Record> {
    let count = count.to_string();
    let mut arguments = vec!["--topic", topic, "--from-beginning", "--max-messages", &count, "--timeout-ms", "30000"];
    let shown = ["partition", "headers", "key", "value"].map(|what| format!("print.{what}=true"));
    for property in &shown {
        arguments.extend(["--formatter-property", property]);
    }
    let said = kafka.tool("consumer.ConsoleConsumer", &arguments, "").unwrap();
    let record = |line: &str| {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [partition, headers, key, value] = parts.as_slice() else { panic!("{line}") };
        Record { partition: (*partition).into(), headers: (*headers).into(), key: (*key).into(), value: (*value).into() }
    };
    // A sample event is its file's exact bytes, with the line end.
    said.lines().filter(|line| !line.is_empty()).map(record).collect()
}

/// How many records a topic has up to the last one that a delivery names: `in TOPIC, partition 1, offset 7`.
fn written(deliveries: &[Value], topic: &str) -> usize {
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for delivery in deliveries {
        let place = delivery["detail"].as_str().unwrap().strip_prefix(&format!("in {topic}, partition "));
        let Some((partition, offset)) = place.and_then(|place| place.split_once(", offset ")) else { continue };
        let end = ends.entry(partition).or_default();
        *end = (*end).max(offset.parse::<usize>().unwrap() + 1);
    }
    ends.values().sum()
}

/// All lines of the files below a folder.
fn all_lines(folder: PathBuf) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(&folder) else { return vec![] };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { all_lines(path) } else { lines(&path) }).collect()
}

#[test]
fn every_order_is_in_kafka_in_its_shops_order_and_everything_in_files_through_a_broker_that_leaves() {
    let mut kafka = Kafka::start(&[]).unwrap();
    create_topics(&kafka.plain());
    let yard = start("warehouse", &[("KAFKA_BROKER", &kafka.plain())]);
    let ids: Vec<String> = events("warehouse").iter().map(|event| send(&yard, "platform", None, event)).collect();
    assert_eq!(plan(&yard, &ids[0]), ["stream > kafka", "history > archive", "lines > lines", "lines > table"]);
    assert_eq!(plan(&yard, &ids[4]), ["history > archive"], "stock is no order");
    for id in &ids[..4] {
        let delivered = yard.wait_state(id, "kafka", "delivered");
        assert!(delivered["detail"].as_str().unwrap().contains("offset"), "the proof is where it lies: {delivered}");
    }
    // A type that is none of the topics: dead and visible, and no topic comes of it.
    let strange = yard.wait_state(&ids[5], "kafka", "dead");
    assert!(strange["detail"].as_str().unwrap().contains("topics"), "{strange}");

    // The broker leaves in the middle: the file goes on, Kafka's share waits and comes in order.
    let confirmed = |nth: usize| json!({ "type": "order.confirmed", "data": { "shop": format!("shop-{}", nth % 3), "number": nth, "total": 1, "lines": [] } });
    let delivered = || yard.json(&["deliveries", "--output", "kafka", "--state", "delivered", "-n", "1000"]);
    let all_delivered =
        |count: usize| wait_until(|| delivered().len() == count, || format!("{count} records; {}\n{}", delivered().len(), yard.log()));
    (0..30).for_each(|nth| post(&yard, nth, &confirmed(nth)));
    all_delivered(34);
    kafka.stop();
    (30..60).for_each(|nth| post(&yard, nth, &confirmed(nth)));
    wait_for("the archive to have all while the broker is away", || all_lines(yard.path("warehouse/events")).len() == 66);
    kafka.start_again().unwrap();
    all_delivered(64);

    let records = consumed(&kafka, "shop.order.confirmed", written(&delivered(), "shop.order.confirmed"));
    let mut by_shop: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for record in &records {
        let data = &record.json()["data"];
        assert_eq!(data["shop"], record.key.as_str());
        assert!(
            record.headers.contains(&format!("shop:{}", record.key)) && record.headers.contains("switchyard-delivery:dlv_"),
            "{record:?}"
        );
        assert_eq!(
            places.entry(record.key.clone()).or_insert_with(|| record.partition.clone()),
            &record.partition,
            "one shop, one partition"
        );
        if let Some(number) = data["number"].as_u64() {
            by_shop.entry(record.key.clone()).or_default().push(number);
        }
    }
    for (shop, key) in (0..3_u64).map(|shop| (shop, format!("shop-{shop}"))) {
        let expected: Vec<u64> = (0..60).filter(|nth| nth % 3 == shop).collect();
        let found = &by_shop[&key];
        // What was sent without an answer when the broker went away may be there twice, side by side.
        let mut once = found.clone();
        once.dedup();
        assert_eq!(once, expected, "{key}: {found:?}");
    }
    assert!(records.iter().any(|record| record.value.contains("100000000000000000.01")), "amounts keep their digits");
    assert_eq!(consumed(&kafka, "shop.order.paid", 1)[0].key, "shop-17");
    nothing_is_lost(&yard);

    // As text: a reader that makes floats of numbers would hide what became of the digits.
    let files: Vec<PathBuf> = std::fs::read_dir(yard.path("warehouse/lines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let cells: Vec<&str> = text.lines().map(|line| line.split_once(r#""shop": "#).unwrap().1).collect();
    assert_eq!(
        cells,
        [
            r#""shop-17", "order": "A-1", "line": 1, "sku": "VASE-BLUE", "pieces": 4, "price": 12.10}"#,
            r#""shop-17", "order": "A-1", "line": 2, "sku": "CARD-\"YES\"", "pieces": 10, "price": 1.30}"#,
            r#""shop-4", "order": "B-1", "line": 1, "sku": "=MILL()", "pieces": 1, "price": 100000000000000000.01}"#,
        ]
    );

    let tables: Vec<PathBuf> = std::fs::read_dir(yard.path("warehouse/table")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let text: String = tables.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let rows = [
        format!("{},shop-17,A-1,1,VASE-BLUE,4,12.10", ids[0]),
        format!("{},shop-17,A-1,2,\"CARD-\"\"YES\"\"\",10,1.30", ids[0]),
        format!("{},shop-4,B-1,1,'=MILL(),1,100000000000000000.01", ids[2]),
    ];
    assert_eq!(text.lines().filter(|line| !line.starts_with("event,shop,")).collect::<Vec<_>>(), rows);
}
