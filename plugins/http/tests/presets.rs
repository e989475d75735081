//! Every preset's conversation, as its file in `presets/tests/` tells it: the request as sent, what each answer means, and
//! hostile values that must come out inert (L8).

#![allow(clippy::unwrap_used)] // helpers of tests

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::conformance::http::{Manner, WebServer};
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Kind, Kit, Message, Outcome, Output, Rendered, Span, Wall};
use switchyard_http::Http;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    sends: Vec<Sends>,
    answers: Vec<Answered>,
    hostile: Vec<Hostile>,
}

/// Rendered fields, and the request they make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sends {
    fields: BTreeMap<String, String>,
    target: String,
    json: serde_json::Value,
}

/// An answer, and what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    outcome: String,
    #[serde(default)]
    after: Option<f64>,
}

/// A value of an event in `text`, and the text that the far side reads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    value: String,
    sent: String,
}

fn conversation(name: &str) -> Conversation {
    let path = format!("{}/presets/tests/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}: every preset has its conversation"));
    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

async fn connect(preset: &Http, server: &WebServer) -> Arc<dyn Output> {
    let url = Node { span: Span { start: 5, end: 9 }, ..Node::text(format!("{}/services/T0/B0/made-up", server.url())) };
    let key = Key { span: Span { start: 0, end: 3 }, name: "url".into() };
    let settings = Node { span: Span { start: 0, end: 9 }, value: Value::Map(vec![(key, url)]) };
    let config = switchyard_api::tree::read(&settings, &mut vec![]).unwrap();
    assert_eq!(preset.validate(&config), []);
    let kit = Kit::new("chat", "/nowhere", "switchyard/0", Wall::new(|| 1_772_445_600_000));
    Arc::new(preset.connect(config, &kit).await.unwrap())
}

fn message(fields: &BTreeMap<String, String>) -> Message {
    let fields = fields.iter().map(|(name, text)| (name.clone(), Rendered::Text(text.clone()))).collect();
    Message { payload: None, fields }
}

#[tokio::test]
async fn requests_are_sent_as_the_destination_wants_them() {
    for preset in switchyard_http::presets() {
        let server = WebServer::start().await;
        let output = connect(&preset, &server).await;
        for sends in conversation(preset.name()).sends {
            for name in sends.fields.keys() {
                assert!(preset.fields().iter().any(|field| field.name == *name), "{} has no field `{name}`", preset.name());
            }
            deliver_one(&*output, parcel(1, &message(&sends.fields))).await;
            let got = server.got().pop().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
            assert_eq!((got.method.as_str(), &got.target, &json), ("POST", &sends.target, &sends.json), "{}", preset.name());
            assert_eq!(got.header("content-type"), Some("application/json"));
            assert_eq!(got.header("switchyard-delivery"), Some(parcel(1, &Message::default()).delivery.as_str()));
        }
    }
}

#[tokio::test]
async fn answers_mean_what_the_destination_means() {
    for preset in switchyard_http::presets() {
        let server = WebServer::start().await;
        let output = connect(&preset, &server).await;
        let fields = BTreeMap::from([("text".to_owned(), "hello".to_owned())]);
        for answered in conversation(preset.name()).answers {
            let headers = answered.headers.into_iter().collect();
            server.then(Manner::Answer { status: answered.status, headers, body: answered.body.clone().into_bytes() });
            let outcome = deliver_one(&*output, parcel(1, &message(&fields))).await;
            let after = match &outcome {
                Outcome::Retry { after, .. } | Outcome::Down { after, .. } => after.map(|after| after.as_secs_f64()),
                _ => None,
            };
            let told = format!("{}: {} {}: {outcome:?}", preset.name(), answered.status, answered.body);
            assert_eq!((outcome.word(), after), (answered.outcome.as_str(), answered.after), "{told}");
        }
    }
}

#[tokio::test]
async fn hostile_values_come_out_inert() {
    for preset in switchyard_http::presets() {
        let server = WebServer::start().await;
        let output = connect(&preset, &server).await;
        let field = preset.fields().into_iter().find(|field| field.name == "text").unwrap();
        let conversation = conversation(preset.name());
        // What all requests have beside the text: nothing of it may change.
        let constant = |mut json: serde_json::Value, text: &str| {
            let all = json.as_object_mut().unwrap();
            all.retain(|_, value| value.as_str() != Some(text));
            json
        };
        let first = &conversation.sends[0];
        let expected = constant(first.json.clone(), &first.fields["text"]);
        for Hostile { value, sent } in conversation.hostile {
            // What the host's rendering does with a value: the field's escaping.
            let rendered = BTreeMap::from([("text".to_owned(), field.escape.apply(&value))]);
            deliver_one(&*output, parcel(1, &message(&rendered))).await;
            let got: serde_json::Value = serde_json::from_slice(&server.got().pop().unwrap().body).unwrap();
            let text = got.as_object().unwrap().values().find_map(|v| v.as_str()).unwrap().to_owned();
            assert_eq!(text, sent, "{}: {value:?}", preset.name());
            assert_eq!(constant(got, &text), expected, "{}: {value:?}", preset.name());
        }
    }
}
