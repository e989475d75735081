//! The `nats` output against a real server with JetStream, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Rendered, Secret, Span, Wall};
use switchyard_nats::{Config, NatsOutput};
use switchyard_services::certificate::clients;
use switchyard_services::nats::{NARROW, Nats, PASSWORD, PAYLOAD_MAX, USER};

fn config(url: &str) -> Config {
    Config { url: At { span: Span::default(), value: Secret::new(url) }, ca: None, tls: None }
}
async fn connect(config: Config) -> NatsOutput {
    assert_eq!(switchyard_nats::Nats.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(2), ..Kit::new("bus", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    switchyard_nats::Nats.connect(config, &kit).await.unwrap()
}
fn url(server: &Nats) -> String {
    format!("nats://{USER}:{PASSWORD}@127.0.0.1:{}", server.port)
}
fn to(subject: &str) -> Message {
    Message { fields: [("subject".to_owned(), Rendered::Text(subject.to_owned()))].into(), ..Message::default() }
}
async fn client(server: &Nats) -> async_nats::Client {
    let options = async_nats::ConnectOptions::with_user_and_password(USER.to_owned(), PASSWORD.to_owned());
    options.connect(format!("nats://127.0.0.1:{}", server.port)).await.unwrap()
}
/// A stream on the server's disk.
async fn stream(client: &async_nats::Client, config: stream::Config) -> stream::Stream {
    jetstream::new(client.clone()).create_stream(config).await.unwrap()
}
async fn orders(client: &async_nats::Client) -> stream::Stream {
    stream(client, stream::Config { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..stream::Config::default() }).await
}
fn header(headers: Option<&async_nats::HeaderMap>, name: &str) -> Option<String> {
    headers?.get(name).map(|value| value.as_str().to_owned())
}
/// What the stream keeps, in its order.
async fn kept(stream: &mut stream::Stream) -> Vec<jetstream::message::StreamMessage> {
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut all = vec![];
    for sequence in 1..=last {
        all.push(stream.get_raw_message(sequence).await.unwrap());
    }
    all
}
fn ids(kept: &[jetstream::message::StreamMessage]) -> Vec<String> {
    kept.iter().filter_map(|message| header(Some(&message.headers), "switchyard-delivery")).collect()
}

/// Hears what is published besides JetStream, which keeps a repeat once.
struct Bus {
    server: Nats,
    client: async_nats::Client,
    heard: tokio::sync::Mutex<(async_nats::Subscriber, Vec<String>)>,
}

impl FarSide for Bus {
    async fn start() -> Self {
        let server = Nats::start(false, true).unwrap();
        let client = client(&server).await;
        orders(&client).await;
        let heard = client.subscribe(">").await.unwrap();
        Bus { server, client, heard: tokio::sync::Mutex::new((heard, vec![])) }
    }
    async fn output(&self) -> Arc<dyn Output> {
        let output = connect(config(&url(&self.server))).await;
        // So that a far side that hangs has let it in before.
        output.check().await.unwrap();
        Arc::new(output)
    }
    fn message(&self) -> Message {
        to("orders.NL")
    }
    async fn arrived(&self) -> Vec<String> {
        let (subscriber, heard) = &mut *self.heard.lock().await;
        // What was acknowledged is heard before what is published now.
        self.client.publish("the.end", "".into()).await.unwrap();
        while let Some(message) = subscriber.next().await {
            match message.subject.as_str() {
                "the.end" => break,
                "orders.NL" => heard.extend(header(message.headers.as_ref(), "Nats-Msg-Id")),
                _ => {}
            }
        }
        heard.clone()
    }
    async fn leave(&mut self) -> bool {
        self.server.leave();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(config(&format!("nats://{USER}:made-up-wrong-one@127.0.0.1:{}", self.server.port))).await;
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
        let mut huge = to("orders.NL");
        huge.payload = Some("x".repeat(PAYLOAD_MAX + 1));
        Some(huge)
    }
    fn nowhere(&self) -> Option<Message> {
        Some(to("not.there"))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&url(&self.server));
        (format!("{config:?} {:?}", connect(config.clone()).await), vec![PASSWORD.to_owned()])
    }
}

switchyard_api::conformance!(Bus);

#[tokio::test]
async fn a_message_holds_the_exact_bytes_and_a_repeat_is_kept_once() {
    let server = Nats::start(false, true).unwrap();
    let client = client(&server).await;
    let mut stream = orders(&client).await;
    let output = connect(config(&url(&server))).await;
    let mut message = to("orders.NL");
    message.fields.insert("headers".into(), Rendered::Map([("Shop".to_owned(), "Größe".to_owned())].into()));
    let first = Parcel { raw: r#"{"a": 1.10 }"#.into(), ..parcel(7, &message) };
    assert_eq!(deliver_one(&output, first.clone()).await.text(), "stream ORDERS, sequence 1");
    let again = deliver_one(&output, Parcel { attempt: 2, ..first.clone() }).await;
    assert_eq!((again.word(), again.text()), ("delivered", "stream ORDERS, sequence 1, already there"));
    let kept = kept(&mut stream).await;
    assert_eq!((kept.len(), &kept[0].payload[..], kept[0].subject.as_str()), (1, &first.raw[..], "orders.NL"));
    let seen = |name| header(Some(&kept[0].headers), name);
    assert_eq!((seen("Nats-Msg-Id"), seen("switchyard-event")), (Some(first.delivery), Some(first.event)));
    assert_eq!((seen("Shop").as_deref(), seen("Content-Type").as_deref()), (Some("Größe"), Some("application/json")));
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_each_refusal_is_its_own() {
    let server = Nats::start(false, true).unwrap();
    let client = client(&server).await;
    let mut kept_orders = orders(&client).await;
    let small = stream::Config { name: "SMALL".into(), subjects: vec!["small".into()], max_message_size: 300, ..stream::Config::default() };
    stream(&client, small).await;
    let full = stream::Config {
        name: "FULL".into(),
        subjects: vec!["full".into()],
        max_messages: 1,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    stream(&client, full).await;
    let output = connect(config(&url(&server))).await;
    let special = [
        (3, "small", "rejected"),
        (4, "nobody.here", "misconfigured"),
        (5, "full", "delivered"),
        (6, "full", "retry"),
        (7, "a..b", "rejected"),
    ];
    let subject = |n| special.iter().find(|(special, ..)| *special == n).map_or("orders.NL", |(_, subject, _)| subject);
    let parcels = (0..200).map(|n| Parcel { raw: vec![b'x'; 400].into(), ..parcel(n, &to(subject(n))) });
    let said = deliver(&output, parcels.collect(), None).await;
    for n in 0..200 {
        let expected = special.iter().find(|(special, ..)| *special == n).map_or("delivered", |(.., word)| word);
        assert_eq!(said.outcome(Handle(n)).word(), expected, "{n}: {:?}", said.outcome(Handle(n)));
    }
    assert!(said.outcome(Handle(4)).text().contains("no stream takes `nobody.here`"));
    let expected: Vec<_> = (0..200).filter(|n| subject(*n) == "orders.NL").map(|n| parcel(n, &to("")).delivery).collect();
    assert_eq!(ids(&kept(&mut kept_orders).await), expected);
}

#[tokio::test]
async fn stopped_in_mid_flight_and_started_again_nothing_is_lost() {
    let mut server = Nats::start(false, true).unwrap();
    let client = client(&server).await;
    let mut stream = orders(&client).await;
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
        let batch: Vec<_> = waiting.iter().take(50).map(|n| parcel(*n, &to("orders.NL"))).collect();
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
    // Those of the third turn are there once, though they were sent twice.
    let mut arrived = ids(&kept(&mut stream).await);
    arrived.sort();
    assert_eq!(arrived, (0..500).map(|n| parcel(n, &to("")).delivery).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_is_not_let_in_is_misconfigured_at_once() {
    let server = Nats::start(false, true).unwrap();
    let port = server.port;
    orders(&client(&server).await).await;
    for (login, text) in [(format!("{USER}:wrong-password@"), "authorization violation"), (String::new(), "authorization violation")] {
        let outcome = deliver_one(&connect(config(&format!("nats://{login}127.0.0.1:{port}"))).await, parcel(1, &to("orders.NL"))).await;
        assert!(
            outcome.word() == "misconfigured" && outcome.text().contains(text) && !outcome.text().contains("wrong-password"),
            "{outcome:?}"
        );
    }
    let narrow = connect(config(&format!("nats://{NARROW}:{PASSWORD}@127.0.0.1:{port}"))).await;
    let outcome = deliver_one(&narrow, parcel(1, &to("orders.NL"))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("may not publish to `orders.NL`"), "{outcome:?}");
}

#[tokio::test]
async fn without_jetstream_it_is_down() {
    let server = Nats::start(false, false).unwrap();
    let output = connect(config(&url(&server))).await;
    let outcome = deliver_one(&output, parcel(1, &to("orders.NL"))).await;
    assert!(outcome.word() == "down" && outcome.text().contains("JetStream"), "{outcome:?}");
    assert!(output.check().await.unwrap_err().to_string().contains("JetStream"));
}

#[tokio::test]
async fn with_tls_its_certificate_is_believed_only_where_the_file_says_so() {
    let server = Nats::start(true, true).unwrap();
    let url = format!("tls://{USER}:{PASSWORD}@localhost:{}", server.port);
    let output = connect(Config { ca: Some(server.ca().to_owned()), ..config(&url) }).await;
    output.check().await.unwrap();
    let outcome = deliver_one(&connect(config(&url)).await, parcel(2, &to("orders.NL"))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("localhost"), "{outcome:?}");
}

#[tokio::test]
async fn with_a_certificate_of_our_own_we_are_let_in_where_one_is_asked_for() {
    let papers = tempfile::tempdir().unwrap();
    let server = Nats::asking(&clients(papers.path()).unwrap()).unwrap();
    let url = format!("tls://{USER}:{PASSWORD}@localhost:{}", server.port);
    let options = async_nats::ConnectOptions::with_user_and_password(USER.to_owned(), PASSWORD.to_owned())
        .add_root_certificates(server.ca().to_owned())
        .require_tls(true);
    let options = options.add_client_certificate(papers.path().join("ours.pem"), papers.path().join("ours.key"));
    let mut stream = orders(&options.connect(format!("tls://localhost:{}", server.port)).await.unwrap()).await;
    let connect = async |tls| connect(Config { ca: Some(server.ca().to_owned()), tls, ..config(&url) }).await;
    client_certificate(papers.path(), &["misconfigured", "down"], connect, &to("orders.NL")).await;
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
}
