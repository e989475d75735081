//! Every handshake of `tests/data/handshakes.json`: the request in, as the sender makes it, and the answer that the file asks for.

use crate::host::{Host, Page};
use crate::keys::{TOPIC, notification, reasons, started};
use crate::yard::{FarSide, Yard, http};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Handshake {
    name: String,
    provider: String,
    request: Asked,
    response: Expected,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
struct Expected {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    json: Option<Value>,
}

const SOURCES: &str = "  slack: { verify: slack, secret: made-up-slack }
  meta: { verify: meta, secret: made-up-meta, verify_token: meatyhamhock }
  zoom: { verify: zoom, secret: zoom-webhook-secret-token }
  xero: { verify: xero, secret: xero-test-secret }
  microsoft-graph: { verify: microsoft-graph, secret: made-up-state }
  azure-event-grid: { verify: azure-event-grid, secret: made-up-code }
  cloudevents: { verify: cloudevents, secret: made-up-token }
  dropbox: { verify: dropbox, secret: made-up-dropbox }
  notion: { verify: notion, secret: not-known-yet }
  intercom: { verify: intercom, secret: made-up-intercom }
  adyen: { verify: adyen, secret: 44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056 }
";

/// The headers that a sender would add to this body.
fn signed(yard: &Yard, source: &str, body: &str) -> Vec<(String, String)> {
    std::fs::write(yard.path("body.json"), body).unwrap();
    let said = yard.cli(&["sign", "--source", source, "--json", "body.json"]);
    let headers: BTreeMap<String, String> =
        serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{source}: {}", String::from_utf8_lossy(&said.stderr)));
    headers.into_iter().collect()
}

/// Notifications that Adyen itself signed: the first valid ones of the vectors.
fn adyen() -> String {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../data/signatures.json")).unwrap();
    let found =
        vectors.iter().find(|vector| vector["provider"] == "adyen" && vector["scheme"] != "hmac-body" && vector["expect"] == "valid");
    found.unwrap()["body"].as_str().unwrap().to_owned()
}

fn discord(body: &str) -> (String, Vec<(String, String)>) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signature = key.sign(format!("1700000000{body}").as_bytes());
    let headers = vec![("x-signature-timestamp".into(), "1700000000".into()), ("x-signature-ed25519".into(), hex::encode(signature))];
    (hex::encode(key.public_key().as_ref()), headers)
}

#[test]
fn every_handshake_gets_the_answer_that_its_sender_waits_for() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("sns.amazonaws.com");
    host.page("/good.pem", Page::Text(signer.pem.clone()));
    host.page("/?Action=ConfirmSubscription&Token=t-1", Page::Text("<ok/>".into()));
    let sns = format!("  aws-sns: {{ verify: aws-sns, secret: '{TOPIC}' }}\n");
    let discords = format!("  discord: {{ verify: discord, secret: {} }}\n", discord("").0);
    let mut yard = started(&format!("{SOURCES}{sns}{discords}"), &host, &far);
    let handshakes: Vec<Handshake> = serde_json::from_str(include_str!("../data/handshakes.json")).unwrap();
    assert_eq!(handshakes.len(), 17);
    for Handshake { name, provider, request, response } in handshakes {
        let (mut headers, mut body, mut query): (Vec<(String, String)>, _, _) =
            (request.headers.into_iter().collect(), request.body, request.query);
        match provider.as_str() {
            "slack" | "zoom" | "intercom" => headers.extend(signed(&yard, &provider, &body)),
            "discord" => headers.extend(discord(&body).1),
            "adyen" => body = adyen(),
            "azure-event-grid" => query = "code=made-up-code".into(),
            "aws-sns" => {
                let fields = [
                    ("Message", "You have chosen to subscribe"),
                    ("MessageId", "m-1"),
                    ("SubscribeURL", "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t-1"),
                    ("Timestamp", "2026-08-01T10:00:00.000Z"),
                    ("Token", "t-1"),
                    ("TopicArn", TOPIC),
                    ("Type", "SubscriptionConfirmation"),
                ];
                body = signer.message(&fields, "https://sns.eu-west-1.amazonaws.com/good.pem");
            }
            _ => {}
        }
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let path = if query.is_empty() { format!("/{provider}") } else { format!("/{provider}?{query}") };
        let said = http::request(&yard.daemon().events, &request.method, &path, &headers, body.as_bytes()).unwrap();
        let text = String::from_utf8(said.body.clone()).unwrap();
        assert_eq!(said.status, response.status, "{name}: {text}\n{:?}", yard.json(&["refused"]));
        for (header, expected) in response.headers {
            // The rate is ours to say, as long as one is said.
            let expected = if header == "WebHook-Allowed-Rate" { "120".to_owned() } else { expected };
            let given = said.header(&header).unwrap_or_default();
            assert!(given.starts_with(&expected), "{name}: {header} is `{given}`");
        }
        response.body.iter().for_each(|expected| assert_eq!(&text, expected, "{name}"));
        response.json.iter().for_each(|expected| assert_eq!(&said.json(), expected, "{name}"));
        let reflected = said.header("content-type").unwrap_or_default().starts_with("text/html");
        assert!(!reflected, "{name}");
    }
    assert_eq!(host.asked("/?Action=ConfirmSubscription&Token=t-1"), 1, "visited once");
    let refused = reasons(&yard);
    assert!(refused.contains("secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"), "Notion's token is shown to people: {refused}");
    assert!(!yard.log().contains("secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"), "and not to the log");
    // Discord's events have the type of an interaction's ping, and are none.
    let body = r#"{"version":1,"application_id":"1234","type":1,"event":{"type":"APPLICATION_AUTHORIZED","data":{}}}"#;
    let (_, headers) = discord(body);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let said = http::request(&yard.daemon().events, "POST", "/discord", &headers, body.as_bytes()).unwrap();
    assert_eq!((said.status, said.body.len()), (204, 0), "as for its ping");
    let kept = yard.json(&["events", "--source", "discord"]);
    assert_eq!((kept.len(), &kept[0]["topic"]), (1, &serde_json::json!("APPLICATION_AUTHORIZED")), "{kept:?}");
    yard.kill();
}

