//! Every preset's conversation, as its file tells it under `conversation:`: requests as sent, what each answer means, batches,
//! lookups, and hostile values that must come out inert (L8). `presets/README.md` says how to write one.

#![allow(clippy::unwrap_used)] // helpers of tests

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::conformance::http::{Got, Manner, WebServer};
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::problem::Severity;
use switchyard_api::tree::{Key, Node, Text, Value};
use switchyard_api::{Kind, Kit, Message, Outcome, Output, Parcel, Rendered, Span, Wall, kind};
use switchyard_http::Http;

#[path = "presets/hostile.rs"]
mod hostile;

type Fields = BTreeMap<String, Json>;

#[derive(Deserialize)]
struct Row {
    conversation: Conversation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    /// Settings of the output beside its address.
    #[serde(default)]
    settings: Fields,
    /// Path and query of the output's own URL, where it has one.
    #[serde(default)]
    url: String,
    sends: Vec<Sends>,
    answers: Vec<Answered>,
    #[serde(default)]
    batches: Vec<Together>,
    #[serde(default)]
    lookups: Vec<Asked>,
    #[serde(default)]
    hostile: Vec<Hostile>,
}

/// Rendered fields, and the request they make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sends {
    #[serde(default)]
    fields: Fields,
    /// Settings of this one.
    #[serde(default)]
    settings: Fields,
    #[serde(default)]
    method: Option<String>,
    target: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    json: Option<Json>,
    #[serde(default)]
    form: Option<BTreeMap<String, String>>,
    #[serde(default)]
    text: Option<String>,
}

/// An answer, and what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    /// Fields of the message that is answered.   default: those of the first request
    #[serde(default)]
    fields: Option<Fields>,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    outcome: String,
    #[serde(default)]
    after: Option<f64>,
}

/// Several deliveries in one request, its answer, and what it means for each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Together {
    /// Settings of this one.
    #[serde(default)]
    settings: Fields,
    #[serde(default)]
    of: Vec<Fields>,
    target: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    answer: String,
    outcomes: Vec<String>,
}

/// What is asked before a repeat, the answer, and the outcome; `sent` where it is not there and so is sent again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    fields: Fields,
    /// Settings of this one.
    #[serde(default)]
    settings: Fields,
    #[serde(default = "get")]
    method: String,
    target: String,
    /// The question, where it has a body.
    #[serde(default)]
    json: Option<Json>,
    status: u16,
    #[serde(default)]
    answer: String,
    outcome: String,
}

/// A value of an event in a field, and the text that the far side reads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    #[serde(default = "text_field")]
    field: String,
    value: String,
    sent: String,
}

fn get() -> String {
    "GET".into()
}

fn text_field() -> String {
    "text".into()
}

const NOW: i64 = 1_772_445_600_000;

fn conversation(name: &str) -> Conversation {
    let path = format!("{}/presets/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let row: Row = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: every preset has its conversation"));
    row.conversation
}

/// A tree as the file would have it; each value has a place of its own.
fn node(json: &Json, at: &mut usize) -> Node {
    let start = *at;
    *at += 10;
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap().into()), |n| Value::Int(n.into())),
        Json::String(text) => Value::Text(Text { written: text.clone(), replaced: None }),
        Json::Array(items) => Value::List(items.iter().map(|item| node(item, at)).collect()),
        Json::Object(entries) => {
            let entry = |(name, value): (&String, &Json)| {
                let key = Key { span: Span { start: *at, end: *at + 5 }, name: name.clone() };
                *at += 10;
                (key, node(value, at))
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    };
    Node { span: Span { start, end: *at }, value }
}

/// The output as a file would have it, with its address on this machine.
async fn connect(preset: &Http, server: &WebServer, more: &Fields) -> Arc<dyn Output> {
    let talk = conversation(preset.name());
    let mut settings: serde_json::Map<String, Json> = talk.settings.into_iter().chain(more.clone()).collect();
    let address = Json::from(format!("{}{}", server.url(), talk.url));
    settings.insert(preset.address_key().to_owned(), address);
    let mut problems = vec![];
    let config = kind::any(preset.clone()).read(&node(&Json::Object(settings), &mut 1000), &mut problems);
    problems.retain(|problem| problem.id != "destination-ends");
    assert!(problems.iter().all(|problem| problem.severity == Severity::Warning), "{}: {problems:?}", preset.name());
    let kit = Kit::new("chat", "/nowhere", "switchyard/0", Wall::new(|| NOW));
    config.unwrap_or_else(|| panic!("{}: {problems:?}", preset.name())).connect(&kit).await.unwrap()
}

