//! What a preset writes where a value belongs: `{name}` within a text, `$name` as a whole value of a body.
//!
//! A name is a message field, a setting of the row, or one of `delivery.id`, `delivery.attempt`, `delivery.index`,
//! `event.id`, `event.topic`, `event.source`, `event.received_at`, `event.payload`, `event.type`, `route`, `now` and, in the
//! body of a batch, `items`. After `|` stand filters. A value that nobody set leaves its entry out, and with `!` the object
//! around it.
//!
//! Values are written, never read again: nothing in them is a placeholder, a quote or a brace (L8).

mod filter;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use switchyard_api::{Parcel, Rendered};

use crate::field::{FieldRule, NO_FIELDS};

pub use filter::{Filter, Found, bare, uuid};

/// The names that need no field and no setting.
pub const ENVELOPE: [&str; 12] = [
    "delivery.id",
    "delivery.attempt",
    "delivery.index",
    "event.id",
    "event.topic",
    "event.source",
    "event.received_at",
    "event.payload",
    "event.type",
    "route",
    "now",
    "items",
];

/// A text with `{name}` in it; `{{` is a brace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub Vec<Piece>);

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As written.
    Literal(String),
    /// A value.
    Slot(Slot),
}

/// A name and what is made of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Whose value.
    pub name: String,
    /// What is made of it, one after the other.
    pub filters: Vec<Filter>,
    /// Whether the object that it stands in is left out without it.
    pub needed: bool,
}

/// A JSON value with `$name` in it; `$$` begins a text that begins with `$`.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// Constant JSON.
    Constant(String),
    /// A value.
    Slot(Slot),
    /// JSON that is there where a name has a value: `{ $if: $name, then: … }`.
    If(Slot, Box<Json>),
    /// A list; what nobody set is left out.
    List(Vec<Json>),
    /// Keys and values; what nobody set is left out with its key.
    Object(Vec<(String, Json)>),
}

/// Why a value cannot be written. `Display` is one line without the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` of this event {what}")]
pub struct Unfit {
    /// Whose value.
    pub name: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Where names have their values.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The settings of the row.
    pub settings: &'a BTreeMap<String, Value>,
    /// What the row says of its fields.
    pub fields: &'a BTreeMap<String, FieldRule>,
    /// What is delivered; `None` before there is anything.
    pub parcel: Option<&'a Parcel>,
    /// Its place in a batch.
    pub index: usize,
    /// The items of a batch, as JSON.
    pub items: Option<&'a str>,
    /// The wall clock, milliseconds since 1970.
    pub now: i64,
}

impl<'a> Scope<'a> {
    fn find(&self, name: &str) -> Option<Found<'a>> {
        if let Some(parcel) = self.parcel {
            match parcel.message.fields.get(name) {
                // A field that need not be there, with a rule that no empty text keeps: nobody set it.
                Some(Rendered::Text(text)) if text.is_empty() && self.fields.get(name).is_some_and(|rule| !rule.required) => {}
                Some(Rendered::Text(text)) => {
                    let fitted = self.fields.get(name).map_or_else(|| text.into(), |rule| rule.fitted(text));
                    return Some(Found::Text(fitted));
                }
                Some(Rendered::Map(map)) => return serde_json::to_string(map).ok().map(|json| Found::Raw(json.into())),
                None => {}
            }
        }
        match self.settings.get(name) {
            Some(Value::String(text)) => return Some(Found::Text(text.into())),
            Some(other) => return Some(Found::Raw(other.to_string().into())),
            None => {}
        }
        if name == "now" {
            return Some(Found::Time(self.now));
        }
        if let Some(unset) = self.fields.get(name).and_then(|rule| rule.unset.as_ref()) {
            return unset.plain(self).ok()?.map(|text| Found::Text(text.into()));
        }
        let text = |text: &'a str| Some(Found::Text(text.into()));
        let parcel = self.parcel?;
        match name {
            "delivery.id" => text(&parcel.delivery),
            "delivery.attempt" => Some(Found::Raw(parcel.attempt.to_string().into())),
            "delivery.index" => Some(Found::Raw(self.index.to_string().into())),
            "event.id" => text(&parcel.event),
            "event.topic" => text(&parcel.topic),
            "event.source" => text(&parcel.source),
            "event.received_at" => Some(Found::Time(parcel.received_at)),
            "event.payload" => Some(Found::Bytes(parcel.payload())),
            "event.type" => text(parcel.payload_type()),
            "route" => text(&parcel.route),
            "items" => self.items.map(|items| Found::Raw(items.into())),
            _ => None,
        }
    }

    /// A slot's value, through its filters.
    pub fn value(&self, slot: &Slot) -> Result<Option<Found<'a>>, Unfit> {
        let Some(found) = self.find(&slot.name) else { return Ok(None) };
        slot.filters.iter().try_fold(found, |found, filter| filter.apply(found)).map(Some).map_err(|what| slot.unfit(what))
    }
}

