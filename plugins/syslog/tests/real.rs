//! The `syslog` output against a real rsyslog, which writes what it understood, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_api::conformance::mutual::client_certificate;
use switchyard_api::conformance::{FarSide, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Parcel, Rendered, Secret, Span, Wall};
use switchyard_services::certificate::clients;
use switchyard_services::rsyslog::{MESSAGE_MAX, Rsyslog};
use switchyard_syslog::{Config, Facility, SyslogOutput};

fn config(url: &str) -> Config {
    Config {
        url: At { span: Span::default(), value: Secret::new(url) },
        ca: None,
        tls: None,
        facility: Facility::default(),
        host: None,
        app: None,
        max_size: None,
    }
}
async fn connect(config: Config) -> SyslogOutput {
    assert_eq!(switchyard_syslog::Syslog.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(2), ..Kit::new("log", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    switchyard_syslog::Syslog.connect(config, &kit).await.unwrap()
}
fn url(server: &Rsyslog) -> String {
    format!("tcp://127.0.0.1:{}", server.port)
}
fn ids(server: &mut Rsyslog) -> Vec<String> {
    let id = |got: &serde_json::Value| {
        let data = got["data"].as_str()?;
        Some(data.split_once("switchyard-delivery=\"")?.1.split_once('"')?.0.to_owned())
    };
    server.got().unwrap().iter().filter_map(id).collect()
}

struct Log(Mutex<Rsyslog>);

impl FarSide for Log {
    async fn start() -> Self {
        Log(Mutex::new(Rsyslog::start().unwrap()))
    }
    async fn output(&self) -> Arc<dyn Output> {
        let url = url(&self.0.lock().unwrap());
        let output = connect(config(&url)).await;
        output.check().await.unwrap();
        Arc::new(output)
    }
    async fn arrived(&self) -> Vec<String> {
        ids(&mut self.0.lock().unwrap())
    }
    async fn leave(&mut self) -> bool {
        self.0.lock().unwrap().leave();
        true
    }
    fn hang(&mut self) -> bool {
        false // nothing is awaited of it
    }
    fn answer(&mut self) {}
    fn poison(&self) -> Option<Message> {
        Some(Message { payload: Some("x".repeat(MESSAGE_MAX)), ..Message::default() })
    }
    async fn shown(&self) -> (String, Vec<String>) {
        (String::new(), vec![]) // it has none
    }
}

switchyard_api::conformance!(Log);

#[tokio::test]
async fn the_server_understands_every_part() {
    let mut server = Rsyslog::start().unwrap();
    let output = connect(Config { host: Some(At { span: Span::default(), value: "shop-1".into() }), ..config(&url(&server)) }).await;
    let fields = [
        ("text".to_owned(), Rendered::Text("größer\r\n<0>1 - - forged - - - x".into())),
        ("severity".to_owned(), Rendered::Text("error".into())),
        ("message_id".to_owned(), Rendered::Text("ORDER_PAID".into())),
        ("headers".to_owned(), Rendered::Map([("shop".to_owned(), r#"a"] [b\"#.to_owned())].into())),
    ];
    let message = Message { fields: fields.into(), ..Message::default() };
    let first = Parcel { received_at: 1_772_445_600_500, ..parcel(7, &message) };
    assert_eq!(deliver_one(&output, first.clone()).await.word(), "delivered");
    let [got] = server.got().unwrap().try_into().unwrap();
    let data = format!(
        r#"[switchyard@32473 switchyard-delivery="{}" switchyard-event="{}" switchyard-attempt="1" shop="a\"\] [b\\"]"#,
        first.delivery, first.event
    );
    for (name, expected) in [
        ("priority", "11"),
        ("time", "2026-03-02T10:00:00.500Z"),
        ("host", "shop-1"),
        ("app", "switchyard"),
        ("msgid", "ORDER_PAID"),
        ("data", &data),
        ("message", "größer  <0>1 - - forged - - - x"),
    ] {
        assert_eq!(got[name], expected, "{name}");
    }
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_poison_inside_it_is_alone() {
    let mut server = Rsyslog::start().unwrap();
    let output = connect(config(&url(&server))).await;
    let message = |n| Message { payload: (n == 3).then(|| "x".repeat(MESSAGE_MAX)), ..Message::default() };
    let said = deliver(&output, (0..500).map(|n| parcel(n, &message(n))).collect(), None).await;
    for n in 0..500 {
        assert_eq!(said.outcome(Handle(n)).word(), if n == 3 { "rejected" } else { "delivered" }, "{n}");
    }
    let expected: Vec<_> = (0..500).filter(|n| *n != 3).map(|n| parcel(n, &Message::default()).delivery).collect();
    assert_eq!(ids(&mut server), expected);
}

#[tokio::test]
async fn stopped_and_started_again_the_next_message_arrives() {
    let mut server = Rsyslog::start().unwrap();
    let output = connect(config(&url(&server))).await;
    assert_eq!(deliver_one(&output, parcel(1, &Message::default())).await.word(), "delivered");
    assert_eq!(ids(&mut server).len(), 1);
    server.leave();
    assert_eq!(deliver_one(&output, parcel(2, &Message::default())).await.word(), "down");
    server.come().unwrap();
    assert_eq!(deliver_one(&output, parcel(2, &Message::default())).await.word(), "delivered");
    assert_eq!(ids(&mut server), [1, 2].map(|n| parcel(n, &Message::default()).delivery));
}

#[tokio::test]
async fn a_server_that_reads_nothing_is_unknown_and_gets_no_half_message_continued() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let output = connect(config(&format!("tcp://127.0.0.1:{}", deaf.local_addr().unwrap().port()))).await;
    let large = Message { payload: Some("x".repeat(7 * 1024)), ..Message::default() };
    // More than the system keeps for a connection.
    let mut outcome = deliver(&output, (0..500).map(|n| parcel(n, &large)).collect(), None).await.outcome(Handle(0)).clone();
    while outcome.word() == "delivered" {
        outcome = deliver(&output, (0..500).map(|n| parcel(n, &large)).collect(), None).await.outcome(Handle(0)).clone();
    }
    assert!(outcome.word() == "unknown" && outcome.text().contains("within 2s"), "{outcome:?}");
    let (_first, _) = deaf.accept().await.unwrap();
    assert_eq!(deliver_one(&output, parcel(1, &Message::default())).await.word(), "delivered");
    let (mut second, _) = deaf.accept().await.unwrap();
    let mut start = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut second, &mut start).await.unwrap();
    assert!(String::from_utf8_lossy(&start).contains(" <13>1 "), "{start:?}");
}

#[tokio::test]
async fn with_tls_its_certificate_is_believed_only_where_the_file_says_so() {
    let mut server = Rsyslog::start().unwrap();
    let url = format!("tls://localhost:{}", server.tls_port);
    let output = connect(Config { ca: Some(server.ca().to_owned()), ..config(&url) }).await;
    for n in 0..3 {
        assert_eq!(deliver_one(&output, parcel(n, &Message::default())).await.word(), "delivered");
    }
    output.close().await;
    let outcome = deliver_one(&connect(config(&url)).await, parcel(9, &Message::default())).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("no TLS with localhost"), "{outcome:?}");
    while ids(&mut server).len() < 3 {}
    assert_eq!(ids(&mut server), [0, 1, 2].map(|n| parcel(n, &Message::default()).delivery));
}

#[tokio::test]
async fn with_a_certificate_of_our_own_we_are_let_in_where_one_is_asked_for() {
    let papers = tempfile::tempdir().unwrap();
    let mut server = Rsyslog::asking(&clients(papers.path()).unwrap()).unwrap();
    let url = format!("tls://localhost:{}", server.tls_port);
    let ca = server.ca().to_owned();
    let connect = async |tls| connect(Config { ca: Some(ca.clone()), tls, ..config(&url) }).await;
    client_certificate(papers.path(), &["down"], connect, &Message::default()).await;
    while ids(&mut server).is_empty() {}
    assert_eq!(ids(&mut server), [parcel(4, &Message::default()).delivery]);
}