fn message(preset: &Http, fields: &Fields) -> Message {
    let mut all = BTreeMap::new();
    for (name, value) in fields {
        assert!(preset.fields().iter().any(|field| field.name == *name), "{} has no field `{name}`", preset.name());
        let rendered = match value {
            Json::Object(map) => Rendered::Map(map.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()),
            Json::String(text) => Rendered::Text(text.clone()),
            other => Rendered::Text(other.to_string()),
        };
        all.insert(name.clone(), rendered);
    }
    // What the host fills in where nobody sets it, if it is a constant.
    for field in preset.fields() {
        if let Some(constant) = field.default.filter(|template| !template.contains("{{")) {
            all.entry(field.name.into_owned()).or_insert_with(|| Rendered::Text(constant.into_owned()));
        }
    }
    Message { fields: all, ..Message::default() }
}

fn form(got: &Got) -> BTreeMap<String, String> {
    let plain = |text: &str| {
        let (mut bytes, mut rest) = (vec![], text.as_bytes());
        while let [first, more @ ..] = rest {
            rest = more;
            match (first, more) {
                (b'%', [high, low, after @ ..]) => {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap());
                    rest = after;
                }
                (b'+', _) => bytes.push(b' '),
                (byte, _) => bytes.push(*byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let text = got.text();
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (plain(n), plain(v))).collect()
}

fn same_headers(got: &Got, expected: &BTreeMap<String, String>, told: &str) {
    for (name, value) in expected {
        assert_eq!(got.header(&name.to_lowercase()), Some(value.as_str()), "{told}: {name}");
    }
}

/// Walks every row, all at once, and tells of each that fails. Needs no line here for a new one.
async fn every_row<Walk: Future<Output = ()> + Send + 'static>(walk: impl Fn(Http) -> Walk) {
    let tasks: Vec<_> = switchyard_http::presets().into_iter().map(|row| (row.name().to_owned(), tokio::spawn(walk(row)))).collect();
    assert!(!tasks.is_empty());
    let mut failed = vec![];
    for (name, task) in tasks {
        // What went wrong was told by the panic itself.
        failed.extend(task.await.err().map(|_| name));
    }
    assert!(failed.is_empty(), "rows that fail: {}", failed.join(", "));
}

#[tokio::test]
async fn requests_are_sent_as_the_destination_wants_them() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        let sends = conversation(preset.name()).sends;
        assert!(!sends.is_empty(), "{}", preset.name());
        for sends in sends {
            let output = connect(&preset, &server, &sends.settings).await;
            deliver_one(&*output, parcel(1, &message(&preset, &sends.fields))).await;
            let told = format!("{} with {:?}", preset.name(), sends.fields);
            let got = server.got().pop().unwrap_or_else(|| panic!("{told}: nothing was sent"));
            let method = sends.method.as_deref().unwrap_or("POST");
            assert_eq!((got.method.as_str(), &got.target), (method, &sends.target), "{told}");
            same_headers(&got, &sends.headers, &told);
            if let Some(json) = &sends.json {
                let body: Json = serde_json::from_slice(&got.body).unwrap_or_else(|e| panic!("{told}: {e}: {}", got.text()));
                assert_eq!(&body, json, "{told}");
            }
            if let Some(expected) = &sends.form {
                assert_eq!(
                    (form(&got), got.header("content-type")),
                    (expected.clone(), Some("application/x-www-form-urlencoded")),
                    "{told}"
                );
            }
            if let Some(text) = &sends.text {
                assert_eq!(got.text(), *text, "{told}");
            }
            assert_eq!(got.header("switchyard-delivery"), Some(parcel(1, &Message::default()).delivery.as_str()), "{told}");
        }
    })
    .await;
}