impl Slot {
    /// A name alone.
    pub fn named(name: &str) -> Self {
        Slot { name: name.to_owned(), filters: vec![], needed: false }
    }

    /// Why its value cannot be written.
    pub fn unfit(&self, what: &'static str) -> Unfit {
        Unfit { name: self.name.clone(), what }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (text, needed) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
        let mut parts = text.split('|').map(str::trim);
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b)) {
            return Err(format!("`{name}` is not a name"));
        }
        let filter = |word: &str| serde_json::from_value(Value::from(word)).map_err(|_| format!("there is no filter `{word}`"));
        Ok(Slot { name: name.to_owned(), filters: parts.map(filter).collect::<Result<_, _>>()?, needed })
    }
}

impl Text {
    /// A text without names.
    pub fn literal(text: impl Into<String>) -> Self {
        Text(vec![Piece::Literal(text.into())])
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut literal, mut rest) = (vec![], String::new(), text);
        while let Some(at) = rest.find('{') {
            literal.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(more) = rest.strip_prefix('{') {
                literal.push('{');
                rest = more;
                continue;
            }
            let (name, more) = rest.split_once('}').ok_or("a `{` is not closed; a brace is written `{{`")?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Slot(Slot::parse(name)?));
            rest = more;
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Text(pieces))
    }

    /// Its names.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(|piece| if let Piece::Slot(slot) = piece { Some(slot) } else { None })
    }

    /// The text with its values, each written by `write`; `None` if one is not set.
    pub fn fill(&self, scope: &Scope<'_>, write: impl Fn(&str, &Slot) -> Result<String, &'static str>) -> Result<Option<String>, Unfit> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Slot(slot) => match scope.value(slot)? {
                    None => return Ok(None),
                    Some(found) => {
                        let written = found.text().and_then(|text| write(&text, slot)).map_err(|what| slot.unfit(what))?;
                        out.push_str(&written);
                    }
                },
            }
        }
        Ok(Some(out))
    }

    /// The text with its values as they are.
    pub fn plain(&self, scope: &Scope<'_>) -> Result<Option<String>, Unfit> {
        self.fill(scope, |text, _| Ok(text.to_owned()))
    }
}

