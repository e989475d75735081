//! A destination with a shape of its own, as data: one file of `presets/` a destination, compiled in. The language is
//! described in `presets/README.md`.
//!
//! A preset says what a destination's settings and fields are, how values in them are escaped, the requests they make, what
//! its answers mean and how fast it may be called. It cannot say anything that the `http` output does not do.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_api::escape::Escape;
use switchyard_api::http::answer::{After, Case, Means, Pattern, Test};
use switchyard_api::{Cap, Confine, Field, Rate, Shape, Total};

use crate::Method;
use crate::batch::Batch;
use crate::cloudevents::Mode;
use crate::lookup::Lookups;
use crate::once::Once;
use crate::template::{Json, Piece, Slot, Text};
use crate::texts::TextCaps;

#[cfg(test)]
mod proofread;

/// Every file of `presets/`, by name.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// One destination.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The word after `type:`, and the file's name.
    pub name: String,
    /// What it is, in one line.
    pub docs: String,
    /// Where its maker describes it.
    pub link: String,
    /// What is not proven about this row, and what else its user should know.
    #[serde(default)]
    pub notes: Option<String>,
    /// Since when the destination can be called this way: `2026-04-01`.
    #[serde(default)]
    pub since: Option<jiff::civil::Date>,
    /// When its maker ends it; `check` warns.
    #[serde(default)]
    pub until: Option<End>,
    /// An output as one writes it.
    pub example: String,
    /// Its own settings.
    #[serde(default)]
    pub settings: Vec<Setting>,
    /// Where to, as a template over settings; without it the output's `url`.
    #[serde(default)]
    pub url: Option<Text>,
    /// The hosts that the URL may be on; empty where everybody has their own. `*.example` is any below it.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What the path of such a URL begins with.
    #[serde(default)]
    pub path: Option<String>,
    /// What its URL looks like.
    #[serde(default)]
    pub url_hint: Option<String>,
    /// How it is called.   default: POST
    #[serde(default)]
    pub method: Option<Method>,
    /// Query parameters it wants, where the URL does not set them.
    #[serde(default)]
    pub query: BTreeMap<String, Text>,
    /// Headers it wants.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// Its credentials, as `auth` of an output, made of settings.
    #[serde(default)]
    pub auth: Option<Value>,
    /// Its message fields.
    #[serde(default)]
    pub fields: Vec<PresetField>,
    /// The limit that several of them share.
    #[serde(default)]
    pub total: Option<Total>,
    /// The JSON body.
    #[serde(default)]
    pub body: Option<Json>,
    /// The body as a form, in place of `body`.
    #[serde(default)]
    pub form: Option<BTreeMap<String, Text>>,
    /// The body as plain text, in place of `body`.
    #[serde(default)]
    pub text: Option<Text>,
    /// What differs by the message field `action`.
    #[serde(default)]
    pub actions: BTreeMap<String, Action>,
    /// What makes a 2xx a success.
    #[serde(default)]
    pub ok: Test,
    /// What a 2xx is that is none.   default: retry
    #[serde(default)]
    pub otherwise: Means,
    /// What its answers mean where the general table says something else: the first case that applies.
    #[serde(default)]
    pub map: Vec<Case>,
    /// Where its answer says how long to wait.
    #[serde(default)]
    pub after: After,
    /// Its published rate.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// How many may go at once after a pause.
    #[serde(default)]
    pub burst: Option<u32>,
    /// How many at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// How many attempts in all.
    #[serde(default)]
    pub attempts: Option<u32>,
    /// `hold` where a repeat would be worse than a gap.
    #[serde(default)]
    pub on_unknown: Option<OnUnknown>,
    /// Where it takes the delivery's id to know a repeat.
    #[serde(default)]
    pub once: Option<Once>,
    /// What is asked before a repeat; of several the first that is for an output's settings.
    #[serde(default)]
    pub lookup: Lookups,
    /// How several messages go in one request.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// Messages are CloudEvents.
    #[serde(default)]
    pub cloudevents: Option<Mode>,
}

/// What happens to a delivery that was sent and never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// It is sent again.
    Retry,
    /// It waits for a person.
    Hold,
}

/// The end of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Its last day, as announced.
    pub date: jiff::civil::Date,
    /// What to do.
    pub help: String,
}

/// One of its own settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its key.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// Whether it is shown to nobody.
    #[serde(default)]
    pub secret: bool,
    /// Whether it must be set.
    #[serde(default)]
    pub required: bool,
    /// Its value where nobody sets it.
    #[serde(default)]
    pub default: Option<Value>,
    /// What the whole value looks like.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The only values there are.
    #[serde(default)]
    pub one_of: Vec<String>,
    /// What kind of value it is.
    #[serde(default, rename = "as")]
    pub kind: SettingKind,
}

/// What kind of value a setting is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// A text.
    #[default]
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Names and texts.
    Map,
    /// A list of texts.
    List,
}

