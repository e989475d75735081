//! Hostile values of events through every preset there is: no mention, no markup, no new key, nothing over a limit (L8).
//!
//! Does with a value what the host does (escape, then fit), sends it to a local far side, and judges what arrived there by
//! how the destination reads. Walks the list of presets: a new one is tried without a line here.

use super::{Fields, Json, conversation, form, json, message};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::conformance::danger::{HOSTILE, danger};
use switchyard_api::conformance::http::{Got, WebServer};
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::escape::Escape;
use switchyard_api::fit::{Fit, Over};
use switchyard_api::{Confine, Field, Kind, Output, Shape};
use switchyard_http::Http;

/// How people's text is read where a preset's name begins so; the longest counts.
const READS: &[(&str, Escape)] = &[
    ("dingtalk", Escape::DingTalk),
    ("discord", Escape::Discord),
    ("google_chat", Escape::GoogleChat),
    ("lark", Escape::Lark),
    ("mattermost", Escape::Mattermost),
    ("rocketchat", Escape::RocketChat),
    ("slack", Escape::Slack),
    ("teams", Escape::Markdown),
    ("telegram", Escape::TelegramHtml),
    ("webex", Escape::Webex),
    ("wecom", Escape::WeCom),
    ("zulip", Escape::Zulip),
];

/// Where what was cut goes on.
const LINK: &str = "https://sy.shop.example/api/events/evt_07";

/// What the host's rendering of `{{ data.x }}` gives for the field; `None` where it would not be sent.
fn rendered(field: &Field, value: &str) -> Option<String> {
    let written = field.escape.apply(value);
    let Some(cap) = field.cap.filter(|cap| cap.unit.measure(&written) > cap.most) else { return Some(written) };
    let fit = Fit { escape: field.escape, most: cap.most, unit: cap.unit, link: Some(LINK) };
    match cap.over {
        Over::Cut => fit.cut(&written),
        Over::Split => fit.split(&written).and_then(|parts| parts.into_iter().next()),
        Over::Refuse => None,
    }
}

/// The field as the host gives it, with this text in it: alone, under a name, or within a JSON that a person wrote.
fn filled(field: &Field, text: &str) -> Json {
    match (field.shape, field.escape) {
        (Shape::Map, _) => json!({ "x": text }),
        (_, escape) if escape.is_json() => format!("[{{\"text\":\"{text}\"}}]").into(),
        _ => text.into(),
    }
}

/// A request as its reader takes it apart: where what stands. Places in lists are one place.
#[derive(Debug, Default, PartialEq)]
struct Read(BTreeMap<String, Vec<String>>);

impl Read {
    fn of(got: &Got, as_form: bool) -> Self {
        let mut read = Read::default();
        let (path, query) = got.target.split_once('?').unwrap_or((&got.target, ""));
        read.put(format!("path of {} parts", path.split('/').count()), path);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            read.put(format!("?{name}"), value);
        }
        match serde_json::from_slice(&got.body) {
            Ok(json) => read.json(&json, ""),
            Err(_) if as_form => form(got).iter().for_each(|(name, value)| match serde_json::from_str::<Json>(value) {
                Ok(json @ (Json::Object(_) | Json::Array(_))) => read.json(&json, name),
                _ => read.put(name.clone(), value),
            }),
            Err(_) => read.put("text".into(), &got.text()),
        }
        read
    }

    fn put(&mut self, at: String, text: &str) {
        self.0.entry(at).or_default().push(text.to_owned());
    }

    fn json(&mut self, json: &Json, at: &str) {
        match json {
            Json::Object(entries) => entries.iter().for_each(|(key, value)| self.json(value, &format!("{at}/{key}"))),
            Json::Array(items) => items.iter().for_each(|item| self.json(item, &format!("{at}/*"))),
            Json::String(text) => self.put(at.to_owned(), text),
            other => self.put(format!("{at} as it is"), &other.to_string()),
        }
    }
}

/// The far side, and what it got for one field with this text, all others being harmless.
struct Trial {
    preset: Http,
    server: WebServer,
    output: Arc<dyn Output>,
}

impl Trial {
    async fn of(preset: Http) -> Self {
        let server = WebServer::start().await;
        let output = super::connect(&preset, &server, &Fields::new()).await;
        Trial { preset, server, output }
    }

    /// `None` where nothing was sent.
    async fn got(&self, field: &Field, text: &str) -> Option<Read> {
        let name = &*field.name;
        let sends = conversation(self.preset.name()).sends;
        let first = sends.iter().find(|sends| sends.settings.is_empty() && sends.fields.contains_key(name)).unwrap_or(&sends[0]);
        let mut fields = first.fields.clone();
        fields.insert(name.to_owned(), filled(field, text));
        let before = self.server.got().len();
        deliver_one(&*self.output, parcel(1, &message(&self.preset, &fields))).await;
        self.server.got().get(before).map(|got| Read::of(got, first.form.is_some()))
    }