#[tokio::test]
async fn answers_mean_what_the_destination_means() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        let output = connect(&preset, &server, &Fields::new()).await;
        let talk = conversation(preset.name());
        assert!(!talk.answers.is_empty(), "{}", preset.name());
        for answered in talk.answers {
            let headers = answered.headers.into_iter().collect();
            server.then(Manner::Answer { status: answered.status, headers, body: answered.body.clone().into_bytes() });
            let fields = answered.fields.as_ref().unwrap_or(&talk.sends[0].fields);
            let outcome = deliver_one(&*output, parcel(1, &message(&preset, fields))).await;
            let after = match &outcome {
                Outcome::Retry { after, .. } | Outcome::Down { after, .. } | Outcome::Misconfigured { after, .. } => {
                    after.map(|after| after.as_secs_f64())
                }
                _ => None,
            };
            let told = format!("{}: {} {}: {outcome:?}", preset.name(), answered.status, answered.body);
            assert_eq!((outcome.word(), after), (answered.outcome.as_str(), answered.after), "{told}");
        }
    })
    .await;
}

#[tokio::test]
async fn batches_are_settled_one_by_one() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        let batches = conversation(preset.name()).batches;
        let most = connect(&preset, &server, &Fields::new()).await.max_batch();
        assert!(most == 1 || !batches.is_empty(), "{}: a row with a batch has one in its conversation", preset.name());
        for together in batches {
            let output = connect(&preset, &server, &together.settings).await;
            server.then(Manner::answer(together.status, &together.answer));
            let fields = |nth: usize| together.of.get(nth).cloned().unwrap_or_default();
            let parcels = (0..together.outcomes.len()).map(|nth| parcel(nth as u64, &message(&preset, &fields(nth))));
            let said = deliver(&*output, parcels.collect(), None).await;
            let got = server.got().pop().unwrap();
            assert_eq!((&got.target, got.text()), (&together.target, together.body), "{}", preset.name());
            same_headers(&got, &together.headers, preset.name());
            let words: Vec<_> = said.outcomes.values().map(|outcomes| outcomes[0].word().to_owned()).collect();
            assert_eq!(words, together.outcomes, "{}: {said:?}", preset.name());
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeat_is_preceded_by_the_question_whether_it_is_there() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        for asked in conversation(preset.name()).lookups {
            let output = connect(&preset, &server, &asked.settings).await;
            let before = server.got().len();
            server.then(Manner::answer(asked.status, &asked.answer));
            let again = Parcel { attempt: 2, ..parcel(1, &message(&preset, &asked.fields)) };
            let outcome = deliver_one(&*output, again).await;
            let got = server.got().split_off(before);
            assert_eq!((&got[0].method, &got[0].target), (&asked.method, &asked.target), "{}", preset.name());
            let question = asked.json.is_some().then(|| serde_json::from_slice(&got[0].body).unwrap());
            assert_eq!(question, asked.json, "{}", preset.name());
            let sent = got.len() == 2;
            assert_eq!(sent, asked.outcome == "sent", "{}: {outcome:?}", preset.name());
            assert!(sent || outcome.word() == asked.outcome, "{}: {outcome:?}", preset.name());
        }
    })
    .await;
}

/// The JSON with one text in place of another.
fn replaced(json: &Json, from: &str, to: &str) -> Json {
    match json {
        Json::String(text) if text == from => Json::from(to),
        Json::Array(items) => items.iter().map(|item| replaced(item, from, to)).collect(),
        Json::Object(entries) => Json::Object(entries.iter().map(|(key, value)| (key.clone(), replaced(value, from, to))).collect()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn hostile_values_come_out_inert() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        let output = connect(&preset, &server, &Fields::new()).await;
        let talk = conversation(preset.name());
        for Hostile { field, value, sent } in talk.hostile {
            let told = format!("{}: {value:?}", preset.name());
            let declared =
                preset.fields().into_iter().find(|own| own.name == field).unwrap_or_else(|| panic!("{told}: no field `{field}`"));
            let first = talk.sends.iter().find(|sends| sends.fields.contains_key(&field)).unwrap();
            let harmless = first.fields[&field].as_str().unwrap();
            // What the host's rendering does with a value: the field's escaping.
            let mut fields = first.fields.clone();
            fields.insert(field, declared.escape.apply(&value).into());
            deliver_one(&*output, parcel(1, &message(&preset, &fields))).await;
            let got = server.got().pop().unwrap_or_else(|| panic!("{told}: nothing was sent"));
            // Of what is beside the value nothing changes.
            match (&first.json, &first.form) {
                (Some(json), _) => {
                    let body: Json = serde_json::from_slice(&got.body).unwrap();
                    assert_eq!(body, replaced(json, harmless, &sent), "{told}");
                }
                (_, Some(expected)) => {
                    let expected: BTreeMap<_, _> =
                        expected.iter().map(|(n, v)| (n.clone(), if v == harmless { sent.clone() } else { v.clone() })).collect();
                    assert_eq!(form(&got), expected, "{told}");
                }
                _ => assert_eq!(got.text(), first.text.as_ref().unwrap().replace(harmless, &sent), "{told}"),
            }
        }
    })
    .await;
}

