//! The `email` output against postfix and dovecot, and the suite that every output passes. Python's reader tells over IMAP what arrived.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;
#[path = "far/relay.rs"]
mod relay;

use far::{config, connect, message};
use relay::Relay;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{Handle, Message, Output, Parcel};
use switchyard_email::EmailOutput;
use switchyard_services::mail::{Mail, PASSWORD, Received, SIZE_MAX};
use switchyard_services::shared::Shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

static MAIL: Shared<Mail> = Shared::new();
static BOXES: AtomicU32 = AtomicU32::new(0);
const PATIENCE: Duration = Duration::from_mins(1);

/// Gives these tokens in turn.
struct TokenEndpoint {
    url: String,
    asked: Arc<AtomicU32>,
}

impl TokenEndpoint {
    async fn start(tokens: Vec<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://127.0.0.1:{}/token", listener.local_addr().unwrap().port());
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            for token in tokens {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.contains("grant_type=client_credentials") {
                    let mut chunk = [0; 4096];
                    let n = stream.read(&mut chunk).await.unwrap();
                    assert!(n > 0, "{request}");
                    request.push_str(&String::from_utf8_lossy(&chunk[..n]));
                }
                count.fetch_add(1, Ordering::Relaxed);
                let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 }).to_string();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
            }
        });
        TokenEndpoint { url, asked }
    }
}

/// The mail server, and a mailbox that is nobody else's.
async fn server() -> (Arc<Mail>, String) {
    let mail = tokio::task::spawn_blocking(|| MAIL.get(Mail::start)).await.unwrap().unwrap();
    (mail, format!("box-{}@example.com", BOXES.fetch_add(1, Ordering::Relaxed)))
}
async fn read(mail: &Arc<Mail>, mailbox: &str) -> Vec<Received> {
    let (mail, mailbox) = (Arc::clone(mail), mailbox.to_owned());
    tokio::task::spawn_blocking(move || mail.read(&mailbox)).await.unwrap().unwrap()
}
/// Submission over STARTTLS, from a shop to a mailbox.
fn section(mail: &Mail, mailbox: &str) -> Value {
    json!({
        "smtp": { "host": "localhost", "port": mail.ports().starttls, "user": mailbox, "password": PASSWORD },
        "ca": mail.ca(),
        "from": "Shop <shop@example.com>",
        "to": [mailbox],
    })
}
fn with(mut section: Value, key: &str, value: impl Into<Value>) -> Value {
    section[key] = value.into();
    section
}
async fn output(section: &Value) -> EmailOutput {
    connect(section, Path::new("/"), PATIENCE).await
}

struct Post {
    mail: Arc<Mail>,
    mailbox: String,
    relay: Relay,
}

impl Post {
    fn encoded() -> String {
        PASSWORD.replace('%', "%25").replace('/', "%2F").replace(':', "%3A")
    }
    fn section(&self) -> Value {
        let url = format!("smtp://{}:{}@127.0.0.1:{}/?tls=none", self.mailbox, Post::encoded(), self.relay.port);
        json!({ "smtp": url, "from": "shop@example.com", "to": [self.mailbox], "recipients_from": ["example.com"] })
    }
}

impl FarSide for Post {
    async fn start() -> Self {
        let (mail, mailbox) = server().await;
        let relay = Relay::start(mail.ports().plain).await;
        Post { mail, mailbox, relay }
    }
    async fn output(&self) -> Arc<dyn Output> {
        Arc::new(connect(&self.section(), Path::new("/"), PATIENCE).await)
    }
    fn message(&self) -> Message {
        message(&[("subject", "Order"), ("text", "paid")])
    }
    async fn arrived(&self) -> Vec<String> {
        let id = |mail: &Received| {
            let id = mail.header("x-switchyard-delivery").unwrap().to_owned();
            assert_eq!(mail.header("message-id"), Some(format!("<{id}@example.com>").as_str()));
            id
        };
        read(&self.mail, &self.mailbox).await.iter().map(id).collect()
    }
    async fn leave(&mut self) -> bool {
        self.relay.leave();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let section = with(
            section(&self.mail, &self.mailbox),
            "smtp",
            json!({ "host": "localhost", "port": self.mail.ports().starttls, "user": self.mailbox, "password": "made-up-wrong-one" }),
        );
        Some(Refused { output: Arc::new(output(&section).await), secret: "made-up-wrong-one".into() })
    }
    fn in_order(&self) -> bool {
        false // postfix hands its queue on as it likes
    }
    fn hang(&mut self) -> bool {
        self.relay.swallow_answers_to_mails(true);
        true
    }
    fn answer(&mut self) {
        self.relay.swallow_answers_to_mails(false);
    }
    fn poison(&self) -> Option<Message> {
        Some(message(&[("recipient", "nobody@example.com")]))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let section = self.section();
        let output = connect(&section, Path::new("/"), PATIENCE).await;
        (format!("{:?} {output:?}", config(&section)), vec![PASSWORD.into(), Post::encoded()])
    }
}

