//! The `kafka` output against a real Apache Kafka broker, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "far/between.rs"]
mod between;
mod far;

use between::Between;
use far::{Seen, config, connect, create, kit, map, message, read, text};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use switchyard_api::conformance::{FarSide, PROMISES, Refused, deliver, deliver_one, parcel};
use switchyard_api::tree::Node;
use switchyard_api::{Handle, Kind, Message, Output, Parcel, Rendered};
use switchyard_services::kafka::{Kafka, READER, WRITER};
use switchyard_services::net::free_port;

/// One a promise of the suite, and one of a test here.
const FAR_SIDES: usize = PROMISES + 1;
const TIMEOUT: Duration = Duration::from_secs(20);

struct Yard {
    kafka: Kafka,
    announced: Vec<u16>,
}

/// One broker for all tests of this binary.
fn yard() -> &'static Yard {
    static YARD: OnceLock<Yard> = OnceLock::new();
    YARD.get_or_init(|| {
        let announced: Vec<u16> = (0..FAR_SIDES).map(|_| free_port().unwrap()).collect();
        Yard { kafka: Kafka::start_for_all(&announced).unwrap(), announced }
    })
}

async fn topic(name: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    create(&yard().kafka.plain(), &name, partitions, 1, settings).await;
    name
}
async fn plain(more: Vec<(&str, Node)>) -> Arc<dyn Output> {
    connect(&[&yard().kafka.plain()], more, TIMEOUT).await
}
async fn seen(topic: &str) -> Vec<Seen> {
    read(&yard().kafka.plain(), topic).await
}
fn told(record: &Seen) -> String {
    String::from_utf8(record.value.clone().unwrap()).unwrap()
}

struct Broker {
    between: Between,
    address: String,
    topic: String,
}

