//! The `http` output against a real web server with every bad manner, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::http::{Got, Manner, WebServer};
use switchyard_api::conformance::{FarSide, deliver, deliver_one, parcel};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{AnyKind, Handle, Kit, Message, Outcome, Output, Parcel, Rendered, Span, Wall};

/// 2026-03-02T10:00:00.500Z
const NOW: i64 = 1_772_445_600_500;
const TOKEN: &str = "made-up-token";
const SIGNING: &str = "whsec_bWFkZS11cC1zZWNyZXQtb2YtMzItYnl0ZXMhISEhISE=";

fn kind(name: &str) -> Arc<dyn AnyKind> {
    switchyard_http::kinds().into_iter().find(|kind| kind.name() == name).unwrap()
}
fn text(text: &str) -> Node {
    Node::text(text)
}
fn map(entries: Vec<(&str, Node)>) -> Node {
    let key = |name: &str| Key { span: Span::default(), name: name.into() };
    // Places of their own, as a file gives them: the reader tells values apart by them.
    let placed = entries.into_iter().enumerate().map(|(nth, (name, node))| {
        let span = Span { start: nth * 10, end: nth * 10 + 5 };
        (key(name), Node { span, ..node })
    });
    Node { span: Span { start: 0, end: 1000 }, value: Value::Map(placed.collect()) }
}
fn kit() -> Kit {
    Kit { timeout: Duration::from_secs(2), ..Kit::new("shop", "/nowhere", "switchyard/0", Wall::new(|| NOW)) }
}
async fn connect(settings: Node, kit: &Kit) -> Arc<dyn Output> {
    let mut problems = vec![];
    let config = kind("http").read(&settings, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    config.connect(kit).await.unwrap()
}
async fn plain(server: &WebServer) -> Arc<dyn Output> {
    connect(map(vec![("url", text(&format!("{}/in", server.url())))]), &kit()).await
}
fn message(fields: Vec<(&str, Rendered)>) -> Message {
    Message { payload: None, fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}
fn one(name: &str, value: &str) -> Rendered {
    Rendered::Map([(name.to_owned(), value.to_owned())].into())
}
async fn sent(settings: Vec<(&str, Node)>, parcel: Parcel) -> Got {
    let server = WebServer::start().await;
    let mut all = vec![("url", text(&format!("{}/in?key=1", server.url())))];
    all.extend(settings);
    let outcome = deliver_one(&*connect(map(all), &kit()).await, parcel).await;
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
    server.got().remove(0)
}

struct Shop {
    server: WebServer,
    settings: Node,
}

impl FarSide for Shop {
    async fn start() -> Self {
        let server = WebServer::start().await;
        let settings = map(vec![
            ("url", text(&format!("{}/hooks/very-secret-path", server.url()))),
            ("auth", map(vec![("bearer", text(TOKEN))])),
            ("sign", map(vec![("secret", text(SIGNING))])),
        ]);
        Shop { server, settings }
    }
    async fn output(&self) -> Arc<dyn Output> {
        connect(self.settings.clone(), &kit()).await
    }
    async fn arrived(&self) -> Vec<String> {
        self.server.got().iter().filter_map(|got| got.header("switchyard-delivery").map(str::to_owned)).collect()
    }
    async fn leave(&mut self) -> bool {
        self.server.leave().await;
        true
    }
    fn hang(&mut self) -> bool {
        self.server.behave(Manner::Silence);
        true
    }
    fn answer(&mut self) {
        self.server.behave(Manner::answer(200, ""));
    }
    fn poison(&self) -> Option<Message> {
        self.server.then(Manner::answer(422, "no such article"));
        Some(Message::default())
    }
    async fn shown(&self) -> (String, Vec<String>) {
        // It echoes all that it should not.
        self.server.then(Manner::answer(200, &format!("/hooks/very-secret-path {TOKEN} {SIGNING}")));
        let config: switchyard_http::Config = switchyard_api::tree::read(&self.settings, &mut vec![]).unwrap();
        let output = switchyard_api::Kind::connect(&switchyard_http::Http::default(), config.clone(), &kit()).await.unwrap();
        let secrets = ["very-secret-path", TOKEN, SIGNING, SIGNING.trim_start_matches("whsec_")];
        (format!("{config:?} {output:?}"), secrets.map(str::to_owned).to_vec())
    }
}

switchyard_api::conformance!(Shop);

#[tokio::test]
async fn the_events_exact_bytes_go_out_with_its_content_type_and_our_ids() {
    let first = Parcel {
        raw: "{\"a\": 1.10 }\n".into(),
        content_type: Some("application/json; charset=utf-8".into()),
        ..parcel(7, &Message::default())
    };
    let got = sent(vec![], first.clone()).await;
    assert_eq!((got.method.as_str(), got.target.as_str(), got.text().as_str()), ("POST", "/in?key=1", "{\"a\": 1.10 }\n"));
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        ("switchyard-event", &first.event),
        ("switchyard-delivery", &first.delivery),
        ("switchyard-attempt", "1"),
        ("idempotency-key", &first.delivery),
        ("user-agent", "switchyard/0"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    assert_eq!(got.header("switchyard-replay"), None);
    let again = sent(vec![], Parcel { attempt: 3, replay: true, ..first }).await;
    assert_eq!((again.header("switchyard-replay"), again.header("switchyard-attempt")), (Some("true"), Some("3")));
}

#[tokio::test]
async fn a_message_sets_body_headers_and_path() {
    let message = message(vec![
        ("body", Rendered::Text(r#"{"order": 7}"#.into())),
        ("headers", Rendered::Map([("X-Shop", "Größe"), ("Idempotency-Key", "mine")].map(|(n, v)| (n.into(), v.into())).into())),
        ("path", Rendered::Text("orders/a b?c".into())),
    ]);
    let got = sent(vec![("method", text("PUT"))], parcel(1, &message)).await;
    assert_eq!((got.method.as_str(), got.target.as_str(), got.text().as_str()), ("PUT", "/in/orders/a%20b%3Fc?key=1", r#"{"order": 7}"#));
    let seen = ["content-type", "x-shop", "idempotency-key"].map(|name| got.header(name));
    assert_eq!(seen, [Some("application/json"), Some("Größe"), Some("mine")]);
}

#[tokio::test]
async fn a_transforms_result_is_sent_as_json_and_get_has_no_body() {
    let result = Message { payload: Some(r#"{"order":7}"#.into()), ..Message::default() };
    let got = sent(vec![], Parcel { content_type: Some("text/xml".into()), ..parcel(1, &result) }).await;
    assert_eq!((got.text().as_str(), got.header("content-type")), (r#"{"order":7}"#, Some("application/json")));
    let got = sent(vec![("method", text("GET"))], parcel(1, &result)).await;
    assert_eq!((got.method.as_str(), got.text().as_str(), got.header("content-type")), ("GET", "", None));
}

#[tokio::test]
async fn credentials_and_signature_are_those_of_the_bytes_sent() {
    let settings = vec![
        ("auth", map(vec![("basic", map(vec![("user", text("Aladdin")), ("password", text("open sesame"))]))])),
        ("sign", map(vec![("secret", text(SIGNING))])),
    ];
    let got = sent(settings, parcel(1, &Message::default())).await;
    assert_eq!(got.header("authorization"), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    let (id, seconds) = (got.header("webhook-id").unwrap(), got.header("webhook-timestamp").unwrap());
    assert_eq!((id, seconds), (got.header("switchyard-delivery").unwrap(), "1772445600"));
    let signer = switchyard_api::http::Signer::new(&switchyard_api::http::Secrets(vec![switchyard_api::Secret::new(SIGNING)])).unwrap();
    assert_eq!(got.header("webhook-signature"), Some(signer.sign(id, 1_772_445_600, &got.body).as_str()));
}

#[tokio::test]
async fn an_event_cannot_write_a_header_or_leave_its_path() {
    let server = WebServer::start().await;
    let output = plain(&server).await;
    for (fields, word) in [
        (vec![("headers", one("X-Shop", "a\r\nX-Admin: yes"))], "rejected"),
        (vec![("headers", one("X-Shop", "a\u{1}"))], "rejected"),
        (vec![("path", Rendered::Text("../admin".into()))], "rejected"),
        (vec![("headers", one("Content-Length", "0"))], "misconfigured"),
        (vec![("headers", one("Switchyard-Delivery", "dlv_0"))], "misconfigured"),
        (vec![("headers", one("X Shop", "a"))], "misconfigured"),
    ] {
        let said = deliver(&*output, vec![parcel(1, &message(fields))], None).await;
        assert_eq!((said.outcome(Handle(1)).word(), said.sent.len()), (word, 0), "{said:?}");
    }
    assert!(server.got().is_empty());
}

#[tokio::test]
async fn every_manner_has_its_outcome_and_the_next_delivery_works() {
    let server = WebServer::start().await;
    let output = plain(&server).await;
    let expect = [
        (Manner::answer(200, "fine"), "delivered", "200 OK: fine"),
        (Manner::answer(202, ""), "delivered", "202 Accepted"),
        (Manner::answer(500, "<html>\n<h1>Oops</h1>"), "retry", "500 Internal Server Error: <html> <h1>Oops</h1>"),
        (Manner::answer(503, ""), "down", "503 Service Unavailable"),
        (Manner::answer(401, ""), "misconfigured", "401 Unauthorized"),
        (Manner::answer(400, "bad\x1b[2J"), "rejected", "400 Bad Request: bad [2J"),
        (Manner::with_header(302, "location", "http://127.0.0.1:1/"), "misconfigured", "302 Found: a redirect is not followed"),
        (Manner::Endless, "delivered", "200 OK: xxx"),
        (Manner::Raw(b"garbage\r\n\r\n".to_vec()), "unknown", "sent, but the connection"),
        (Manner::HangUp, "unknown", "sent, but the connection"),
        (Manner::Silence, "unknown", "gave no answer within 2s"),
    ];
    for (count, (manner, word, text)) in expect.into_iter().enumerate() {
        server.then(manner.clone());
        let outcome = deliver_one(&*output, parcel(count as u64, &Message::default())).await;
        assert!(outcome.word() == word && outcome.text().contains(text), "{manner:?}: {outcome:?}");
        let next = deliver_one(&*output, parcel(100, &Message::default())).await;
        assert_eq!(next.word(), "delivered", "after {manner:?}: {next:?}");
        assert_eq!(server.got().len(), 2 * (count + 1), "each is sent once: {manner:?}");
    }
}

#[tokio::test]
async fn a_wish_to_wait_and_the_files_own_lists_are_heard() {
    let server = WebServer::start().await;
    let url = map(vec![("url", text(&server.url()))]);
    let output = connect(url, &Kit { retry_on: vec![404], reject_on: vec![429], ..kit() }).await;
    for (manner, expected) in [
        (Manner::with_header(500, "retry-after", "7"), ("retry", Some(7))),
        (Manner::with_header(503, "retry-after", "Mon, 02 Mar 2026 10:00:30 GMT"), ("down", Some(29))),
        (Manner::with_header(404, "retry-after", "nonsense"), ("retry", None)),
        (Manner::with_header(429, "retry-after", "7"), ("rejected", None)),
    ] {
        server.then(manner);
        let outcome = deliver_one(&*output, parcel(1, &Message::default())).await;
        let after = match &outcome {
            Outcome::Retry { after, .. } | Outcome::Down { after, .. } => after.map(|after| after.as_secs()),
            _ => None,
        };
        assert_eq!((outcome.word(), after), expected);
    }
}

/// A server certificate for `localhost`, and where its root stands.
fn certificate(folder: &std::path::Path) -> (rustls::ServerConfig, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = folder.join("root.pem");
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (config, path)
}

#[tokio::test]
async fn a_certificate_is_believed_by_its_root_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = certificate(folder.path());
    let server = WebServer::start_tls(config).await;
    let url = || ("url", text(&format!("{}/in", server.url())));
    let kit = Kit { base: folder.path().to_owned(), ..kit() };

    let trusting = connect(map(vec![url(), ("ca", text(root.file_name().unwrap().to_str().unwrap()))]), &kit).await;
    trusting.check().await.unwrap();
    for number in 0..3 {
        assert_eq!(deliver_one(&*trusting, parcel(number, &Message::default())).await.word(), "delivered");
    }
    assert_eq!(server.connections(), 1, "TLS connections are kept too");

    let system = connect(map(vec![url()]), &kit).await;
    let outcome = deliver_one(&*system, parcel(4, &Message::default())).await;
    assert!(outcome.word() == "misconfigured" && outcome.text().contains("TLS"), "{outcome:?}");
    let by_address = server.url().replace("localhost", "127.0.0.1");
    let other_name = connect(map(vec![("url", text(&by_address)), ("ca", text("root.pem"))]), &kit).await;
    assert_eq!(deliver_one(&*other_name, parcel(5, &Message::default())).await.word(), "misconfigured");
    assert_eq!(server.got().len(), 3);
}

#[tokio::test]
async fn a_file_of_roots_that_is_none_keeps_the_output_from_being_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    for name in ["empty.pem", "missing.pem"] {
        let settings = map(vec![("url", text("https://a.example/hush")), ("ca", text(name))]);
        let config = kind("http").read(&settings, &mut vec![]).unwrap();
        let error = config.connect(&Kit { base: folder.path().to_owned(), ..kit() }).await.err().unwrap().to_string();
        assert!(error.contains("output `shop`") && error.contains(name) && !error.contains("hush"), "{error}");
    }
}

#[tokio::test]
async fn a_typo_in_a_setting_is_told_with_the_word_that_was_meant() {
    let settings = map(vec![("url", text("https://a.example/in")), ("methd", text("PUT")), ("method", text("put"))]);
    let mut problems = vec![];
    assert!(kind("http").read(&settings, &mut problems).is_none());
    let told: Vec<_> = problems.iter().map(|p| (p.id, p.patch.as_deref())).collect();
    assert_eq!(told, [("unknown-key", Some("method")), ("unknown-word", Some("PUT"))]);
}