/// The secrets that a row's conversation makes up.
fn secrets(name: &str) -> Vec<String> {
    let path = format!("{}/presets/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let row: Json = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let settings = row["settings"].as_array().cloned().unwrap_or_default();
    let secret = settings.iter().filter(|setting| setting["secret"] == true).filter_map(|setting| setting["name"].as_str());
    secret.filter_map(|name| Some(row["conversation"]["settings"].get(name)?.as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn no_secret_is_shown_that_an_answer_echoes() {
    every_row(|preset| async move {
        let server = WebServer::start().await;
        let output = connect(&preset, &server, &Fields::new()).await;
        let first = conversation(preset.name()).sends.remove(0);
        for secret in secrets(preset.name()) {
            for echoed in [STANDARD.encode(&secret), secret] {
                server.then(Manner::answer(400, &format!("what is {echoed}?")));
                let outcome = deliver_one(&*output, parcel(1, &message(&preset, &first.fields))).await;
                let told = format!("{outcome:?}");
                assert!(told.contains("what is ") && !told.contains(&echoed), "{}: {told}", preset.name());
            }
        }
    })
    .await;
}

/// As Google gives one, with a key that is nobody's.
fn service_account() -> Json {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    json!({ "client_email": "shop@made-up.example", "private_key": pem }).to_string().into()
}

#[test]
fn an_example_of_every_row_is_read_without_a_problem() {
    let account = service_account();
    for preset in switchyard_http::presets() {
        let row = std::fs::read_to_string(format!("{}/presets/{}.yaml", env!("CARGO_MANIFEST_DIR"), preset.name())).unwrap();
        let example = serde_yaml::from_str::<BTreeMap<String, Json>>(&row).unwrap()["example"].as_str().unwrap().to_owned();
        let mut settings: serde_json::Map<String, Json> =
            serde_yaml::from_str(&example).unwrap_or_else(|e| panic!("{}: {e}", preset.name()));
        assert_eq!(settings.remove("type"), Some(preset.name().into()));
        let fields = preset.fields();
        settings.retain(|key, _| !fields.iter().any(|field| field.name == *key));
        // What comes from the environment is told in the conversation, where it must look like one.
        let talk = conversation(preset.name());
        for (key, value) in &mut settings {
            if value.to_string().contains("${") {
                let hint = preset.url_hint().unwrap_or("https://made-up.example/hook").replace('…', "made-up");
                let own = match key.as_str() {
                    "auth" => json!({ "bearer": "made-up" }),
                    "service_account" => account.clone(),
                    _ => hint.into(),
                };
                *value = talk.settings.get(key).cloned().unwrap_or(own);
            }
        }
        let mut problems = vec![];
        kind::any(preset.clone()).read(&node(&Json::Object(settings), &mut 0), &mut problems);
        problems.retain(|problem| problem.id != "destination-ends");
        assert_eq!(problems, [], "{}", preset.name());
    }
}

#[test]
fn every_row_is_listed_where_people_look() {
    let listed = include_str!("../../../docs/routes.md");
    let missing: Vec<_> =
        switchyard_http::presets().iter().map(|row| format!("`{}`", row.name())).filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "docs/routes.md, outputs: add {}", missing.join(", "));
}