impl Json {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => match text.strip_prefix('$') {
                Some(literal) if literal.starts_with('$') => Ok(Json::Constant(Value::from(literal).to_string())),
                Some(name) => Slot::parse(name).map(Json::Slot),
                None => Ok(Json::Constant(value.to_string())),
            },
            Value::Array(items) => items.iter().map(Json::parse).collect::<Result<_, _>>().map(Json::List),
            Value::Object(entries) if entries.contains_key("$if") => {
                let name = entries.get("$if").and_then(Value::as_str).and_then(|text| text.strip_prefix('$'));
                match (name, entries.get("then"), entries.len()) {
                    (Some(name), Some(then), 2) => Ok(Json::If(Slot::parse(name)?, Box::new(Json::parse(then)?))),
                    _ => Err("`$if` takes a name, and `then` beside it what is there with it".into()),
                }
            }
            Value::Object(entries) => {
                let entry = |(key, value): (&String, &Value)| Ok((key.clone(), Json::parse(value)?));
                entries.iter().map(entry).collect::<Result<_, String>>().map(Json::Object)
            }
            other => Ok(Json::Constant(other.to_string())),
        }
    }

    /// Its names.
    pub fn slots<'a>(&'a self, found: &mut Vec<&'a Slot>) {
        match self {
            Json::Constant(_) => {}
            Json::Slot(slot) => found.push(slot),
            Json::If(slot, then) => {
                found.push(slot);
                then.slots(found);
            }
            Json::List(items) => items.iter().for_each(|item| item.slots(found)),
            Json::Object(entries) => entries.iter().for_each(|(_, value)| value.slots(found)),
        }
    }

    /// Writes it with its values; `false` where nobody set it: what was written is then to be cut off again.
    pub fn write(&self, scope: &Scope<'_>, out: &mut String) -> Result<bool, Unfit> {
        match self {
            Json::Constant(json) => out.push_str(json),
            Json::Slot(slot) => match scope.value(slot)? {
                None => return Ok(false),
                Some(found) => found.json(out).map_err(|what| slot.unfit(what))?,
            },
            Json::If(slot, then) => return Ok(scope.value(slot)?.is_some() && then.write(scope, out)?),
            Json::List(items) => {
                out.push('[');
                let start = out.len();
                for item in items {
                    let before = out.len();
                    if before > start {
                        out.push(',');
                    }
                    if !item.write(scope, out)? {
                        out.truncate(before);
                    }
                }
                out.push(']');
            }
            Json::Object(entries) => {
                out.push('{');
                let start = out.len();
                for (key, value) in entries {
                    let before = out.len();
                    if before > start {
                        out.push(',');
                    }
                    out.push_str(&Value::from(key.as_str()).to_string());
                    out.push(':');
                    if !value.write(scope, out)? {
                        if matches!(value, Json::Slot(slot) if slot.needed) {
                            return Ok(false);
                        }
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
        }
        Ok(true)
    }
}

/// A tree of settings, such as `auth`, with the `{name}` of settings filled in its texts; entries of which one is not set are
/// left out, and with `{name!}` the object around it. Other `{…}` stay as they are: they are the tree's own. `None` where nothing
/// is left.
pub fn fill_tree(tree: &Value, settings: &BTreeMap<String, Value>, known: &dyn Fn(&str) -> bool) -> Option<Value> {
    match tree {
        Value::String(text) => fill_settings(text, settings, known).map(Value::from),
        Value::Object(entries) => {
            let mut kept = Map::new();
            for (key, value) in entries {
                match fill_tree(value, settings, known) {
                    Some(filled) => _ = kept.insert(key.clone(), filled),
                    None if value.as_str().is_some_and(|text| tree_slots(text, known).iter().any(|slot| slot.needed)) => return None,
                    None => {}
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => {
            let kept: Vec<Value> = items.iter().filter_map(|item| fill_tree(item, settings, known)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        other => Some(other.clone()),
    }
}

/// The settings in a text of a tree.
pub fn tree_slots(text: &str, known: &dyn Fn(&str) -> bool) -> Vec<Slot> {
    let inner = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    inner.filter_map(|(inner, _)| Slot::parse(inner).ok()).filter(|slot| known(&slot.name)).collect()
}

fn fill_settings(text: &str, settings: &BTreeMap<String, Value>, known: &dyn Fn(&str) -> bool) -> Option<String> {
    let scope = Scope { settings, fields: &NO_FIELDS, parcel: None, index: 0, items: None, now: 0 };
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let slot = after.split_once('}').and_then(|(inner, more)| Some((Slot::parse(inner).ok()?, more)));
        match slot {
            Some((slot, more)) if known(&slot.name) => {
                out.push_str(&scope.value(&slot).ok()??.text().ok()?);
                rest = more;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Some(out)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Json::parse(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use switchyard_api::Message;
    use switchyard_api::conformance::parcel;

    fn with(fields: &[(&str, &str)]) -> Parcel {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), Rendered::Text((*text).to_owned()))).collect();
        parcel(1, &Message { fields, ..Message::default() })
    }
    fn json(template: Value, parcel: &Parcel) -> Result<String, String> {
        let settings = BTreeMap::from([("flag".to_owned(), Value::from(true)), ("region".to_owned(), Value::from("eu"))]);
        let scope =
            Scope { settings: &settings, fields: &NO_FIELDS, parcel: Some(parcel), index: 2, items: Some("[1]"), now: 1_772_445_600_500 };
        let mut out = String::new();
        Json::parse(&template)?.write(&scope, &mut out).map_err(|e| e.to_string())?;
        Ok(out)
    }

    #[test]
    fn every_filter_makes_its_value() {
        let parcel = Parcel {
            raw: "{\"a\":\n1.10}".into(),
            ..with(&[("n", "12.50"), ("x", "a, b,,c"), ("j", "[1,\n{}]"), ("q", "O'Neil"), ("t", "true")])
        };
        for (slot, expected) in [
            ("$n", r#""12.50""#),
            ("$n|number", "12.50"),
            ("$t|bool", "true"),
            ("$x|list", r#"["a","b","c"]"#),
            ("$j|json", "[1, {}]"),
            ("$q|quoted", r#""O''Neil""#),
            ("$q|base64", r#""TydOZWls""#),
            ("$flag", "true"),
            ("$flag|text", r#""true""#),
            ("$region", r#""eu""#),
            ("$event.payload", "{\"a\": 1.10}"),
            ("$event.payload|text", r#""{\"a\":\n1.10}""#),
            ("$event.payload|base64", r#""eyJhIjoKMS4xMH0=""#),
            ("$event.received_at", r#""2026-03-02T10:00:00Z""#),
            ("$event.received_at|s", "1772445600"),
            ("$event.received_at|ns|text", r#""1772445600000000000""#),
            ("$now|ms", "1772445600500"),
            ("$delivery.id|hex", r#""00000000000000000000000000000001""#),
            ("$delivery.index", "2"),
            ("$items", "[1]"),
            ("$$n", r#""$n""#),
        ] {
            assert_eq!(json(slot.into(), &parcel).as_deref(), Ok(expected), "{slot}");
        }
    }

    #[test]
    fn a_value_that_is_not_what_it_should_be_is_told_without_being_quoted() {
        let parcel = Parcel { raw: b"\xff".as_slice().into(), ..with(&[("n", "hush"), ("inf", "1e"), ("x", "0x10")]) };
        for slot in ["$n|number", "$inf|number", "$x|number", "$n|bool", "$n|json", "$n|s", "$n|uuid", "$event.payload", "$now|base64"] {
            let told = json(slot.into(), &parcel).unwrap_err();
            assert!(told.contains("of this event is") && !told.contains("hush"), "{slot}: {told}");
        }
    }

    #[test]
    fn what_nobody_set_is_left_out() {
        let parcel = with(&[("a", "1")]);
        let template =
            serde_json::json!({"x": "$none", "l": ["$none", "$a", "$none", {"k": 1, "v": "$none!"}], "o": {"in": "$none"}, "a": "$a"});
        assert_eq!(json(template, &parcel).as_deref(), Ok(r#"{"l":["1"],"o":{},"a":"1"}"#));
        let either = |name: &str| json(serde_json::json!({"f": {"$if": name, "then": "html"}, "a": "$a"}), &parcel);
        assert_eq!((either("$a").as_deref(), either("$none").as_deref()), (Ok(r#"{"f":"html","a":"1"}"#), Ok(r#"{"a":"1"}"#)));
        assert_eq!(json(serde_json::json!([{"k": 1, "v": "$a!"}]), &parcel).as_deref(), Ok(r#"[{"k":1,"v":"1"}]"#));
    }

    #[test]
    fn a_tree_keeps_the_braces_that_are_its_own() {
        let tree = serde_json::json!({"hmac": {"secret": "{secret}", "signs": "{timestamp}\n{secret}"}, "user": "{none}", "list": ["{none}"], "n": 5});
        let settings = BTreeMap::from([("secret".to_owned(), Value::from("made-up {none}"))]);
        let filled = fill_tree(&tree, &settings, &|name| ["secret", "none"].contains(&name)).unwrap();
        assert_eq!(filled, serde_json::json!({"hmac": {"secret": "made-up {none}", "signs": "{timestamp}\nmade-up {none}"}, "n": 5}));
        assert_eq!(fill_tree(&serde_json::json!({"a": "{none}"}), &settings, &|_| true), None);
        let either = serde_json::json!({"a": {"k": "{none!}", "n": 1}, "b": {"k": "{secret!}", "v": "Key {secret|base64}"}});
        let filled = fill_tree(&either, &settings, &|name| ["secret", "none"].contains(&name)).unwrap();
        assert_eq!(filled, serde_json::json!({"b": {"k": "made-up {none}", "v": "Key bWFkZS11cCB7bm9uZX0="}}));
    }

    #[test]
    fn a_text_is_read_with_its_names() {
        for (text, names) in [("a{b}c{d|path}", vec!["b", "d"]), ("{{b}", vec![]), ("", vec![]), ("{event.id}", vec!["event.id"])] {
            let read = Text::parse(text).unwrap();
            assert_eq!(read.slots().map(|slot| slot.name.as_str()).collect::<Vec<_>>(), names, "{text}");
        }
        for wrong in ["{", "{a", "{}", "{a b}", "{a|shout}", "{a{b}}"] {
            assert!(Text::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_value_says_the_body_has_the_same_shape(value in "\\PC{0,20}|[\"\\\\{}$|!\\n\\r\u{0}]{0,10}") {
            let parcel = with(&[("a", &value)]);
            let template = serde_json::json!({"a": "$a", "b": ["$a", {"c": "$a!"}], "d": "$a|base64"});
            let body: Value = serde_json::from_str(&json(template, &parcel).unwrap()).unwrap();
            prop_assert_eq!(&body, &serde_json::json!({"a": value, "b": [value, {"c": value}], "d": STANDARD.encode(&value)}));
        }

        #[test]
        fn a_number_that_is_taken_keeps_its_digits(text in "-?[0-9]{1,30}(\\.[0-9]{1,20})?|[ -~]{0,8}") {
            match json("$a|number".into(), &with(&[("a", &text)])) {
                Ok(written) => prop_assert_eq!(written.as_str(), text.trim()),
                Err(_) => prop_assert!(serde_json::from_str::<serde_json::Number>(text.trim()).is_err()),
            }
        }
    }
}