switchyard_api::conformance!(Post);

#[tokio::test]
async fn what_is_read_over_imap_is_what_was_meant() {
    let (mail, mailbox) = server().await;
    let section = with(with(section(&mail, &mailbox), "attach", "event"), "cc", json!(["Bücher, die <box-cc@bücher.example>"]));
    let section = with(section, "headers", json!({ "X-Priority": "1", "List-Id": "<orders.example.com>" }));
    let raw = b"{\"total\": 1.10,\r\n \"name\":\"\xc3\xbc\",\n.\r\n\x00\xff}".to_vec();
    let text = ".\r\n..\nGrüße, 5 € = five\n\nFrom here\n".to_owned() + &"lang ".repeat(400) + &"x".repeat(2_000);
    let html = "<p>Grüße</p>";
    let fields = [
        ("subject", "Bestellung 7 bezahlt – 1.240,50 € von Jürgen Größenwahn aus Überlingen"),
        ("text", &text),
        ("html", html),
        ("threads", "7"),
    ];
    let parcel = Parcel { raw: raw.clone().into(), replay: true, ..parcel(1, &message(&fields)) };
    let outcome = deliver_one(&output(&section).await, parcel).await;
    assert!(outcome.word() == "delivered" && outcome.text().starts_with("250 2.0.0"), "{outcome:?}");

    let [got] = read(&mail, &mailbox).await.try_into().unwrap();
    assert_eq!(got.defects, [] as [String; 0], "{}", got.raw);
    assert_eq!(got.header("subject"), Some(fields[0].1));
    assert_eq!(got.header("from"), Some("Shop <shop@example.com>"));
    assert_eq!(got.header("to"), Some(mailbox.as_str()));
    assert_eq!(got.header("cc"), Some("\"Bücher, die\" <box-cc@xn--bcher-kva.example>"));
    assert_eq!(got.header("date"), Some("Mon, 02 Mar 2026 10:00:00 -0000"));
    assert_eq!(got.header("message-id"), Some("<dlv_00000000000000000000000000000001@example.com>"));
    let root = "<7902699be42c8a8e46fbbb4501726517.root@example.com>";
    assert_eq!((got.header("in-reply-to"), got.header("references")), (Some(root), Some(root)));
    assert_eq!(got.header("auto-submitted"), Some("auto-generated"));
    let ours = ["event", "delivery", "route", "topic", "replay"].map(|name| got.header(&format!("x-switchyard-{name}")).unwrap());
    let ids = ["evt_00000000000000000000000000000001", "dlv_00000000000000000000000000000001"];
    assert_eq!(ours, [ids[0], ids[1], "all", "ORDER_PAID", "true"]);
    assert_eq!((got.header("x-priority"), got.header("list-id")), (Some("1"), Some("<orders.example.com>")));
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(got.text.as_deref().unwrap()), lines(&text));
    assert_eq!(got.html.as_deref().map(str::trim_end), Some(html));
    let hex = raw.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(got.attachments, [("event.json".to_owned(), "application/json".to_owned(), hex)]);
    assert!(got.raw.is_ascii() && got.raw.lines().all(|line| line.len() <= 998));
    assert_eq!(read(&mail, "box-cc@xn--bcher-kva.example").await.len(), 1);
}