    fn content(&self) -> Vec<Field> {
        let content = |field: &Field| field.confine == Confine::Content && field.name != "headers";
        self.preset.fields().into_iter().filter(content).collect()
    }

    /// What is wrong with what arrives for a value.
    async fn judge(&self, field: &Field, harmless: &Read, value: &str) -> Result<(), String> {
        let Some(text) = rendered(field, value) else { return Ok(()) };
        if let Some(cap) = field.cap.filter(|cap| cap.unit.measure(&text) > cap.most) {
            return Err(format!("{} {} of at most {}", cap.unit.measure(&text), cap.unit.word(), cap.most));
        }
        // Refused here, because it is no number, no header, no list.
        let Some(got) = self.got(field, &text).await else { return Ok(()) };
        // Within a JSON, the value itself is what is read.
        let read: String = serde_json::from_str(&format!("\"{text}\"")).unwrap_or_default();
        let (shown, escape) = match field.escape {
            Escape::Json => (value, Escape::None),
            // What is cut behind the quotes ends in its count.
            within if within.is_json() => (&*read, within),
            other => (&*text, other),
        };
        compare(escape, shown, harmless, &got)
    }
}

/// Nothing but the texts that hold the field may be other than with a harmless value, and none of them is alive.
fn compare(escape: Escape, text: &str, harmless: &Read, got: &Read) -> Result<(), String> {
    // A list of one blank item is none, and nothing may be as if nobody had set the field.
    let blank = |at: &str| escape == Escape::Item && text.trim().is_empty() && at.ends_with("/*");
    let known = |at: &String| harmless.0.contains_key(at);
    let same = if text.is_empty() { got.0.keys().all(known) } else { harmless.0.keys().filter(|at| !blank(at)).eq(got.0.keys()) };
    if !same {
        return Err(format!("the request has another shape: {got:?}, not {harmless:?}"));
    }
    for (at, now) in got.0.iter().filter(|(at, now)| harmless.0.get(*at) != Some(now)) {
        let encoded = at.starts_with('?') || at.starts_with("path");
        for now in now.iter().filter(|now| !encoded && !harmless.0[at].contains(now)) {
            let kept = now.split_once("… ").filter(|_| escape.is_json()).map_or(&**now, |(kept, _)| kept);
            if !now.contains(text.trim()) && !text.contains(kept) {
                return Err(format!("{at}: {now:?} is not what was rendered, {text:?}"));
            }
            // Our own link, where a text was cut, is alive and may be.
            let told = now.replace(&format!("<a href=\"{LINK}\">the event</a>"), "");
            let told = if escape.is_json() { Escape::Json.apply(&told) } else { told };
            if let Some(danger) = danger(escape, &told) {
                return Err(format!("{at}: {danger}"));
            }
        }
    }
    Ok(())
}

async fn all_presets(values: Vec<String>) {
    let values = Arc::new(values);
    super::every_row(|preset| one_preset(preset, Arc::clone(&values))).await;
}

async fn one_preset(preset: Http, values: Arc<Vec<String>>) {
    let trial = Trial::of(preset).await;
    for field in trial.content() {
        let Some(harmless) = trial.got(&field, "harmless").await else { continue };
        for value in &*values {
            let told = trial.judge(&field, &harmless, value).await;
            told.unwrap_or_else(|e| {
                panic!("{} {}: {:?}…: {e}", trial.preset.name(), field.name, value.chars().take(40).collect::<String>())
            });
        }
    }
}

#[tokio::test]
async fn hostile_values_reach_every_destination_as_data() {
    all_presets(HOSTILE.iter().map(ToString::to_string).collect()).await;
}

#[tokio::test]
async fn what_is_cut_to_a_limit_stays_data() {
    let long = ["word ", "<@&>\"\\*_", "ü😀", "👩\u{200d}👧\n", "@all [x](y) "];
    all_presets(long.map(|piece| piece.repeat(4000)).to_vec()).await;
}

#[test]
fn every_text_is_escaped_for_the_one_who_reads_it() {
    for preset in switchyard_http::presets() {
        let read_as = READS.iter().filter(|(name, _)| preset.name().starts_with(name)).max_by_key(|(name, _)| name.len());
        for field in preset.fields().iter().filter(|field| field.confine == Confine::Content) {
            let told = format!("{} {}", preset.name(), field.name);
            assert_ne!(field.escape, Escape::None, "{told}: `plain` at least");
            if let Some((_, escape)) = read_as.filter(|_| field.name == "text") {
                assert!(field.escape == *escape && field.cap.is_some(), "{told}: {escape:?} with a cap");
            }
            if let Some((_, escape)) = read_as.filter(|_| field.escape.is_json()) {
                assert_eq!(field.escape.within_json(), Some(*escape), "{told}: the texts in it are read so too");
            }
        }
    }
}
