//! The senders of `presets.yaml`, read by the same reader as the file: a preset is a source's section written beforehand.

use super::handshake;
use super::section::{Pick, Shows, Spelled};
use crate::model::places::Path;
use http::HeaderName;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;
use switchyard_api::tree::{self, Key, Text};
use switchyard_api::{At, Node, Period, Span, Value};

/// A sender whose webhooks are known.
#[derive(Debug)]
pub struct Preset {
    /// The word after `verify:`.
    pub name: String,
    /// Where the facts are from.
    pub docs: String,
    /// What the signature covers, of `body`, `id`, `timestamp`, `topic`.
    pub signed: Vec<String>,
    /// The form.
    pub verify: Spelled,
    /// Where the topic is read.
    pub topic: Option<At<Pick>>,
    /// Where the sender's id is read.
    pub id: Option<At<Pick>>,
    /// Longer than the sender goes on retrying.
    pub dedupe: Period,
    /// What its sender shows in place of a signature.
    pub shows: Option<Shows>,
    /// What it asks before it sends events.
    pub handshake: Vec<handshake::Section>,
    /// Where the list stands whose elements are an event each.
    pub each: Option<At<String>>,
    /// The text of a good answer, where it insists on one.
    pub answer: Option<String>,
    /// Paths of values that are another in each repeat, as a count of attempts: repeats are told without them.
    pub varies: Vec<Path>,
    /// The status of a good answer, where its sender wants another than 200.
    pub status: Option<u16>,
    /// What of this was not read at the sender's own page.
    pub unverified: Vec<String>,
    /// After how many failures in a row the sender gives us up, where it says so.
    pub gives_up_after: Option<u32>,
    /// The tokens that it puts into bodies.
    pub tokens: Option<TokensPreset>,
    /// Other names under which its headers may come, and the names that stand here.
    pub aliases: Vec<(HeaderName, HeaderName)>,
    /// How long it waits for an answer, where it says so.
    pub waits: Option<Period>,
    /// From which product or version of the sender this holds, in words.
    pub since: Option<String>,
    /// What took its place, in words.
    pub until: Option<String>,
}

/// Tokens that a sender puts into its bodies, besides what it shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensPreset {
    /// The list of them in the body.
    pub json: String,
    /// The list of what they prove, and the field that an element of it has only where there are tokens.
    pub items: String,
    /// See `items`.
    pub with: String,
    /// Where the keys stand.
    pub keys: String,
    /// Who issues them, with `{tenant}`.
    pub issuers: Vec<String>,
    /// Which program they are given to: `azp`, or `appid`.
    pub party: String,
}

/// All presets in the order of their file.
pub fn presets() -> &'static [Preset] {
    // A constant of the program, like a table in the code: a test reads it, so no daemon meets a bad one.
    static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| read(include_str!("presets.yaml")).unwrap_or_default());
    &PRESETS
}

/// The preset of this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    presets().iter().find(|preset| preset.name == name)
}

fn read(text: &str) -> Result<Vec<Preset>, String> {
    #[derive(Deserialize)]
    struct Entry {
        docs: String,
        signed: Vec<String>,
        verify: Spelled,
        topic: Option<At<Pick>>,
        id: Option<At<Pick>>,
        dedupe: Period,
        shows: Option<Shows>,
        #[serde(default)]
        handshake: Vec<handshake::Section>,
        each: Option<At<String>>,
        answer: Option<String>,
        status: Option<u16>,
        #[serde(default)]
        varies: Vec<String>,
        #[serde(default)]
        unverified: Vec<String>,
        gives_up_after: Option<u32>,
        tokens: Option<TokensPreset>,
        waits: Option<Period>,
        #[serde(default)]
        aliases: BTreeMap<String, String>,
        since: Option<String>,
        until: Option<String>,
    }
    let tree = placeless(text)?;
    let entry = |(key, node): &(Key, Node)| {
        let mut problems = vec![];
        let read = tree::read::<Entry>(node, &mut problems).filter(|_| problems.is_empty());
        let entry = read.ok_or_else(|| format!("{}: {problems:?}", key.name))?;
        let Entry { docs, signed, verify, topic, id, dedupe, shows, handshake, each, answer, unverified, .. } = entry;
        let Entry { status, varies, aliases, gives_up_after, tokens, waits, since, until, .. } = entry;
        Ok(Preset {
            name: key.name.clone(),
            docs,
            signed,
            verify,
            topic,
            id,
            dedupe,
            shows,
            handshake,
            each,
            answer,
            status,
            varies: varies.iter().map(|path| path.split('.').map(Box::from).collect()).collect(),
            unverified,
            gives_up_after,
            tokens,
            aliases: header_names(&aliases)?,
            waits,
            since,
            until,
        })
    };
    tree.entries().iter().map(entry).collect()
}

fn header_names(aliases: &BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderName)>, String> {
    let name = |text: &String| text.parse::<HeaderName>().map_err(|_| format!("`{text}` is no header"));
    aliases.iter().map(|(other, usual)| Ok((name(other)?, name(usual)?))).collect()
}

/// A tree of YAML whose values know no place, for a file that ships inside the program.
pub(crate) fn placeless(text: &str) -> Result<Node, String> {
    serde_yaml::from_str(text).map(|Placeless(tree)| tree).map_err(|wrong| wrong.to_string())
}

struct Placeless(Node);

impl<'de> Deserialize<'de> for Placeless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("YAML")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(Text { written: text.to_owned(), replaced: None }))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Int(number.into()))
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
                Ok(Value::Bool(truth))
            }
            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = vec![];
                while let Some(Placeless(node)) = items.next_element()? {
                    list.push(node);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = vec![];
                while let Some((name, Placeless(node))) = map.next_entry()? {
                    entries.push((Key { span: Span::default(), name }, node));
                }
                Ok(Value::Map(entries))
            }
        }
        deserializer.deserialize_any(Of).map(|value| Placeless(Node { span: Span::default(), value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_without_a_problem() {
        let names: Vec<_> = read(include_str!("presets.yaml")).unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(&names[..5], ["orderchamp", "standard-webhooks", "github", "stripe", "shopify"]);
        assert_eq!(names.len(), 49);
    }

    #[test]
    fn a_mistake_in_a_preset_is_told() {
        let wrong = read("shop: { docs: a, signed: [body], verify: { hmca: sha256 }, dedupe: 1h }").unwrap_err();
        assert!(wrong.starts_with("shop: ") && wrong.contains("hmca"), "{wrong}");
    }
}
