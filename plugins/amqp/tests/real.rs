//! The `amqp` output against a real RabbitMQ, read back with `amqp-get` and a consumer, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use lapin::options::{BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use switchyard_amqp::{AmqpOutput, Config};
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Rendered, Secret, Span, Wall};
use switchyard_services::gate::Gate;
use switchyard_services::rabbitmq::{MESSAGE_MAX, NARROW, PASSWORD, Rabbit, USER};

/// One for all tests: it takes long to start. It ends with the test's process.
static SERVER: LazyLock<Rabbit> = LazyLock::new(|| Rabbit::start().unwrap());
static QUEUES: AtomicUsize = AtomicUsize::new(0);

fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}
fn config(url: &str) -> Config {
    Config { url: at(Secret::new(url)), ca: None, tls: None, exchange: None }
}
async fn connect(config: Config) -> AmqpOutput {
    assert_eq!(switchyard_amqp::Amqp.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(3), ..Kit::new("queue", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    switchyard_amqp::Amqp.connect(config, &kit).await.unwrap()
}
fn url(port: u16) -> String {
    format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}")
}
fn to(key: &str) -> Message {
    Message { fields: [("routing_key".to_owned(), Rendered::Text(key.to_owned()))].into(), ..Message::default() }
}

/// A client of its own: it closes what it opened when it goes.
struct Reader {
    _connection: Connection,
    channel: Channel,
}

impl Reader {
    async fn of(port: u16) -> Self {
        let connection = Connection::connect(&url(port), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Reader { _connection: connection, channel }
    }
    /// A durable queue of its own.
    async fn queue(&self, arguments: FieldTable) -> String {
        let name = format!("orders-{}", QUEUES.fetch_add(1, Ordering::Relaxed));
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
        name
    }
    /// Takes everything off a queue: the stable ids, in its order.
    async fn take(&self, queue: &str) -> Vec<String> {
        let mut ids = vec![];
        while let Some(message) = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            ids.push(message.delivery.properties.message_id().as_ref().unwrap().as_str().to_owned());
            message.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        }
        ids
    }
}

struct Queue {
    gate: Gate,
    reader: Reader,
    name: String,
    taken: tokio::sync::Mutex<Vec<String>>,
}

impl FarSide for Queue {
    async fn start() -> Self {
        let reader = Reader::of(SERVER.port).await;
        let name = reader.queue(FieldTable::default()).await;
        Queue { gate: Gate::to(SERVER.port).unwrap(), reader, name, taken: tokio::sync::Mutex::default() }
    }
    async fn output(&self) -> Arc<dyn Output> {
        let output = connect(config(&url(self.gate.port))).await;
        // So that a far side that hangs has let it in before.
        output.check().await.unwrap();
        Arc::new(output)
    }
    fn message(&self) -> Message {
        to(&self.name)
    }
    async fn arrived(&self) -> Vec<String> {
        let mut taken = self.taken.lock().await;
        taken.extend(self.reader.take(&self.name).await);
        taken.clone()
    }
    async fn leave(&mut self) -> bool {
        self.gate.shut();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(config(&format!("amqp://{USER}:made-up-wrong-one@127.0.0.1:{}", self.gate.port))).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.gate.hold();
        true
    }
    fn answer(&mut self) {
        self.gate.open();
    }
    fn poison(&self) -> Option<Message> {
        Some(Message { payload: Some("x".repeat(MESSAGE_MAX + 1)), ..to(&self.name) })
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&url(self.gate.port));
        (format!("{config:?} {:?}", connect(config.clone()).await), vec![PASSWORD.to_owned()])
    }
}

switchyard_api::conformance!(Queue);

