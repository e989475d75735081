//! The `redis` output against a real Redis, read back with `redis-cli`, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Rendered, Secret, Span, Wall};
use switchyard_redis::{Config, RedisOutput};
use switchyard_services::certificate::clients;
use switchyard_services::redis::{PASSWORD, Redis};

fn config(url: &str) -> Config {
    Config { url: At { span: Span::default(), value: Secret::new(url) }, ca: None, tls: None, max_length: None }
}
async fn connect(config: Config) -> RedisOutput {
    assert_eq!(switchyard_redis::Redis.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(2), ..Kit::new("feed", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    switchyard_redis::Redis.connect(config, &kit).await.unwrap()
}
fn url(server: &Redis) -> String {
    format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port)
}
fn to(stream: &str) -> Message {
    Message { fields: [("stream".to_owned(), Rendered::Text(stream.to_owned()))].into(), ..Message::default() }
}
/// The values of a field, in the stream's order.
fn values(server: &Redis, stream: &str, field: &str) -> Vec<String> {
    let printed = server.cli(&["XRANGE", stream, "-", "+"]).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    lines.windows(2).filter(|pair| pair[0] == field).map(|pair| pair[1].to_owned()).collect()
}

struct Feed(Redis);

impl FarSide for Feed {
    async fn start() -> Self {
        let server = Redis::start(&[]).unwrap();
        server.cli(&["SET", "a-text", "x"]).unwrap();
        Feed(server)
    }
    async fn output(&self) -> Arc<dyn Output> {
        let output = connect(config(&url(&self.0))).await;
        // So that a far side that hangs has let it in before.
        output.check().await.unwrap();
        Arc::new(output)
    }
    fn message(&self) -> Message {
        to("orders")
    }
    async fn arrived(&self) -> Vec<String> {
        values(&self.0, "orders", "switchyard-delivery")
    }
    async fn leave(&mut self) -> bool {
        self.0.leave();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(config(&format!("redis://:made-up-wrong-one@127.0.0.1:{}", self.0.port))).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn hang(&mut self) -> bool {
        self.0.pause().unwrap();
        true
    }
    fn answer(&mut self) {
        self.0.resume().unwrap();
    }
    fn poison(&self) -> Option<Message> {
        Some(to("a-text"))
    }
    fn nowhere(&self) -> Option<Message> {
        Some(to("a-text"))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config(&url(&self.0));
        (format!("{config:?} {:?}", connect(config.clone()).await), vec![PASSWORD.to_owned()])
    }
}

switchyard_api::conformance!(Feed);

#[tokio::test]
async fn an_entry_holds_the_exact_bytes_and_a_route_may_say_more() {
    let server = Redis::start(&[]).unwrap();
    let output = connect(Config { max_length: Some(At { span: Span::default(), value: 1_000 }), ..config(&url(&server)) }).await;
    let mut message = to("orders");
    let headers = [("shop".to_owned(), "Größe".to_owned())];
    message.fields.insert("headers".into(), Rendered::Map(headers.into()));
    let first = Parcel { raw: r#"{"a": 1.10 }"#.into(), replay: true, attempt: 3, ..parcel(7, &message) };
    assert_eq!(deliver_one(&output, first.clone()).await.word(), "delivered");
    message.fields.insert("body".into(), Rendered::Text("{}".into()));
    assert_eq!(deliver_one(&output, parcel(8, &message)).await.word(), "delivered");
    for (field, expected) in [
        ("body", vec![r#"{"a": 1.10 }"#, "{}"]),
        ("shop", vec!["Größe", "Größe"]),
        ("switchyard-event", vec![&first.event, &parcel(8, &message).event]),
        ("switchyard-attempt", vec!["3", "1"]),
        ("switchyard-replay", vec!["true"]),
        ("content-type", vec!["application/json", "application/json"]),
    ] {
        assert_eq!(values(&server, "orders", field), expected, "{field}");
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_poison_inside_it_is_alone() {
    let server = Redis::start(&["--proto-max-bulk-len", "1mb"]).unwrap();
    server.cli(&["SET", "a-text", "x"]).unwrap();
    let output = connect(config(&url(&server))).await;
    let message = |n| to(if n == 3 { "a-text" } else { "orders" });
    let said = deliver(&output, (0..100).map(|n| parcel(n, &message(n))).collect(), None).await;
    for n in 0..100 {
        assert_eq!(said.outcome(Handle(n)).word(), if n == 3 { "rejected" } else { "delivered" }, "{n}");
    }
    let expected: Vec<_> = (0..100).filter(|n| *n != 3).map(|n| parcel(n, &to("")).delivery).collect();
    assert_eq!(values(&server, "orders", "switchyard-delivery"), expected);
    let huge = Parcel { raw: vec![b'x'; 2 << 20].into(), ..parcel(200, &to("orders")) };
    let outcome = deliver_one(&output, huge).await;
    assert!(outcome.word() == "rejected" && outcome.text().contains("bulk length"), "{outcome:?}");
    assert_eq!(deliver_one(&output, parcel(201, &to("orders"))).await.word(), "delivered");
}

#[tokio::test]
async fn stopped_in_mid_flight_and_started_again_nothing_is_lost() {
    let mut server = Redis::start(&[]).unwrap();
    let output = connect(config(&url(&server))).await;
    let mut waiting: Vec<u64> = (0..2_000).collect();
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
        let batch: Vec<_> = waiting.iter().take(100).map(|n| parcel(*n, &to("orders"))).collect();
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
    let mut arrived = values(&server, "orders", "switchyard-delivery");
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived, (0..2_000).map(|n| parcel(n, &to("")).delivery).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_is_not_let_in_is_misconfigured_and_a_full_or_read_only_server_is_down() {
    let server = Redis::start(&[]).unwrap();
    server.cli(&["ACL", "SETUSER", "reader", "on", ">made-up-reader", "~*", "+@read"]).unwrap();
    let port = server.port;
    for (url, text) in [
        (format!("redis://:wrong-password@127.0.0.1:{port}"), "refuses user or password"),
        (format!("redis://127.0.0.1:{port}"), "refuses user or password"),
        (format!("redis://reader:made-up-reader@127.0.0.1:{port}"), "NOPERM"),
        (format!("redis://:{PASSWORD}@127.0.0.1:{port}/999"), "ERR"),
    ] {
        let outcome = deliver_one(&connect(config(&url)).await, parcel(1, &to("orders"))).await;
        assert!(outcome.word() == "misconfigured" && outcome.text().contains(text), "{outcome:?}");
        assert!(!outcome.text().contains("wrong-password"));
    }
    let output = connect(config(&url(&server))).await;
    for (set, reset, text) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"], "OOM"),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"], "NOREPLICAS"),
    ] {
        server.cli(&set).unwrap();
        let outcome = deliver_one(&output, parcel(1, &to("orders"))).await;
        assert!(outcome.word() == "down" && outcome.text().contains(text), "{outcome:?}");
        server.cli(&reset).unwrap();
    }
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let outcome = deliver_one(&output, parcel(1, &to("orders"))).await;
    assert!(outcome.word() == "down" && outcome.text().contains("READONLY"), "{outcome:?}");
}

#[tokio::test]
async fn with_tls_its_certificate_is_believed_only_where_the_file_says_so() {
    let server = Redis::start(&[]).unwrap();
    let url = format!("rediss://:{PASSWORD}@localhost:{}", server.tls_port);
    let output = connect(Config { ca: Some(server.ca().to_owned()), ..config(&url) }).await;
    assert_eq!(deliver_one(&output, parcel(1, &to("orders"))).await.word(), "delivered");
    let outcome = deliver_one(&connect(config(&url)).await, parcel(2, &to("orders"))).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("no TLS with localhost"), "{outcome:?}");
    assert_eq!(values(&server, "orders", "switchyard-delivery").len(), 1);
}

#[tokio::test]
async fn with_a_certificate_of_our_own_we_are_let_in_where_one_is_asked_for() {
    let papers = tempfile::tempdir().unwrap();
    let authority = clients(papers.path()).unwrap();
    let server = Redis::start(&["--tls-auth-clients", "yes", "--tls-ca-cert-file", authority.to_str().unwrap()]).unwrap();
    let url = format!("rediss://:{PASSWORD}@localhost:{}", server.tls_port);
    let connect = async |tls| connect(Config { ca: Some(server.ca().to_owned()), tls, ..config(&url) }).await;
    client_certificate(papers.path(), &["misconfigured"], connect, &to("orders")).await;
    assert_eq!(values(&server, "orders", "switchyard-delivery"), [parcel(4, &to("")).delivery]);
}
