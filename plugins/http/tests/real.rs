//! The `http` output against a real web server with every bad manner, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

mod settings;

use settings::yaml;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::http::{Got, Manner, WebServer};
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
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
    Message { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), ..Message::default() }
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
    async fn refused(&self) -> Option<Refused> {
        // It gives the client no token, once at the delivery and once at the check, and says the secret back.
        for _ in 0..2 {
            self.server.then(Manner::answer(401, r#"{"error": "invalid_client", "error_description": "made-up-wrong-one"}"#));
        }
        let url = self.server.url();
        let client = vec![("token_url", text(&url)), ("client_id", text("shop")), ("client_secret", text("made-up-wrong-one"))];
        let settings = map(vec![("url", text(&url)), ("auth", map(vec![("oauth2", map(client))]))]);
        Some(Refused { output: connect(settings, &kit()).await, secret: "made-up-wrong-one".into() })
    }
    fn be_busy(&mut self) -> Option<Duration> {
        self.server.behave(Manner::with_header(429, "retry-after", "30"));
        Some(Duration::from_secs(30))
    }
    fn lose_answers(&mut self) -> bool {
        self.server.behave(Manner::HangUp);
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
        (Manner::Silence, "unknown", "gave no answer within 2.0s"),
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
            Outcome::Retry { after, .. } | Outcome::Down { after, .. } | Outcome::Misconfigured { after, .. } => {
                after.map(|after| after.as_secs())
            }
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
        assert!(!error.contains("shop") && error.contains(name) && !error.contains("hush"), "{error}");
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

async fn output(kind_name: &str, server: &WebServer, settings: &str) -> Arc<dyn Output> {
    let settings = yaml(&settings.replace("URL", &server.url()));
    let mut problems = vec![];
    let config = kind(kind_name).read(&settings, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    config.connect(&kit()).await.unwrap()
}

fn words(said: &switchyard_api::conformance::Said) -> Vec<&'static str> {
    said.outcomes.values().map(|outcomes| outcomes[0].word()).collect()
}

#[tokio::test]
async fn the_id_goes_where_the_far_side_wants_it() {
    let hex = format!("{:032x}", 1);
    let uuid = "00000000-0000-0000-0000-000000000001";
    for (once, header, target, body) in [
        ("{ header: X-Request-Id, as: uuid }", Some(("x-request-id", uuid.to_owned())), "/in", r#"{"a": 1.10}"#.to_owned()),
        (
            "{ header: Idempotency-Key, quoted: true }",
            Some(("idempotency-key", format!("\"dlv_{hex}\""))),
            "/in",
            r#"{"a": 1.10}"#.to_owned(),
        ),
        ("{ query: requestid, as: hex }", None, &format!("/in?requestid={hex}"), r#"{"a": 1.10}"#.to_owned()),
        ("{ body: uid }", None, "/in", format!(r#"{{"uid":"dlv_{hex}","a": 1.10}}"#)),
        ("{ body: a }", None, "/in", r#"{"a": 1.10}"#.to_owned()),
    ] {
        let server = WebServer::start().await;
        let output = output("http", &server, &format!("{{ url: 'URL/in', once: {once} }}")).await;
        let parcel = Parcel { raw: r#"{"a": 1.10}"#.into(), ..parcel(1, &Message::default()) };
        assert_eq!(deliver_one(&*output, parcel).await.word(), "delivered", "{once}");
        let got = server.got().remove(0);
        assert_eq!((got.target.as_str(), got.text()), (target, body), "{once}");
        let key = got.header("idempotency-key");
        match header {
            Some((name, value)) => assert_eq!(got.header(name), Some(value.as_str()), "{once}"),
            None => assert_eq!(key, None, "{once}: in place of the header"),
        }
    }
    let server = WebServer::start().await;
    let output = output("http", &server, "{ url: 'URL/in', once: { body: uid } }").await;
    let outcome = deliver_one(&*output, Parcel { raw: "[1]".into(), ..parcel(1, &Message::default()) }).await;
    assert!(outcome.word() == "rejected" && server.got().is_empty(), "{outcome:?}");
}

const BATCH: &str =
    "{ url: 'URL/bulk', batch: { max: 8, results: /items, status: /status, map: [ { when: { status: 409 }, then: delivered } ] } }";

#[tokio::test]
async fn a_batch_is_one_request_and_each_item_has_its_own_outcome() {
    let server = WebServer::start().await;
    let output = output("http", &server, BATCH).await;
    assert_eq!(output.max_batch(), 8);
    let parcels = || (0..4).map(|number| parcel(number, &Message::default())).collect::<Vec<_>>();
    let items = r#"{"items":[{"status":201},{"status":409},{"status":422,"why":"bad"},{"status":429}]}"#;
    server.then(Manner::answer(200, items));
    let said = deliver(&*output, parcels(), None).await;
    assert_eq!(words(&said), ["delivered", "delivered", "rejected", "retry"]);
    assert!(said.sent.values().all(|count| *count == 1) && said.sent.len() == 4, "{said:?}");
    assert!(said.outcome(Handle(2)).text().contains("bad"));
    let got = server.got().remove(0);
    assert_eq!((got.target.as_str(), got.text().as_str()), ("/bulk", r#"[{"number":0},{"number":1},{"number":2},{"number":3}]"#));
    let named = got.header("switchyard-delivery").unwrap().split(", ").count();
    assert!(named == 4 && got.header("idempotency-key").unwrap().starts_with("batch_"), "no delivery speaks for the others");
    // Of the answers to a whole batch each item hears the same, and nothing is sent twice.
    for (manner, word) in [
        (Manner::answer(503, ""), "down"),
        (Manner::answer(401, ""), "misconfigured"),
        (Manner::answer(500, ""), "retry"),
        (Manner::answer(200, "<html>"), "unknown"),
        (Manner::answer(200, r#"{"items":[]}"#), "unknown"),
        (Manner::HangUp, "unknown"),
    ] {
        let before = server.got().len();
        server.then(manner.clone());
        let said = deliver(&*output, parcels(), None).await;
        assert_eq!((words(&said), server.got().len()), (vec![word; 4], before + 1), "{manner:?}");
    }
}

#[tokio::test]
async fn a_batch_names_its_deliveries_and_has_an_id_of_its_own() {
    let server = WebServer::start().await;
    let settings = "{ url: 'URL/bulk?a=1', batch: { max: 100 } }";
    let output = output("http", &server, settings).await;
    let of = |numbers: std::ops::Range<u64>| {
        numbers.map(|n| Parcel { attempt: 1 + u32::try_from(n % 2).unwrap(), ..parcel(n, &Message::default()) })
    };
    let mut keys = vec![];
    for numbers in [1..4, 1..4, 1..3, 1..60, 1..2] {
        let parcels: Vec<Parcel> = of(numbers).collect();
        let ids = |name: fn(&Parcel) -> &str| parcels.iter().map(name).collect::<Vec<_>>().join(", ");
        let (deliveries, events) = (ids(|p| &p.delivery), ids(|p| &p.event));
        let count = parcels.len();
        deliver(&*output, parcels, None).await;
        let got = server.got().pop().unwrap();
        let key = got.header("idempotency-key").unwrap().to_owned();
        let (named, event) = (got.header("switchyard-delivery").unwrap(), got.header("switchyard-event"));
        if count <= 50 {
            assert_eq!((named, event), (&*deliveries, Some(&*events)));
        } else {
            assert_eq!((named, event), (&*key, None));
        }
        assert_eq!(got.header("switchyard-attempt"), Some("2"));
        assert_eq!(key.starts_with("batch_"), count > 1, "{key}");
        keys.push(key);
    }
    assert!(keys[0] == keys[1] && keys[0] != keys[2] && keys[2] != keys[3], "a key is what is in it: {keys:?}");
}

#[tokio::test]
async fn the_id_of_a_batch_goes_where_the_far_side_wants_it() {
    let server = WebServer::start().await;
    for (once, count, target) in [
        ("{ query: token }", 1, "/bulk?a=1&token=dlv_00000000000000000000000000000001"),
        ("{ query: token, as: hex }", 1, "/bulk?a=1&token=00000000000000000000000000000001"),
        ("{ query: token }", 2, "/bulk?a=1&token=batch_"),
        ("{ header: X-Key }", 2, "/bulk?a=1"),
    ] {
        let output = output("http", &server, &format!("{{ url: 'URL/bulk?a=1', batch: {{ max: 100 }}, once: {once} }}")).await;
        let before = server.got().len();
        deliver(&*output, (1..=count).map(|n| parcel(n, &Message::default())).collect(), None).await;
        let got = server.got().split_off(before);
        assert_eq!(got.len(), 1, "{once}: one request for all");
        assert!(got[0].target.starts_with(target) && got[0].header("idempotency-key").is_none(), "{once}: {}", got[0].target);
        assert_eq!(got[0].header("x-key").is_some_and(|key| key.starts_with("batch_")), once.contains("X-Key"));
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_is_halved_until_who_is_refused_stands_alone() {
    let server = WebServer::start().await;
    let output = output("http", &server, "{ url: 'URL/bulk', batch: { max: 8 } }").await;
    // Six items, of which the third is poison: [0..6) refused, [0..3) refused, [0] ok, [1,2] refused, [1] ok, [2] refused, [3..6) ok.
    for status in [400, 400, 200, 400, 200, 400, 200] {
        server.then(Manner::answer(status, ""));
    }
    let said = deliver(&*output, (0..6).map(|number| parcel(number, &Message::default())).collect(), None).await;
    assert_eq!(words(&said), ["delivered", "delivered", "rejected", "delivered", "delivered", "delivered"]);
    let sizes: Vec<usize> = server.got().iter().map(|got| got.text().matches("number").count()).collect();
    assert_eq!(sizes, [6, 3, 1, 2, 1, 1, 3]);
}

#[tokio::test]
async fn a_batch_holds_no_more_bytes_than_it_may_and_one_place_alone() {
    let server = WebServer::start().await;
    let output = output("http", &server, "{ url: 'URL/bulk', batch: { max: 100, bytes: 40B, as: ndjson } }").await;
    let to = |number: u64, path: &str| parcel(number, &message(vec![("path", Rendered::Text(path.into()))]));
    let parcels =
        vec![to(0, "a"), to(1, "a"), to(2, "a"), to(3, "b"), to(4, "b"), parcel(5, &message(vec![("path", Rendered::Text("..".into()))]))];
    let said = deliver(&*output, parcels, None).await;
    assert_eq!(words(&said), ["delivered", "delivered", "delivered", "delivered", "delivered", "rejected"]);
    let got: Vec<_> = server.got().iter().map(|got| (got.target.clone(), got.text())).collect();
    let expected = [("/bulk/a", "{\"number\":0}\n{\"number\":1}\n{\"number\":2}\n"), ("/bulk/b", "{\"number\":3}\n{\"number\":4}\n")];
    assert_eq!(got, expected.map(|(target, body)| (target.to_owned(), body.to_owned())));
    let large = Parcel { raw: format!("{{\"number\":\"{}\"}}", "x".repeat(50)).into(), ..to(6, "a") };
    assert_eq!(words(&deliver(&*output, vec![large, to(7, "a")], None).await), ["delivered", "delivered"]);
    assert_eq!(server.got().len(), 4, "one that is larger than the bound goes alone");
}

#[tokio::test]
async fn a_batch_finds_its_results_by_name_by_place_or_line_by_line() {
    for (batch, answer, expected) in [
        (
            "{ max: 3, results: [/Successful, /Failed], id: { at: /Id, is: '{delivery.index}' }, ok: { json: { /Code: { exists: false } } },
               map: [ { when: { json: { /SenderFault: true } }, then: rejected } ] }",
            r#"{"Successful":[{"Id":"1"}],"Failed":[{"Id":"2","Code":"Throttled"},{"Id":"0","SenderFault":true,"Code":"Bad"}]}"#,
            ["rejected", "delivered", "retry"],
        ),
        (
            "{ max: 3, results: /insertErrors, position: /index, ok: { json: { /errors: { empty: true } } }, otherwise: rejected, missing: delivered }",
            r#"{"insertErrors":[{"index":1,"errors":[{"reason":"invalid"}]}]}"#,
            ["delivered", "rejected", "delivered"],
        ),
        (
            "{ max: 3, results: lines, status: /error_code }",
            "{\"error_code\":200}\r\n{\"error_code\":422}{\"error_code\":503}",
            ["delivered", "rejected", "down"],
        ),
    ] {
        let server = WebServer::start().await;
        let output = output("http", &server, &format!("{{ url: 'URL', batch: {batch} }}")).await;
        server.then(Manner::answer(200, answer));
        let said = deliver(&*output, (0..3).map(|number| parcel(number, &Message::default())).collect(), None).await;
        assert_eq!(words(&said), expected, "{batch}: {said:?}");
    }
}

#[tokio::test]
async fn before_a_repeat_it_is_asked_for_and_never_sent_again_where_it_is() {
    let server = WebServer::start().await;
    let settings = "{ url: 'URL/orders', lookup: { url: '{url}/find', query: { q: '{reference}' }, found: { json: { /total: { not: 0 } } }, detail: /id } }";
    let output = output("http", &server, settings).await;
    let first = parcel(1, &message(vec![("reference", Rendered::Text("A 7&x=1".into()))]));
    assert_eq!(deliver_one(&*output, first.clone()).await.word(), "delivered");
    assert_eq!(server.got().len(), 1, "a first attempt asks nothing");
    let again = Parcel { attempt: 2, ..first.clone() };
    for (manner, word, text, requests) in [
        (Manner::answer(200, r#"{"total":1,"id":"ord\u0007_9"}"#), "delivered", "it is there already: ord_9", 1),
        (Manner::answer(200, r#"{"total":0}"#), "delivered", "200", 2),
        (Manner::answer(404, ""), "delivered", "200", 2),
        (Manner::answer(503, ""), "down", "the lookup", 1),
        (Manner::answer(403, ""), "misconfigured", "the lookup", 1),
        (Manner::answer(422, ""), "retry", "the lookup", 1),
        (Manner::Endless, "retry", "cannot be read", 1),
        (Manner::HangUp, "retry", "the lookup", 1),
    ] {
        let before = server.got().len();
        server.then(manner.clone());
        let said = deliver(&*output, vec![again.clone()], None).await;
        let outcome = said.outcome(Handle(1));
        assert!(outcome.word() == word && outcome.text().contains(text), "{manner:?}: {outcome:?}");
        let got = server.got().split_off(before);
        assert_eq!((got.len(), said.sent.len()), (requests, requests - 1), "{manner:?}: what is asked is not sent");
        assert_eq!((got[0].method.as_str(), got[0].target.as_str()), ("GET", "/orders/find?q=A%207%26x%3D1"));
    }
    let replay = Parcel { replay: true, ..first.clone() };
    server.then(Manner::answer(200, r#"{"total":1}"#));
    assert_eq!(deliver_one(&*output, replay).await.text(), "it is there already");
}

#[tokio::test]
async fn an_answer_that_does_not_say_it_is_not_there_sends_nothing() {
    let server = WebServer::start().await;
    let settings = "{ url: 'URL/orders', lookup: { url: '{url}/find', body: { q: $reference }, same: { in: /items, at: /ref, is: '{reference}' }, absent: { json: { /pages: [0, 1] } } } }";
    let output = output("http", &server, settings).await;
    let again = Parcel { attempt: 2, ..parcel(1, &message(vec![("reference", Rendered::Text("A\"7".into()))])) };
    for (status, answer, word, text, requests) in [
        (200, r#"{"items":[{"ref":"A\"7"}],"pages":9}"#, "delivered", "it is there already", 1),
        (200, r#"{"items":[{"ref":"B"}],"pages":1}"#, "delivered", "200", 2),
        (200, r#"{"items":[],"pages":0}"#, "delivered", "200", 2),
        (200, r#"{"items":[{"ref":"B"}],"pages":2}"#, "retry", "does not say that it is not there", 1),
        (200, r#"{"items":[]}"#, "retry", "does not say that it is not there", 1),
        (200, r#"{"pages":0}"#, "retry", "cannot be read", 1),
        (404, r#"{"items":[],"pages":0}"#, "retry", "cannot be read", 1),
        (503, r#"{"items":[],"pages":0}"#, "down", "the lookup", 1),
    ] {
        let before = server.got().len();
        server.then(Manner::answer(status, answer));
        let outcome = deliver_one(&*output, again.clone()).await;
        assert!(outcome.word() == word && outcome.text().contains(text), "{status} {answer}: {outcome:?}");
        let got = server.got().split_off(before);
        assert_eq!(got.len(), requests, "{status} {answer}");
        assert_eq!((got[0].method.as_str(), got[0].text()), ("POST", r#"{"q":"A\"7"}"#.into()));
        assert_eq!(got[0].header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_text_within_blocks_is_cut_where_the_chat_would_refuse_it() {
    let long = "&amp; ".repeat(1500);
    for (name, field, json, at, most) in [
        ("slack", "blocks", format!(r#"[{{"type":"section","text":{{"type":"mrkdwn","text":"{long}"}}}}]"#), "/blocks/0/text/text", 3000),
        ("discord", "embeds", format!(r#"[{{"fields":[{{"name":"a","value":"{long}"}}]}}]"#), "/embeds/0/fields/0/value", 1024),
    ] {
        let server = WebServer::start().await;
        let output = output(name, &server, "{ url: 'URL/hook' }").await;
        let fields = vec![("text", Rendered::Text("a".into())), (field, Rendered::Text(json))];
        deliver_one(&*output, parcel(1, &message(fields))).await;
        let body: serde_json::Value = serde_json::from_slice(&server.got()[0].body).unwrap();
        let text = body.pointer(at).and_then(serde_json::Value::as_str).unwrap();
        assert!(text.chars().count() <= most && text.ends_with(" more characters"), "{name}: {text}");
    }
}

#[tokio::test]
async fn the_files_words_win_over_the_rows() {
    let server = WebServer::start().await;
    let settings = "{ url: 'URL/hook', ok: { text: fine }, query: { thread: a b }, map: [ { when: { status: 429 }, then: rejected } ] }";
    let output = output("slack", &server, settings).await;
    for (status, body, word) in [(200, "fine", "delivered"), (200, "ok", "retry"), (429, "", "rejected"), (404, "", "misconfigured")] {
        server.then(Manner::answer(status, body));
        let outcome = deliver_one(&*output, parcel(1, &message(vec![("text", Rendered::Text("a".into()))]))).await;
        assert_eq!(outcome.word(), word, "{status} {body}");
    }
    assert_eq!(server.got()[0].target, "/hook?thread=a%20b");
}

#[tokio::test]
async fn a_secret_of_a_row_is_in_no_url_that_is_shown() {
    let server = WebServer::start().await;
    let settings = yaml(&format!("{{ server: '{}', token: '123456:made-up-token' }}", server.url()));
    let telegram = switchyard_http::presets().into_iter().find(|preset| switchyard_api::Kind::name(preset) == "telegram").unwrap();
    let config = switchyard_api::Kind::read(&telegram, &settings, &mut vec![]).unwrap();
    let output = switchyard_api::Kind::connect(&telegram, config.clone(), &kit()).await.unwrap();
    server.then(Manner::answer(404, "no method at /bot123456:made-up-token/sendMessage, nor at 123456%3Amade-up-token"));
    let message = message(vec![("chat_id", Rendered::Text("-1".into())), ("text", Rendered::Text("a".into()))]);
    let outcome = deliver_one(&output, parcel(1, &message)).await;
    let shown = format!("{config:?} {output:?} {outcome:?}");
    assert!(!shown.contains("made-up-token"), "{shown}");
    assert_eq!(server.got()[0].target, "/bot123456:made-up-token/sendMessage");
}

#[tokio::test]
async fn a_rows_settings_are_known_to_check() {
    for (settings, id, told) in [
        ("{ tokn: '1:a' }", "unknown-key", "did you mean `token`?"),
        ("{ token: '1:a', sever: x }", "unknown-key", "did you mean `server`?"),
        ("{ }", "missing-key", "`token`"),
        ("{ token: 'hush' }", "wrong-value", "does not look like one"),
        ("{ token: '' }", "wrong-value", "is its variable set?"),
        ("{ token: [hush] }", "wrong-type", "a text"),
        ("{ token: '1:a', ok: { json: { ok: true } } }", "wrong-value", "begins with `/`"),
        ("{ token: '1:a', once: { body: a, query: b } }", "wrong-value", "one place"),
        ("{ token: '1:a', map: [ { when: { status: 42 }, then: retry } ] }", "wrong-value", "no HTTP status"),
        ("{ token: '1:a', map: [ { when: { status: 400 }, then: retri } ] }", "unknown-word", "did you mean `retry`?"),
        ("{ token: '1:a', lookup: { url: 'https://other.example/x' } }", "wrong-value", "on the same server"),
        ("{ token: '1:a', query: { a: '{b' } }", "wrong-value", "not closed"),
    ] {
        let mut problems = vec![];
        let read = kind("telegram").read(&yaml(settings), &mut problems);
        let shown = format!("{problems:?}");
        let found = problems.iter().any(|p| p.id == id && format!("{} {:?}", p.title, p.help).contains(told));
        assert!(read.is_none() && found && !shown.contains("hush"), "{settings}: {shown}");
    }
}

/// A far side that takes batches, by a row as a user would write it.
struct Bulk(WebServer);

const BULK: &str = "{ url: 'URL/bulk', auth: { bearer: made-up-token }, batch: { max: 50, as: ndjson, item: { id: $delivery.id, data: $event.payload } } }";

impl FarSide for Bulk {
    async fn start() -> Self {
        Bulk(WebServer::start().await)
    }
    async fn output(&self) -> Arc<dyn Output> {
        output("http", &self.0, BULK).await
    }
    async fn arrived(&self) -> Vec<String> {
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        self.0.got().iter().flat_map(|got| got.text().lines().map(line).collect::<Vec<_>>()).collect()
    }
    async fn leave(&mut self) -> bool {
        self.0.leave().await;
        true
    }
    fn be_busy(&mut self) -> Option<Duration> {
        self.0.behave(Manner::with_header(429, "retry-after", "30"));
        Some(Duration::from_secs(30))
    }
    fn lose_answers(&mut self) -> bool {
        self.0.behave(Manner::HangUp);
        true
    }
    fn hang(&mut self) -> bool {
        self.0.behave(Manner::Silence);
        true
    }
    fn answer(&mut self) {
        self.0.behave(Manner::answer(200, ""));
    }
    fn poison(&self) -> Option<Message> {
        self.0.then(Manner::answer(422, "no such article"));
        Some(Message::default())
    }
    async fn shown(&self) -> (String, Vec<String>) {
        self.0.then(Manner::answer(200, TOKEN));
        let settings = yaml(&BULK.replace("URL", &self.0.url()));
        let config = switchyard_api::Kind::read(&switchyard_http::Http::default(), &settings, &mut vec![]).unwrap();
        let output = switchyard_api::Kind::connect(&switchyard_http::Http::default(), config.clone(), &kit()).await.unwrap();
        (format!("{config:?} {output:?}"), vec![TOKEN.to_owned()])
    }
}

mod bulk {
    use super::Bulk;
    switchyard_api::conformance!(Bulk);
}