#[tokio::test]
async fn a_message_holds_the_exact_bytes_and_our_ids() {
    let reader = Reader::of(SERVER.port).await;
    let name = reader.queue(FieldTable::default()).await;
    let output = connect(config(&url(SERVER.port))).await;
    let mut message = to(&name);
    message.fields.insert("headers".into(), Rendered::Map([("shop".to_owned(), "Größe".to_owned())].into()));
    let first = Parcel { raw: r#"{"a": 1.10 }"#.into(), ..parcel(7, &message) };
    for attempt in 1..=2 {
        assert_eq!(deliver_one(&output, Parcel { attempt, ..first.clone() }).await.text(), "confirmed");
    }
    assert_eq!(SERVER.get(&name).unwrap(), r#"{"a": 1.10 }"#);
    let got = reader.channel.basic_get(name.into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap().delivery;
    let properties = got.properties;
    assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some(first.delivery.as_str()));
    assert_eq!((properties.delivery_mode(), properties.timestamp()), (&Some(2), &Some(1_772_445_600)));
    assert_eq!(properties.content_type().as_ref().map(ShortString::as_str), Some("application/json"));
    let headers = properties.headers().clone().unwrap();
    for (name, value) in [("switchyard-event", first.event.as_str()), ("switchyard-attempt", "2"), ("shop", "Größe")] {
        assert_eq!(headers.inner().get(name), Some(&AMQPValue::LongString(value.into())), "{name}");
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_what_no_queue_takes_is_told_apart() {
    let reader = Reader::of(SERVER.port).await;
    let name = reader.queue(FieldTable::default()).await;
    let exchange = format!("exchange-of-{name}");
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    reader.channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    let (bound, from) = (name.as_str().into(), exchange.as_str().into());
    reader.channel.queue_bind(bound, from, "orders.*".into(), QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    let output = connect(Config { exchange: Some(at(exchange)), ..config(&url(SERVER.port)) }).await;
    output.check().await.unwrap();
    // Several in one call, and every other one is returned: each has its own outcome though the library mixes them up.
    for round in 0..5 {
        let unroutable = |n: u64| n % 2 == 1 || n > 180;
        let key = |n| if unroutable(n) { "nobody" } else { "orders.NL" };
        let said = deliver(&output, (0..200).map(|n| parcel(round * 1_000 + n, &to(key(n)))).collect(), None).await;
        for n in 0..200 {
            let outcome = said.outcome(Handle(round * 1_000 + n));
            assert_eq!(outcome.word(), if unroutable(n) { "misconfigured" } else { "delivered" }, "{n}: {outcome:?}");
        }
        let expected: Vec<_> = (0..200).filter(|n| !unroutable(*n)).map(|n| parcel(round * 1_000 + n, &to("")).delivery).collect();
        assert_eq!(reader.take(&name).await, expected);
    }
}

#[tokio::test]
async fn poison_among_others_is_found_by_the_second_attempt() {
    let reader = Reader::of(SERVER.port).await;
    let name = reader.queue(FieldTable::default()).await;
    let output = connect(config(&url(SERVER.port))).await;
    let huge = |n: u64| n == 7;
    let message = |n| Message { payload: huge(n).then(|| "x".repeat(MESSAGE_MAX + 1)), ..to(&name) };
    let mut waiting: Vec<u64> = (0..20).collect();
    let mut rejected = vec![];
    for _ in 0..2 {
        let said = deliver(&output, waiting.iter().map(|n| parcel(*n, &message(*n))).collect(), None).await;
        rejected.extend(waiting.iter().copied().filter(|n| said.outcome(Handle(*n)).word() == "rejected"));
        waiting.retain(|n| said.outcome(Handle(*n)).word() == "retry");
    }
    assert_eq!((rejected, waiting), (vec![7], vec![]));
    let mut arrived = reader.take(&name).await;
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, (0..20).filter(|n| !huge(*n)).map(|n| parcel(n, &to("")).delivery).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_queue_is_tried_again() {
    let reader = Reader::of(SERVER.port).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let name = reader.queue(arguments).await;
    let output = connect(config(&url(SERVER.port))).await;
    let mut words = vec![];
    for n in 0..3 {
        words.push(deliver_one(&output, parcel(n, &to(&name))).await.word());
    }
    assert_eq!((words[0], words[2]), ("delivered", "retry"));
}

#[tokio::test]
async fn who_is_not_let_in_and_what_is_not_there_is_misconfigured() {
    let port = SERVER.port;
    let nowhere = |url: String| Config { exchange: Some(at("nowhere".into())), ..config(&url) };
    for (config, text) in [
        (config(&format!("amqp://{USER}:wrong-password@127.0.0.1:{port}")), "403"),
        (nowhere(format!("amqp://{NARROW}:{PASSWORD}@127.0.0.1:{port}")), "40"),
        (config(&format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{port}/no-such-host")), "530"),
        (nowhere(url(port)), "404"),
    ] {
        let output = connect(config).await;
        let said = deliver(&output, (0..3).map(|n| parcel(n, &to("orders"))).collect(), None).await;
        for n in 0..3 {
            let outcome = said.outcome(Handle(n));
            assert!(outcome.word() == "misconfigured" && outcome.text().contains(text), "{outcome:?}");
            assert!(!outcome.text().contains("wrong-password"));
        }
    }
    assert!(connect(nowhere(url(port))).await.check().await.unwrap_err().to_string().contains("404"));
}

#[tokio::test]
async fn stopped_in_mid_flight_and_started_again_nothing_is_lost_and_a_blocked_broker_is_down() {
    let mut server = Rabbit::start().unwrap();
    let name = Reader::of(server.port).await.queue(FieldTable::default()).await;
    let output = connect(config(&url(server.port))).await;
    let mut waiting: Vec<u64> = (0..500).collect();
    let mut turns = 0;
    while !waiting.is_empty() {
        turns += 1;
        match turns {
            3 => server.pause().unwrap(),
            5 => {
                server.resume().unwrap();
                server.leave();
            }
            7 => server.come().unwrap(),
            _ => {}
        }
        let batch: Vec<_> = waiting.iter().take(50).map(|n| parcel(*n, &to(&name))).collect();
        let handles: Vec<_> = batch.iter().map(|parcel| parcel.handle).collect();
        let said = deliver(&output, batch, None).await;
        let words: Vec<_> = handles.iter().map(|handle| said.outcome(*handle).word()).collect();
        match turns {
            3 => assert!(words.iter().all(|word| *word == "unknown"), "{words:?}"),
            // What hangs is left at once, and not waited for again.
            4..=6 => assert!(words.iter().all(|word| *word == "down") && said.sent.is_empty(), "{words:?}"),
            _ => assert!(words.iter().all(|word| *word == "delivered"), "{words:?}"),
        }
        let delivered: Vec<_> =
            handles.iter().filter(|handle| said.outcome(**handle).word() == "delivered").map(|handle| handle.0).collect();
        waiting.retain(|n| !delivered.contains(n));
    }
    let reader = Reader::of(server.port).await;
    let mut arrived = reader.take(&name).await;
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, (0..500).map(|n| parcel(n, &to("")).delivery).collect::<Vec<_>>());

    server.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).unwrap();
    // The broker says so at the first message after that; its own fate is unknown.
    let first = deliver_one(&output, parcel(600, &to(&name))).await;
    assert_eq!(first.word(), "unknown", "{first:?}");
    let said = deliver(&output, vec![parcel(601, &to(&name))], None).await;
    let outcome = said.outcome(Handle(601));
    assert!(outcome.word() == "down" && outcome.text().contains("blocked") && said.sent.is_empty(), "{outcome:?}");
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    let mut outcome = deliver_one(&output, parcel(602, &to(&name))).await;
    while outcome.word() == "down" {
        tokio::task::yield_now().await;
        outcome = deliver_one(&output, parcel(602, &to(&name))).await;
    }
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
    assert_eq!(reader.take(&name).await.len(), 2, "what was unknown had arrived");
}

#[tokio::test]
async fn with_tls_its_certificate_is_believed_only_where_the_file_says_so_and_it_believes_ours() {
    let url = format!("amqps://{USER}:{PASSWORD}@localhost:{}", SERVER.tls_port);
    let reader = Reader::of(SERVER.port).await;
    let name = reader.queue(FieldTable::default()).await;
    let outcome = deliver_one(&connect(config(&url)).await, parcel(2, &to(&name))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("localhost"), "{outcome:?}");
    let connect = async |tls| connect(Config { ca: Some(SERVER.ca().to_owned()), tls, ..config(&url) }).await;
    client_certificate(SERVER.clients(), &["misconfigured"], connect, &to(&name)).await;
    assert_eq!(reader.take(&name).await, [parcel(4, &to("")).delivery]);
}