/// One of its message fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetField {
    /// Its key.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// One template, or names with a template each.
    #[serde(default)]
    pub shape: FieldShape,
    /// How values in it are escaped.   default: plain
    #[serde(default = "plain")]
    pub escape: Escape,
    /// How far values reach.
    #[serde(default)]
    pub confine: Reach,
    /// Whether it must be set.
    #[serde(default)]
    pub required: bool,
    /// The template where nobody sets it.
    #[serde(default)]
    pub default: Option<String>,
    /// What stands there where nobody sets it, in place of `default`: of a delivery's own names, such as `{route}:{event.id}`.
    #[serde(default)]
    pub unset: Option<Text>,
    /// What the whole text looks like; another is refused.
    #[serde(default)]
    pub pattern: Option<Pattern>,
    /// The only words there are.
    #[serde(default)]
    pub one_of: Vec<String>,
    /// The destination's limit: `2000` characters, or `{ most: 2048, unit: bytes, over: split }`.
    #[serde(default)]
    pub cap: Option<Cap>,
    /// The destination's limits for the texts within a JSON, in characters: `{ most: 12000, each: { text: 3000 } }`, by the keys that hold them.
    #[serde(default)]
    pub texts: Option<TextCaps>,
}

fn plain() -> Escape {
    Escape::Plain
}

/// [`Shape`] as a preset writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldShape {
    /// One template.
    #[default]
    Text,
    /// Names with a template each.
    Map,
}

/// [`Confine`] as a preset writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The field is content.
    #[default]
    Content,
    /// The field says where: a channel, a topic.
    Name,
}

/// What one value of the message field `action` changes. What it does not say is as in the row.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Where to, on the same server.
    #[serde(default)]
    pub url: Option<Text>,
    /// How it is called.
    #[serde(default)]
    pub method: Option<Method>,
    /// Query parameters beside those of the row.
    #[serde(default)]
    pub query: BTreeMap<String, Text>,
    /// The JSON body.
    #[serde(default)]
    pub body: Option<Json>,
    /// The body as a form.
    #[serde(default)]
    pub form: Option<BTreeMap<String, Text>>,
    /// What makes a 2xx a success.
    #[serde(default)]
    pub ok: Option<Test>,
    /// Cases before those of the row.
    #[serde(default)]
    pub map: Vec<Case>,
}

/// A preset that is not well written: a mistake in this crate's data, which its tests find.
#[derive(Debug, thiserror::Error)]
#[error("presets/{file}.yaml: {what}")]
pub struct PresetError {
    file: &'static str,
    what: String,
}

/// All presets, by name.
///
/// # Errors
/// Which file is not well written, and why.
pub fn all() -> Result<Vec<Preset>, PresetError> {
    FILES
        .iter()
        .map(|(file, text)| {
            let wrong = |what: String| PresetError { file, what };
            serde_yaml::from_str(text).map_err(|e| wrong(e.to_string()))
        })
        .collect()
}

impl Preset {
    /// The message fields, as the host wants them.
    pub fn message_fields(&self) -> Vec<Field> {
        self.fields.iter().map(PresetField::field).chain([headers_field()]).collect()
    }

    /// Where to; without a template of its own, the output's `url`.
    pub fn url(&self) -> Text {
        self.url.clone().unwrap_or_else(|| Text(vec![Piece::Slot(Slot::named("url"))]))
    }

    /// The setting that holds the far side's address, where it has none of its own.
    pub fn base(&self) -> Option<&str> {
        match self.url.as_ref().map(|url| url.0.first()) {
            None => Some("url"),
            Some(Some(Piece::Slot(slot))) => Some(&slot.name),
            _ => None,
        }
    }

    /// Whether it lives on this host.
    pub fn lives_on(&self, host: &str) -> bool {
        let below = |own: &str| own.strip_prefix('*').is_some_and(|end| host.ends_with(end));
        self.hosts.is_empty() || self.hosts.iter().any(|own| own == host || below(own))
    }

    /// One of its settings.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

impl PresetField {
    fn field(&self) -> Field {
        Field {
            name: self.name.clone().into(),
            docs: self.docs.clone().into(),
            shape: if self.shape == FieldShape::Map { Shape::Map } else { Shape::Text },
            escape: self.escape,
            confine: if self.confine == Reach::Name { Confine::Name } else { Confine::Content },
            required: self.required,
            default: self.default.clone().map(Into::into),
            cap: self.cap,
        }
    }
}

/// The field that every output over HTTP has.
pub fn headers_field() -> Field {
    Field {
        name: "headers".into(),
        docs: "Headers to add.".into(),
        shape: Shape::Map,
        escape: Escape::Header,
        confine: Confine::Content,
        required: false,
        default: None,
        cap: None,
    }
}

/// A URL's scheme and host, or the setting that it begins with; and what comes after.
pub fn split(url: &Text) -> (Text, Text) {
    if let [Piece::Slot(base), rest @ ..] = url.0.as_slice() {
        return (Text(vec![Piece::Slot(base.clone())]), Text(rest.to_vec()));
    }
    let mut origin = vec![];
    for (nth, piece) in url.0.iter().enumerate() {
        if let Piece::Literal(text) = piece {
            let scheme = text.find("://").map_or(0, |at| at + 3);
            if let Some(slash) = text[scheme..].find('/') {
                let (host, path) = text.split_at(scheme + slash);
                origin.push(Piece::Literal(host.to_owned()));
                let path = std::iter::once(Piece::Literal(path.to_owned())).chain(url.0[nth + 1..].iter().cloned());
                return (Text(origin), Text(path.collect()));
            }
        }
        origin.push(piece.clone());
    }
    (Text(origin), Text(vec![]))
}
