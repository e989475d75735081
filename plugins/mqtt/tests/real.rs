//! The `mqtt` output against a real Mosquitto, read back with `mosquitto_sub`, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Period, Rendered, Secret, Span, Wall};
use switchyard_mqtt::{Config, MqttOutput};
use switchyard_services::certificate::clients;
use switchyard_services::mosquitto::{Got, Mosquitto, NARROW, PACKET_MAX, PASSWORD, USER};

fn at<T>(value: T) -> At<T> {
    At { span: Span::default(), value }
}
fn config(url: &str) -> Config {
    Config { url: at(Secret::new(url)), ca: None, tls: None, client_id: None, retain: false, expires: None, need_subscriber: false }
}
async fn connect(config: Config) -> MqttOutput {
    assert_eq!(switchyard_mqtt::Mqtt.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(2), ..Kit::new("floor", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    switchyard_mqtt::Mqtt.connect(config, &kit).await.unwrap()
}
fn url(server: &Mosquitto) -> String {
    format!("mqtt://{USER}:{PASSWORD}@127.0.0.1:{}", server.port)
}
fn to(topic: &str) -> Message {
    Message { fields: [("topic".to_owned(), Rendered::Text(topic.to_owned()))].into(), ..Message::default() }
}
fn ids(got: &[Got]) -> Vec<String> {
    let id =
        |got: &Got| got.properties.split_whitespace().find_map(|property| property.strip_prefix("switchyard-delivery:")).map(str::to_owned);
    got.iter().filter_map(id).collect()
}

struct Floor {
    server: Mosquitto,
    read: Mutex<Vec<String>>,
}

impl FarSide for Floor {
    async fn start() -> Self {
        let server = Mosquitto::start().unwrap();
        server.listen().unwrap();
        Floor { server, read: Mutex::default() }
    }
    async fn output(&self) -> Arc<dyn Output> {
        let output = connect(config(&url(&self.server))).await;
        // So that a far side that hangs has let it in before.
        output.check().await.unwrap();
        Arc::new(output)
    }
    fn message(&self) -> Message {
        to("orders/NL")
    }
    async fn arrived(&self) -> Vec<String> {
        let mut read = self.read.lock().unwrap();
        read.extend(ids(&self.server.read().unwrap()));
        read.clone()
    }
    async fn leave(&mut self) -> bool {
        self.server.leave();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(config(&format!("mqtt://{USER}:made-up-wrong-one@127.0.0.1:{}", self.server.port))).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.server.pause().unwrap();
        true
    }
    fn answer(&mut self) {
        self.server.resume().unwrap();
    }
    fn poison(&self) -> Option<Message> {
        Some(Message { payload: Some("x".repeat(PACKET_MAX)), ..to("orders/NL") })
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&url(&self.server));
        (format!("{config:?} {:?}", connect(config.clone()).await), vec![PASSWORD.to_owned()])
    }
}

switchyard_api::conformance!(Floor);

#[tokio::test]
async fn a_message_holds_the_exact_bytes_and_our_ids() {
    let server = Mosquitto::start().unwrap();
    server.listen().unwrap();
    let output =
        connect(Config { client_id: Some(at("floor".into())), expires: Some(at(Period::secs(60))), ..config(&url(&server)) }).await;
    let mut message = to("orders/NL");
    message.fields.insert("headers".into(), Rendered::Map([("shop".to_owned(), "Größe".to_owned())].into()));
    let first = Parcel { raw: r#"{"a": 1.10 }"#.into(), ..parcel(7, &message) };
    assert_eq!(deliver_one(&output, first.clone()).await.text(), "acknowledged");
    let [got] = server.read().unwrap().try_into().unwrap();
    assert_eq!((got.topic.as_str(), got.payload.as_str(), got.content_type.as_str()), ("orders/NL", r#"{"a": 1.10 }"#, "application/json"));
    let properties = format!("switchyard-delivery:{} switchyard-event:{} switchyard-attempt:1 shop:Größe", first.delivery, first.event);
    assert_eq!(got.properties, properties);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_each_refusal_is_its_own() {
    let server = Mosquitto::start().unwrap();
    server.listen().unwrap();
    let output = connect(Config { need_subscriber: true, ..config(&url(&server)) }).await;
    let special = [(3, "orders/#", "rejected"), (4, "nobody/here", "retry"), (5, "", "rejected")];
    let topic = |n| special.iter().find(|(special, ..)| *special == n).map_or("orders/NL", |(_, topic, _)| topic);
    let said = deliver(&output, (0..500).map(|n| parcel(n, &to(topic(n)))).collect(), None).await;
    for n in 0..500 {
        let expected = special.iter().find(|(special, ..)| *special == n).map_or("delivered", |(.., word)| word);
        assert_eq!(said.outcome(Handle(n)).word(), expected, "{n}: {:?}", said.outcome(Handle(n)));
    }
    let expected: Vec<_> = (0..500).filter(|n| topic(*n) == "orders/NL").map(|n| parcel(n, &to("")).delivery).collect();
    assert_eq!(ids(&server.read().unwrap()), expected);
    let unread = deliver_one(&connect(config(&url(&server))).await, parcel(1, &to("nobody/here"))).await;
    assert!(unread.word() == "delivered" && unread.text().contains("nobody subscribes"), "{unread:?}");
}

#[tokio::test]
async fn stopped_in_mid_flight_and_started_again_nothing_is_lost() {
    let mut server = Mosquitto::start().unwrap();
    server.listen().unwrap();
    let output = connect(config(&url(&server))).await;
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
        let batch: Vec<_> = waiting.iter().take(50).map(|n| parcel(*n, &to("orders/NL"))).collect();
        let handles: Vec<_> = batch.iter().map(|parcel| parcel.handle).collect();
        let said = deliver(&output, batch, None).await;
        let words: Vec<_> = handles.iter().map(|handle| said.outcome(*handle).word()).collect();
        match turns {
            3 => assert!(words.iter().all(|word| ["unknown", "down"].contains(word)) && words.contains(&"unknown"), "{words:?}"),
            // What hangs is left at once, and not waited for again.
            4..=6 => assert!(words.iter().all(|word| *word == "down") && said.sent.is_empty(), "{words:?}"),
            _ => assert!(words.iter().all(|word| *word == "delivered"), "{words:?}"),
        }
        let delivered: Vec<_> =
            handles.iter().filter(|handle| said.outcome(**handle).word() == "delivered").map(|handle| handle.0).collect();
        waiting.retain(|n| !delivered.contains(n));
    }
    let mut arrived = ids(&server.read().unwrap());
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, (0..500).map(|n| parcel(n, &to("")).delivery).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_is_not_let_in_or_may_not_publish_is_misconfigured() {
    let server = Mosquitto::start().unwrap();
    let port = server.port;
    for (login, text) in [
        (format!("{USER}:wrong-password@"), "refuses the connection"),
        (String::new(), "refuses the connection"),
        (format!("{NARROW}:{PASSWORD}@"), "NotAuthorized"),
    ] {
        let output = connect(config(&format!("mqtt://{login}127.0.0.1:{port}"))).await;
        let outcome = deliver_one(&output, parcel(1, &to("orders/NL"))).await;
        assert!(outcome.word() == "misconfigured" && outcome.text().contains(text), "{outcome:?}");
        assert!(!outcome.text().contains("wrong-password"));
    }
}

#[tokio::test]
async fn whoever_takes_our_name_ends_the_connection_and_the_next_delivery_opens_another() {
    let server = Mosquitto::start().unwrap();
    server.listen().unwrap();
    let mine = || Config { client_id: Some(at("same".into())), ..config(&url(&server)) };
    let (one, other) = (connect(mine()).await, connect(mine()).await);
    for n in 0..6 {
        let output = if n % 2 == 0 { &one } else { &other };
        let mut outcome = deliver_one(output, parcel(n, &to("orders/NL"))).await;
        // Its end may cross what is sent; then it is said to be unknown.
        if outcome.word() == "unknown" {
            outcome = deliver_one(output, parcel(n, &to("orders/NL"))).await;
        }
        assert_eq!(outcome.word(), "delivered", "{outcome:?}");
    }
}

#[tokio::test]
async fn with_tls_its_certificate_is_believed_only_where_the_file_says_so() {
    let server = Mosquitto::start().unwrap();
    server.listen().unwrap();
    let url = format!("mqtts://{USER}:{PASSWORD}@localhost:{}", server.tls_port);
    let output = connect(Config { ca: Some(server.ca().to_owned()), ..config(&url) }).await;
    assert_eq!(deliver_one(&output, parcel(1, &to("orders/NL"))).await.word(), "delivered");
    let outcome = deliver_one(&connect(config(&url)).await, parcel(2, &to("orders/NL"))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("no TLS with localhost"), "{outcome:?}");
    assert_eq!(server.read().unwrap().len(), 1);
}

#[tokio::test]
async fn with_a_certificate_of_our_own_we_are_let_in_where_one_is_asked_for() {
    let papers = tempfile::tempdir().unwrap();
    let server = Mosquitto::asking(&clients(papers.path()).unwrap()).unwrap();
    server.listen().unwrap();
    let url = format!("mqtts://{USER}:{PASSWORD}@localhost:{}", server.tls_port);
    let connect = async |tls| connect(Config { ca: Some(server.ca().to_owned()), tls, ..config(&url) }).await;
    client_certificate(papers.path(), &["misconfigured"], connect, &to("orders/NL")).await;
    assert_eq!(ids(&server.read().unwrap()), [parcel(4, &to("")).delivery]);
}