#[tokio::test]
async fn no_value_of_an_event_becomes_a_header_a_recipient_or_a_second_mail() {
    let (mail, mailbox) = server().await;
    let victim = format!("victim-{mailbox}").replace("victim-box", "box-victim");
    let output = output(&section(&mail, &mailbox)).await;
    let hostile = [
        format!("x\r\nBcc: {victim}\r\n\r\nbody"),
        format!("x\nBcc: {victim}"),
        format!("x\rBcc: {victim}"),
        format!("x\r\n.\r\nMAIL FROM:<shop@example.com>\r\nRCPT TO:<{victim}>\r\nDATA\r\n"),
        "=?utf-8?q?x=0D=0ABcc:_y?=".to_owned(),
        "\u{0}\u{85}\u{2028}\u{202e}".to_owned(),
        "y".repeat(3_000),
    ];
    for (number, value) in hostile.iter().enumerate() {
        let fields = [("subject", value.as_str()), ("text", value), ("html", value), ("threads", value)];
        let parcel = Parcel { topic: value.as_str().into(), route: value.as_str().into(), ..parcel(number as u64, &message(&fields)) };
        assert_eq!(deliver_one(&output, parcel).await.word(), "delivered", "{value:?}");
    }
    let got = read(&mail, &mailbox).await;
    assert_eq!(got.len(), hostile.len());
    let known = "return-path delivered-to received date from to subject message-id in-reply-to references auto-submitted x-switchyard-event \
                 x-switchyard-delivery x-switchyard-route x-switchyard-topic mime-version content-type";
    for mail in &got {
        assert!(mail.headers.keys().all(|name| known.contains(name.as_str())), "{:?}", mail.headers.keys());
        assert_eq!(mail.headers["to"].len(), 1);
        assert_eq!(mail.defects, [] as [String; 0], "{}", mail.raw);
    }
    let words = got.iter().find(|mail| mail.header("x-switchyard-delivery") == Some(&parcel(4, &message(&[])).delivery));
    assert_eq!(words.unwrap().header("subject"), Some(hostile[4].as_str()), "an encoded word of the event is shown as it is");
    assert!(read(&mail, &victim).await.is_empty());
}

#[tokio::test]
async fn every_way_to_log_in_works_and_a_wrong_proof_is_misconfigured() {
    let (mail, mailbox) = server().await;
    let token = mail.token(&mailbox).unwrap();
    let ports = mail.ports();
    let smtp = |port: u16, tls: &str, proof: &str, value: &str, auth: &str| json!({ "host": "localhost", "port": port, "tls": tls, "user": mailbox, proof: value, "auth": auth });
    let mut arrived = 0;
    for (smtp, works) in [
        (smtp(ports.starttls, "starttls", "password", PASSWORD, "plain"), true),
        (smtp(ports.smtps, "implicit", "password", PASSWORD, "login"), true),
        (smtp(ports.smtps, "implicit", "token", &token, "xoauth2"), true),
        (smtp(ports.starttls, "starttls", "password", "wrong-hush", "plain"), false),
        (smtp(ports.smtps, "implicit", "password", "wrong-hush", "login"), false),
        (smtp(ports.starttls, "starttls", "token", "wrong-hush", "xoauth2"), false),
    ] {
        let output = output(&with(section(&mail, &mailbox), "smtp", smtp.clone())).await;
        let outcome = deliver_one(&output, parcel(arrived, &message(&[]))).await;
        let checked = output.check().await;
        let text = format!("{outcome:?} {checked:?}");
        assert_eq!((outcome.word(), checked.is_ok()), (if works { "delivered" } else { "misconfigured" }, works), "{smtp} {text}");
        assert!(works || text.contains("535 5.7.8"), "{smtp} {text}");
        assert!(!text.contains("wrong-hush") && !text.contains(PASSWORD));
        arrived += u64::from(works);
    }
    assert_eq!(read(&mail, &mailbox).await.len() as u64, arrived);
}

#[tokio::test]
async fn a_token_is_fetched_once_and_anew_where_the_server_refuses_it() {
    let (mail, mailbox) = server().await;
    let good = mail.token(&mailbox).unwrap();
    for (tokens, expected, asked) in [
        (vec![good.clone()], "delivered", 1),
        (vec!["stale-hush".to_owned(), good.clone()], "delivered", 2),
        (vec!["stale-hush".to_owned(), "stale-hush".to_owned()], "misconfigured", 2),
    ] {
        let endpoint = TokenEndpoint::start(tokens).await;
        let oauth2 = json!({ "token_url": endpoint.url, "client_id": "made-up-id", "client_secret": "made-up-hush" });
        let smtp = json!({ "host": "localhost", "port": mail.ports().starttls, "user": mailbox, "auth": { "oauth2": oauth2 } });
        let output = output(&with(section(&mail, &mailbox), "smtp", smtp)).await;
        let first = deliver_one(&output, parcel(1, &message(&[]))).await;
        assert_eq!((first.word(), endpoint.asked.load(Ordering::Relaxed)), (expected, asked), "{first:?}");
        output.close().await;
        if expected == "delivered" {
            // Another connection, the same token.
            assert_eq!(deliver_one(&output, parcel(2, &message(&[]))).await.word(), "delivered");
            assert_eq!(endpoint.asked.load(Ordering::Relaxed), asked);
        }
        assert!(!format!("{first:?} {output:?}").contains("hush"));
    }
    assert_eq!(read(&mail, &mailbox).await.len(), 4);
}