#[test]
fn a_confirmation_is_visited_for_our_topic_and_at_its_sender_only() {
    let (host, far) = (Host::start(), FarSide::start());
    let signer = host.signer("sns.amazonaws.com");
    host.page("/good.pem", Page::Text(signer.pem.clone()));
    host.page("/?Token=broken", Page::Status(500));
    let sources = format!("  ours: {{ verify: aws-sns, secret: '{TOPIC}' }}\n  anybodys: {{ verify: aws-sns }}");
    let mut yard = started(&sources, &host, &far);
    let confirmation = |source: &str, url: &str, topic: &str| {
        let fields = [
            ("Message", "m"),
            ("MessageId", "m-1"),
            ("SubscribeURL", url),
            ("Timestamp", "2026-08-01T10:00:00.000Z"),
            ("Token", "t"),
            ("TopicArn", topic),
            ("Type", "SubscriptionConfirmation"),
        ];
        let body = signer.message(&fields, "https://sns.eu-west-1.amazonaws.com/good.pem");
        http::request(&yard.daemon().events, "POST", &format!("/{source}"), &[], body.as_bytes()).unwrap().status
    };
    let at = |path: &str| format!("https://sns.eu-west-1.amazonaws.com{path}");
    assert_eq!(confirmation("ours", &at("/?Token=broken"), TOPIC), 503, "it is asked for again");
    assert_eq!(confirmation("ours", &at("/?Token=a"), "arn:else"), 401);
    assert_eq!(confirmation("anybodys", &at("/?Token=a"), TOPIC), 401, "nobody said whose");
    for foreign in ["https://evil.example/?Token=a", "http://169.254.169.254/latest", "https://sns.eu-west-1.amazonaws.com@evil.example/"] {
        assert_eq!(confirmation("ours", foreign, TOPIC), 401, "{foreign}");
    }
    assert_eq!((host.asked("/?Token=broken"), host.asked("/?Token=a"), host.goals().len()), (1, 0, 1));
    // Events of whatever topic come in there, as the warning says.
    let event = signer.message(&notification("m-2", "x", "arn:else"), &at("/good.pem"));
    assert_eq!(http::request(&yard.daemon().events, "POST", "/anybodys", &[], event.as_bytes()).unwrap().status, 200);
    assert!(String::from_utf8_lossy(&yard.cli(&["check"]).stderr).contains("any-account"));
    let refused = reasons(&yard);
    assert!(refused.contains("name it under `secret`") && refused.contains("at an address that is none of the sender's"), "{refused}");
    yard.kill();
}

#[test]
fn what_is_given_back_is_plain_and_a_token_in_the_url_is_not_kept() {
    let (host, far) = (Host::start(), FarSide::start());
    let mut yard = started(SOURCES.lines().find(|line| line.contains("grid")).unwrap(), &host, &far);
    let ask = |method: &str, path: &str, headers: &[(&str, &str)], body: &str| {
        http::request(&yard.daemon().events, method, path, headers, body.as_bytes()).unwrap()
    };
    let event = r#"[{"id":"1","eventType":"Made.Up","data":{}}]"#;
    assert_eq!(ask("POST", "/azure-event-grid?code=other", &[], event).status, 401);
    assert_eq!(ask("POST", "/azure-event-grid", &[], event).status, 401);
    assert_eq!(ask("POST", "/azure-event-grid?code=made-up-code&code=other", &[], event).status, 401, "which one?");
    assert_eq!(ask("POST", "/azure-event-grid?a=1&code=made-up-code&b=2", &[], event).status, 200);
    let kept = yard.json(&["events"]);
    let id = kept[0]["id"].as_str().unwrap().to_owned();
    let whole = yard.json(&["events", &id]).iter().map(ToString::to_string).collect::<String>();
    assert!(whole.contains("a=1&b=2") && !whole.contains("made-up-code"), "{whole}");
    let code = r#"[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"<script>x</script>"}}]"#;
    let said = ask("POST", "/azure-event-grid?code=made-up-code", &[], code);
    assert_eq!(
        (said.status, said.header("content-type"), said.header("x-content-type-options")),
        (200, Some("application/json"), Some("nosniff"))
    );
    assert_eq!(ask("POST", "/azure-event-grid?code=x", &[], code).status, 401, "not proven, not answered");
    let origin = |origin: &str| ask("OPTIONS", "/azure-event-grid", &[("webhook-request-origin", origin)], "");
    assert_eq!(origin("eventgrid.azure.net").header("webhook-allowed-origin"), Some("eventgrid.azure.net"));
    assert_eq!((origin("<b>x").status, ask("OPTIONS", "/azure-event-grid", &[], "").status), (403, 403));
    yard.kill();
}