impl FarSide for Broker {
    async fn start() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = yard().announced[nth];
        let between = Between::start(port, yard().kafka.behind(nth)).await;
        Broker { between, address: format!("127.0.0.1:{port}"), topic: topic("orders", 3, &[("max.message.bytes", "20000")]).await }
    }
    async fn output(&self) -> Arc<dyn Output> {
        connect(&[&self.address], vec![], Duration::from_secs(10)).await
    }
    fn message(&self) -> Message {
        message(&self.topic, &[("key", "1042")])
    }
    async fn arrived(&self) -> Vec<String> {
        seen(&self.topic).await.iter().map(|record| record.header("switchyard-delivery").to_owned()).collect()
    }
    async fn leave(&mut self) -> bool {
        self.between.leave().await;
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(&[&yard().kafka.sasl()], vec![("sasl", sasl("PLAIN", WRITER.0, "made-up-wrong-one"))], TIMEOUT).await;
        Some(Refused { output, secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.between.hang();
        true
    }
    fn answer(&mut self) {
        self.between.answer();
    }
    fn poison(&self) -> Option<Message> {
        Some(message(&self.topic, &[("body", &"x".repeat(50_000))]))
    }
    fn nowhere(&self) -> Option<Message> {
        Some(message("not-there", &[]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let settings = sasl("PLAIN", WRITER.0, WRITER.1);
        let config = config(&[&yard().kafka.sasl()], vec![("sasl", settings)]);
        let output = switchyard_kafka::Kafka.connect(config.clone(), &kit(TIMEOUT)).await.unwrap();
        let outcome = deliver_one(&output, parcel(3, &self.message())).await;
        assert_eq!(outcome.word(), "delivered", "{outcome:?}");
        let wrong = connect(&[&yard().kafka.sasl()], vec![("sasl", sasl("PLAIN", WRITER.0, "made-up-wrong-one"))], TIMEOUT).await;
        let refused = wrong.check().await.unwrap_err();
        (format!("{config:?} {output:?} {outcome:?} {refused:?}"), vec![WRITER.1.to_owned(), "made-up-wrong-one".to_owned()])
    }
}

switchyard_api::conformance!(Broker);

fn sasl(mechanism: &str, user: &str, password: &str) -> Node {
    map(vec![("mechanism", text(mechanism)), ("user", text(user)), ("password", text(password))])
}

#[tokio::test]
async fn a_consumer_of_another_make_sees_each_key_in_order_with_headers_and_time() {
    let topic = topic("orders", 4, &[]).await;
    let output = plain(vec![("compression", text("zstd"))]).await;
    let parcels: Vec<Parcel> = (0..400)
        .map(|n| Parcel {
            received_at: 1_772_445_600_000 + n as i64,
            ..parcel(n, &message(&topic, &[("key", &format!("shop-{}", n % 7))]))
        })
        .collect();
    let said = deliver(&*output, parcels.clone(), None).await;
    assert!(parcels.iter().all(|parcel| said.outcome(parcel.handle).word() == "delivered"));

    let arguments = ["--topic", &topic, "--from-beginning", "--max-messages", "400", "--timeout-ms", "60000"];
    let shown = ["key", "value", "headers", "timestamp"].map(|what| format!("print.{what}=true"));
    let mut all = arguments.to_vec();
    for property in &shown {
        all.extend(["--formatter-property", property]);
    }
    let lines = tool("consumer.ConsoleConsumer", all.iter().map(|word| (*word).to_owned()).collect(), String::new()).await;
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in lines.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [time, headers, key, value] = parts.as_slice() else { panic!("{line}") };
        let number: serde_json::Value = serde_json::from_str(value).unwrap();
        let number = number["number"].as_u64().unwrap();
        assert_eq!(*time, format!("CreateTime:{}", 1_772_445_600_000 + number));
        for header in [
            "content-type:application/json".to_owned(),
            format!("switchyard-event:evt_{number:032x}"),
            format!("switchyard-delivery:dlv_{number:032x}"),
            "switchyard-attempt:1".to_owned(),
        ] {
            assert!(headers.split(',').any(|there| there == header), "{headers}");
        }
        by_key.entry((*key).to_owned()).or_default().push(number);
    }
    let expected: BTreeMap<String, Vec<u64>> = (0..7).map(|shop| (format!("shop-{shop}"), (shop..400).step_by(7).collect())).collect();
    assert_eq!(by_key, expected);
}

async fn tool(class: &'static str, arguments: Vec<String>, input: String) -> String {
    let run = move || yard().kafka.tool(class, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &input).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_key_goes_to_the_partition_where_javas_producer_puts_it() {
    let (ours, theirs) = (topic("ours", 11, &[]).await, topic("theirs", 11, &[]).await);
    let keys: Vec<String> = (0..100).map(|n| format!("kunde-{}-ü{}", n * 7919, "x".repeat(n % 9))).collect();
    let output = plain(vec![]).await;
    let parcels = keys.iter().enumerate().map(|(n, key)| parcel(n as u64, &message(&ours, &[("key", key)]))).collect();
    let said = deliver(&*output, parcels, None).await;
    assert!((0..100).all(|n| said.outcome(Handle(n)).word() == "delivered"));
    let lines: String = keys.iter().flat_map(|key| [key, "|value\n"]).collect();
    let arguments = ["--topic", &theirs, "--reader-property", "parse.key=true", "--reader-property", "key.separator=|"];
    tool("ConsoleProducer", arguments.map(str::to_owned).to_vec(), lines).await;
    let places = |seen: Vec<Seen>| seen.into_iter().map(|record| (record.key.unwrap(), record.partition)).collect::<BTreeMap<_, _>>();
    let (ours, theirs) = (places(seen(&ours).await), places(seen(&theirs).await));
    assert_eq!(ours.len(), 100);
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn a_broker_that_left_is_down_and_nothing_more_is_sent() {
    let mut far = Broker::start().await;
    let output = connect(&[&far.address], vec![], Duration::from_secs(4)).await;
    assert_eq!(deliver_one(&*output, parcel(1, &far.message())).await.word(), "delivered");
    far.leave().await;
    // In the moment in which it leaves a record may be on its way; from then on none is.
    let last = deliver_one(&*output, parcel(2, &far.message())).await;
    assert!(["down", "unknown"].contains(&last.word()), "{last:?}");
    let said = deliver(&*output, vec![parcel(3, &far.message())], None).await;
    assert!(said.outcome(Handle(3)).word() == "down" && said.sent.is_empty(), "{said:?}");
}

#[tokio::test]
async fn too_large_is_rejected_and_its_neighbours_are_delivered() {
    let topic = topic("small", 1, &[("max.message.bytes", "20000")]).await;
    let output = plain(vec![("linger", text("50ms")), ("message_max", text("200000B"))]).await;
    let body = |n: u64| {
        "x".repeat(match n {
            4 => 30_000,
            7 => 300_000,
            _ => 3_000,
        })
    };
    let parcels = (0..12).map(|n| parcel(n, &message(&topic, &[("body", &body(n))]))).collect();
    let said = deliver(&*output, parcels, None).await;
    for number in 0..12 {
        let expected = if [4, 7].contains(&number) { "rejected" } else { "delivered" };
        let outcome = said.outcome(Handle(number));
        assert_eq!(outcome.word(), expected, "{number}: {outcome:?}");
        assert_eq!(said.sent.get(&Handle(number)), Some(&1));
    }
    let lengths: Vec<usize> = seen(&topic).await.iter().map(|record| told(record).len()).collect();
    assert_eq!(lengths, [3_000; 10]);
}

#[tokio::test]
async fn a_compacted_topic_refuses_only_the_record_without_a_key() {
    let topic = topic("compacted", 1, &[("cleanup.policy", "compact")]).await;
    let output = plain(vec![("linger", text("50ms"))]).await;
    let keys = ["a", "b", "", "c"];
    let parcels = keys.iter().enumerate().map(|(n, key)| parcel(n as u64, &message(&topic, &[("key", key)]))).collect();
    let said = deliver(&*output, parcels, None).await;
    let words: Vec<&str> = (0..4).map(|n| said.outcome(Handle(n)).word()).collect();
    assert_eq!(words, ["delivered", "delivered", "rejected", "delivered"]);
    let again = Parcel { attempt: 2, replay: true, ..parcel(9, &message(&topic, &[("key", "a"), ("tombstone", "true")])) };
    assert_eq!(deliver_one(&*output, again).await.word(), "delivered");
    let seen = seen(&topic).await;
    let last = seen.last().unwrap();
    assert_eq!((last.key.as_deref(), &last.value, last.header("switchyard-replay")), (Some("a"), &None, "true"));
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_misconfigured_and_nothing_is_sent() {
    let there = topic("there", 1, &[]).await;
    let output = plain(vec![("topics", far::list(&[&there, "not-there"]))]).await;
    let parcels = vec![parcel(0, &message("not-there", &[])), parcel(1, &message(&there, &[])), parcel(2, &message("other", &[]))];
    let said = deliver(&*output, parcels, None).await;
    assert_eq!([0, 1, 2].map(|n| said.outcome(Handle(n)).word()), ["misconfigured", "delivered", "rejected"]);
    assert!(said.outcome(Handle(0)).text().contains("`not-there`"));
    assert_eq!(said.sent.keys().copied().collect::<Vec<_>>(), [Handle(1)]);
    let error = output.check().await.unwrap_err().to_string();
    assert!(error.contains("`not-there`"), "{error}");
}

#[tokio::test]
async fn each_way_to_prove_a_password_works_and_a_wrong_one_is_misconfigured() {
    let topic = topic("secured", 1, &[]).await;
    let kafka = &yard().kafka;
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let tls = map(vec![("ca", text(kafka.ca().to_str().unwrap()))]);
        let open = vec![("sasl", sasl(mechanism, WRITER.0, WRITER.1))];
        let closed = vec![("sasl", sasl(mechanism, WRITER.0, WRITER.1)), ("tls", tls)];
        for (address, settings) in [(kafka.sasl(), open), (kafka.sasl_tls(), closed)] {
            let output = connect(&[&address], settings, TIMEOUT).await;
            let outcome = deliver_one(&*output, parcel(1, &message(&topic, &[]))).await;
            assert_eq!(outcome.word(), "delivered", "{mechanism} at {address}: {outcome:?}");
        }
        let wrong = connect(&[&kafka.sasl()], vec![("sasl", sasl(mechanism, WRITER.0, "made-up-wrong-one"))], TIMEOUT).await;
        let said = deliver(&*wrong, vec![parcel(1, &message(&topic, &[]))], None).await;
        assert_eq!(said.outcome(Handle(1)).word(), "misconfigured", "{said:?}");
        assert!(said.sent.is_empty());
        assert!(wrong.check().await.unwrap_err().to_string().contains("uthentication"));
    }
    assert_eq!(seen(&topic).await.len(), 6);
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_a_stranger_is_not_trusted() {
    let topic = topic("tls", 1, &[]).await;
    let kafka = &yard().kafka;
    let (cert, key) = kafka.client_certificate();
    let tls =
        map(vec![("ca", text(kafka.ca().to_str().unwrap())), ("cert", text(cert.to_str().unwrap())), ("key", text(key.to_str().unwrap()))]);
    let output = connect(&[&kafka.tls()], vec![("tls", tls)], TIMEOUT).await;
    let outcome = deliver_one(&*output, parcel(1, &message(&topic, &[]))).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
    output.check().await.unwrap();
    let stranger = connect(&[&kafka.sasl_tls()], vec![("tls", map(vec![])), ("sasl", sasl("PLAIN", WRITER.0, WRITER.1))], TIMEOUT).await;
    let outcome = deliver_one(&*stranger, parcel(2, &message(&topic, &[]))).await;
    assert_eq!(outcome.word(), "misconfigured", "{outcome:?}");
}

#[tokio::test]
async fn a_user_without_rights_is_misconfigured_and_goes_on_once_they_are_given() {
    let topic = topic("rights", 1, &[]).await;
    let settings = vec![("sasl", sasl("PLAIN", READER.0, READER.1)), ("topics", far::list(&[&topic]))];
    let output = connect(&[&yard().kafka.sasl()], settings, TIMEOUT).await;
    let allow = |right: &str| {
        let arguments = ["--add", "--allow-principal", "User:reader", "--operation", right, "--topic", &topic].map(str::to_owned).to_vec();
        tool("AclCommand", arguments, String::new())
    };
    for right in ["Describe", "Write"] {
        // A right that was given a moment ago reaches the broker a moment later: until then an attempt may end without a word of the broker's.
        let mut said = deliver(&*output, vec![parcel(1, &message(&topic, &[]))], None).await;
        for _ in 0..10 {
            if said.outcome(Handle(1)).word() != "retry" {
                break;
            }
            said = deliver(&*output, vec![parcel(1, &message(&topic, &[]))], None).await;
        }
        assert_eq!(said.outcome(Handle(1)).word(), "misconfigured", "before {right}: {said:?}");
        let error = output.check().await.unwrap_err().to_string();
        assert!(error.contains("right"), "before {right}: {error}");
        allow(right).await;
    }
    output.check().await.unwrap();
    let outcome = deliver_one(&*output, parcel(1, &message(&topic, &[]))).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}

#[tokio::test]
async fn a_cloud_event_is_read_as_one() {
    let topic = topic("cloudevents", 1, &[]).await;
    for form in ["binary", "structured"] {
        let output = plain(vec![("cloudevents", text(form))]).await;
        assert_eq!(deliver_one(&*output, parcel(1, &message(&topic, &[("key", "1042")]))).await.word(), "delivered");
    }
    let seen = seen(&topic).await;
    let [binary, structured] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((told(binary).as_str(), binary.header("content-type")), (r#"{"number":1}"#, "application/json"));
    assert_eq!((binary.header("ce_type"), binary.header("ce_partitionkey")), ("ORDER_PAID", "1042"));
    assert_eq!(structured.header("content-type"), "application/cloudevents+json; charset=UTF-8");
    let event: serde_json::Value = serde_json::from_str(&told(structured)).unwrap();
    assert_eq!((&event["id"], &event["data"]["number"]), (&binary.header("ce_id").into(), &1.into()));
}

#[tokio::test]
async fn headers_of_the_message_go_along_but_never_ours() {
    let topic = topic("headers", 1, &[]).await;
    let output = plain(vec![]).await;
    let with = |name: &str, value: &str| {
        let mut message = message(&topic, &[]);
        message.fields.insert("headers".into(), Rendered::Map([(name.to_owned(), value.to_owned())].into()));
        message
    };
    assert_eq!(deliver_one(&*output, parcel(1, &with("shop", "a\r\nb"))).await.word(), "delivered");
    assert_eq!(deliver_one(&*output, parcel(2, &with("Switchyard-Delivery", "dlv_1"))).await.word(), "rejected");
    let seen = seen(&topic).await;
    assert_eq!((seen.len(), seen[0].header("shop")), (1, "a\r\nb"));
}