#[tokio::test]
async fn a_server_that_is_not_as_the_file_says_gets_nothing() {
    let (mail, mailbox) = server().await;
    let ports = mail.ports();
    let url = |port: u16, rest: &str| format!("smtp://localhost:{port}{rest}");
    let without_ca = {
        let mut section = section(&mail, &mailbox);
        section.as_object_mut().unwrap().remove("ca");
        section
    };
    for (section, expected, text) in [
        (without_ca, "misconfigured", "certificate"),
        (with(section(&mail, &mailbox), "smtp", json!({ "host": "127.0.0.1", "port": ports.starttls })), "misconfigured", "554 5.7.1"),
        (with(section(&mail, &mailbox), "smtp", url(ports.plain, "?tls=none")), "misconfigured", "554 5.7.1"),
        (with(section(&mail, &mailbox), "smtp", url(ports.starttls, "?tls=none")), "misconfigured", "530 5.7.0"),
        (with(section(&mail, &mailbox), "from", "not-mine@example.com"), "misconfigured", "not your address"),
        (with(section(&mail, &mailbox), "to", json!(["nobody@example.com"])), "misconfigured", "550 5.1.1"),
        (with(section(&mail, &mailbox), "smtp", format!("smtps://localhost:{}", ports.plain)), "misconfigured", "TLS"),
    ] {
        let outcome = deliver_one(&output(&section).await, parcel(1, &message(&[]))).await;
        assert!(outcome.word() == expected && outcome.text().contains(text) && !outcome.text().contains('\n'), "{section} {outcome:?}");
    }
    assert!(read(&mail, &mailbox).await.is_empty());
}

#[tokio::test]
async fn roots_that_change_are_read_at_the_next_connection() {
    let (mail, mailbox) = server().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let stranger = switchyard_services::certificate::Certificate::make(folder.path()).unwrap();
    std::fs::copy(&stranger.cert, &ca).unwrap();
    let output = output(&with(section(&mail, &mailbox), "ca", ca.to_str().unwrap())).await;
    for (roots, expected, text) in [
        (None, "misconfigured", "certificate"),
        (Some("nothing".to_owned()), "misconfigured", ca.to_str().unwrap()),
        (Some(std::fs::read_to_string(mail.ca()).unwrap()), "delivered", ""),
    ] {
        if let Some(roots) = roots {
            std::fs::write(&ca, roots).unwrap();
        }
        let outcome = deliver_one(&output, parcel(1, &message(&[]))).await;
        assert!(outcome.word() == expected && outcome.text().contains(text), "{outcome:?}");
    }
    assert_eq!(read(&mail, &mailbox).await.len(), 1);
}

#[tokio::test]
async fn a_mail_goes_to_those_that_are_taken_and_names_the_others() {
    let (mail, mailbox) = server().await;
    let section = with(section(&mail, &mailbox), "to", json!(["nobody@example.com", mailbox, "box-second@example.com"]));
    let output = output(&section).await;
    let outcome = deliver_one(&output, parcel(1, &message(&[]))).await;
    assert!(outcome.word() == "delivered" && outcome.text().contains("; refused nobody@example.com: 550 5.1.1"), "{outcome:?}");
    assert_eq!((read(&mail, &mailbox).await.len(), read(&mail, "box-second@example.com").await.len()), (1, 1));
}

#[tokio::test]
async fn a_mail_that_is_too_large_is_rejected_and_the_next_goes() {
    let (mail, mailbox) = server().await;
    let output = output(&section(&mail, &mailbox)).await;
    let large = "x".repeat(SIZE_MAX);
    let outcome = deliver_one(&output, parcel(1, &message(&[("text", &large)]))).await;
    assert!(outcome.word() == "rejected" && outcome.text().contains(&SIZE_MAX.to_string()), "{outcome:?}");
    assert_eq!(deliver_one(&output, parcel(2, &message(&[]))).await.word(), "delivered");
}

#[tokio::test]
async fn many_mails_share_a_connection_and_each_arrives_in_order() {
    let post = Post::start().await;
    let output = post.output().await;
    for number in 0..120 {
        let said = deliver(&*output, vec![parcel(number, &post.message())], None).await;
        assert_eq!((said.outcome(Handle(number)).word(), said.sent[&Handle(number)]), ("delivered", 1));
    }
    output.close().await;
    assert_eq!(post.relay.connections(), 2, "a hundred mails a connection");
    let mut arrived = post.arrived().await;
    arrived.sort();
    assert_eq!(arrived, (0..120).map(|number| format!("dlv_{number:032x}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_no_attempt() {
    let post = Post::start().await;
    let output = post.output().await;
    for number in 0..3 {
        assert_eq!(deliver_one(&*output, parcel(number, &post.message())).await.word(), "delivered");
        post.relay.cut();
    }
    assert_eq!((post.relay.connections(), post.arrived().await.len()), (3, 3));
}
