//! The configuration as a tree in which every value knows its place, and reading plain structs out of it.
//!
//! `#[derive(Deserialize)]` structs stay plain; [`read`] reports every problem of a section at once: unknown keys with
//! the near miss, wrong types, missing keys, each at its place. Where a value must keep its place for a later check, its
//! type is [`At`]. Templates and jq programs are [`Template`] and [`Jq`]: the text as written, which `${…}` never enters.

#![allow(clippy::result_large_err)] // serde's shape; errors are rare here and made once

use crate::problem::{Problem, Span, nearest};
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction, or with more digits than a whole one may have here.
    Float(Float),
    /// Text.
    Text(Text),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A number that is not a whole one.
#[derive(Debug, Clone, PartialEq)]
pub struct Float {
    /// The nearest float.
    pub value: f64,
    /// Every digit, as JSON writes a number: those of the file, where it wrote one that JSON has too.
    pub written: String,
}

impl From<f64> for Float {
    fn from(value: f64) -> Self {
        Float { value, written: value.to_string() }
    }
}

/// A text, before and after `${…}` was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// As written.
    pub written: String,
    /// With `${…}` replaced; `None` where the text has none.
    pub replaced: Option<crate::Secret>,
}

impl Text {
    /// The text to use.
    pub fn get(&self) -> &str {
        self.replaced.as_ref().map_or(&self.written, crate::Secret::expose)
    }
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where.
    pub span: Span,
    /// The word.
    pub name: String,
}

impl Node {
    /// A node without a place, for defaults and tests.
    pub fn text(text: impl Into<String>) -> Self {
        Node { span: Span::default(), value: Value::Text(Text { written: text.into(), replaced: None }) }
    }

    /// The value under a key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries().iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Keys and values; empty for anything but a map.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, with `${…}` replaced.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text.get()),
            _ => None,
        }
    }

    /// Where one thing or a list of them may stand: each of them.
    pub fn several(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "keys and values",
        }
    }
}

/// A value that keeps its place, for checks after reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At<T> {
    /// Where it stands.
    pub span: Span,
    /// The value.
    pub value: T,
}

/// A message template, as written.
pub type Template = Verbatim<0>;
/// A jq program, as written.
pub type Jq = Verbatim<1>;

/// A text that `${…}` never enters, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbatim<const KIND: u8> {
    /// Where it stands.
    pub span: Span,
    /// As written.
    pub text: String,
}

pub(crate) const AT: &str = "$switchyard::At";
pub(crate) const VERBATIM: &str = "$switchyard::Verbatim";
pub(crate) const PLACED: [&str; 3] = ["start", "end", "value"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        placed(deserializer, AT).map(|(span, value)| At { span, value })
    }
}

impl<'de, const KIND: u8> Deserialize<'de> for Verbatim<KIND> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        placed(deserializer, VERBATIM).map(|(span, text)| Verbatim { span, text })
    }
}

fn placed<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D, name: &'static str) -> Result<(Span, T), D::Error> {
    struct Parts<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
        type Value = (Span, T);
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a value with its place")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut start, mut end, mut value) = (0, 0, None);
            while let Some(key) = map.next_key::<String>()? {
                match key.as_str() {
                    "start" => start = map.next_value()?,
                    "end" => end = map.next_value()?,
                    _ => value = Some(map.next_value()?),
                }
            }
            let value = value.ok_or_else(|| de::Error::missing_field("value"))?;
            Ok((Span { start, end }, value))
        }
    }
    deserializer.deserialize_struct(name, &PLACED, Parts(std::marker::PhantomData))
}

/// Reads a struct out of a node. Every problem found is pushed; `None` if any of them keeps the struct from being made.
///
/// After a wrong value the reading goes on without it, so that one run reports all.
pub fn read<T: DeserializeOwned>(node: &Node, problems: &mut Vec<Problem>) -> Option<T> {
    let seen = RefCell::new(Reading::default());
    let mut failed = false;
    // Each round leaves out at least one more entry, so it ends.
    loop {
        match T::deserialize(De { node, reading: &seen, verbatim: false }) {
            Ok(value) => {
                problems.append(&mut seen.into_inner().problems);
                return (!failed).then_some(value);
            }
            Err(wrong) => {
                failed = true;
                let mut reading = seen.borrow_mut();
                let at = wrong.at.unwrap_or(node.span);
                if !reading.explains(&wrong, at) {
                    reading.problems.push(wrong.problem(at));
                }
                match innermost(node, at).filter(|span| !reading.left_out.contains(span)) {
                    Some(span) => reading.left_out.push(span),
                    None => {
                        problems.append(&mut reading.problems);
                        return None;
                    }
                }
            }
        }
    }
}

/// The keys of a struct that [`read`] reads.
pub fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'k>(&'k mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = Wrong;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Wrong> {
            Err(Wrong::new("wrong-type", "not a struct".into()))
        }
        fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, keys: &'static [&'static str], _: V) -> Result<V::Value, Wrong> {
            *self.0 = keys;
            Err(Wrong::new("wrong-value", "only asked for its keys".into()))
        }
        serde::forward_to_deserialize_any! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any }
    }
    let mut keys: &'static [&'static str] = &[];
    // It never reads a value: the keys are all that is wanted.
    let _ = T::deserialize(Ask(&mut keys));
    keys
}

/// The span of the smallest map entry's value that holds `at`.
fn innermost(node: &Node, at: Span) -> Option<Span> {
    let inside = |child: &Node| child.span.contains(at).then(|| innermost(child, at).unwrap_or(child.span));
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|(key, child)| if key.span == at { Some(child.span) } else { inside(child) }),
        Value::List(items) => items.iter().find(|child| child.span.contains(at)).and_then(|child| innermost(child, at)),
        _ => None,
    }
}

#[derive(Default)]
struct Reading {
    problems: Vec<Problem>,
    left_out: Vec<Span>,
    unknown: Vec<Span>,
}

impl Reading {
    /// Whether this is only the shadow of a problem told already: a value whose wrong part was left out, or a key that is misspelt.
    fn explains(&self, wrong: &Wrong, at: Span) -> bool {
        let meant = |patch: &str| wrong.missing.is_none_or(|field| patch == field);
        // What a struct says of itself as a whole may only be for want of what stands under an unknown key.
        let any = wrong.id == "wrong-value" && wrong.missing.is_none();
        let misspelt = |p: &Problem| p.id == "unknown-key" && p.at != at && at.contains(p.at) && p.patch.as_deref().map_or(any, meant);
        self.left_out.iter().any(|out| at.contains(*out)) || self.problems.iter().any(misspelt)
    }
}

/// Why a value could not be read; becomes a [`Problem`] once its place is known.
#[derive(Debug)]
pub struct Wrong {
    id: &'static str,
    at: Option<Span>,
    title: String,
    help: Option<String>,
    patch: Option<String>,
    /// The key that is not there.
    missing: Option<&'static str>,
}

impl Wrong {
    fn new(id: &'static str, title: String) -> Self {
        Wrong { id, at: None, title, help: None, patch: None, missing: None }
    }
    fn or_at(mut self, span: Span) -> Self {
        self.at.get_or_insert(span);
        self
    }
    /// A value that came from `${…}` is named as it is written (L7).
    fn without(self, text: &Text) -> Self {
        let hide = |told: String| match &text.replaced {
            Some(secret) if !secret.expose().is_empty() => told.replace(secret.expose(), &text.written),
            _ => told,
        };
        Wrong { title: hide(self.title), help: self.help.map(hide), ..self }
    }
    fn problem(self, at: Span) -> Problem {
        let label = match self.id {
            "missing-key" => "missing here",
            "unknown-key" => "not a key here",
            _ => "here",
        };
        Problem { help: self.help, patch: self.patch, ..Problem::error(self.id, at, self.title, label) }
    }
    fn unknown(id: &'static str, what: &str, word: &str, expected: &[&str]) -> Self {
        let near = nearest(word, expected.iter().copied());
        Wrong {
            help: Some(near.map_or_else(|| format!("expected one of: {}", expected.join(", ")), |name| format!("did you mean `{name}`?"))),
            patch: near.map(str::to_owned),
            ..Wrong::new(id, format!("unknown {what} `{word}`"))
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}
impl std::error::Error for Wrong {}
impl de::Error for Wrong {
    /// What follows `: write ` in a message is its help.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let told = message.to_string();
        match told.split_once(": write ") {
            Some((title, what)) => Wrong { help: Some(format!("write {what}")), ..Wrong::new("wrong-value", title.to_owned()) },
            None => Wrong::new("wrong-value", told),
        }
    }
    fn invalid_type(found: de::Unexpected, expected: &dyn de::Expected) -> Self {
        let quoted = match found {
            de::Unexpected::Str(text) => text.parse::<f64>().is_ok() || ["true", "false"].contains(&text),
            _ => false,
        };
        // Never the text itself: it may be a secret.
        let found = match found {
            de::Unexpected::Str(_) => "a text".to_owned(),
            de::Unexpected::Bool(_) => "true or false".to_owned(),
            de::Unexpected::Signed(number) if number < 0 => "a number below 0".to_owned(),
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number".to_owned(),
            de::Unexpected::Float(_) => "a number".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Map => "keys and values".to_owned(),
            de::Unexpected::Unit => "nothing".to_owned(),
            other => other.to_string(),
        };
        let expected = match expected.to_string() {
            number if number == "u16" => format!("a whole number up to {}", u16::MAX),
            number if number == "u32" => format!("a whole number up to {}", u32::MAX),
            number if ["u64", "usize"].contains(&number.as_str()) => "a whole number from 0".to_owned(),
            truth if truth == "a boolean" => "true or false".to_owned(),
            other => other,
        };
        let help = match expected.as_str() {
            "a list" => "write a list: `[one, two]`, or each entry on a line of its own that begins with `- `".to_owned(),
            "keys and values" => "write its keys below it, indented, or as `{ key: value }`".to_owned(),
            "a text" => "write a text; in quotes anything is one".to_owned(),
            other if quoted => format!("write {other}, without quotes"),
            other => format!("write {other}"),
        };
        Wrong { help: Some(help), ..Wrong::new("wrong-type", format!("expected {expected}, found {found}")) }
    }
    fn invalid_value(found: de::Unexpected, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Wrong::unknown("unknown-key", "key", field, expected)
    }
    fn unknown_variant(word: &str, expected: &'static [&'static str]) -> Self {
        Wrong::unknown("unknown-word", "word", word, expected)
    }
    fn missing_field(field: &'static str) -> Self {
        let help = Some(format!("add `{field}:` beside the keys that are here"));
        Wrong { missing: Some(field), help, ..Wrong::new("missing-key", format!("the key `{field}` is missing")) }
    }
}

/// serde over the tree.
#[derive(Clone, Copy)]
struct De<'a> {
    node: &'a Node,
    reading: &'a RefCell<Reading>,
    verbatim: bool,
}

impl<'a> De<'a> {
    fn unexpected(&self) -> de::Unexpected<'a> {
        match &self.node.value {
            Value::Null => de::Unexpected::Other("nothing"),
            Value::Bool(b) => de::Unexpected::Bool(*b),
            Value::Int(_) => de::Unexpected::Other("a whole number"),
            Value::Float(_) => de::Unexpected::Other("a number"),
            // The text itself stays out of the message: it may be a secret (L7).
            Value::Text(_) => de::Unexpected::Other("a text"),
            Value::List(_) => de::Unexpected::Other("a list"),
            Value::Map(_) => de::Unexpected::Other("keys and values"),
        }
    }
    fn mismatch(&self, expected: &dyn de::Expected) -> Wrong {
        <Wrong as de::Error>::invalid_type(self.unexpected(), expected).or_at(self.node.span)
    }
    /// A template or program with `${…}` would go out with those very characters: said here, not found out there (L7).
    fn takes_no_secret(&self) -> Result<(), Wrong> {
        match &self.node.value {
            Value::Text(Text { replaced: Some(_), .. }) => Err(Wrong {
                help: Some("use it in a setting of the output; a plain `${` is written `{{ '$' }}{` in a template".into()),
                ..Wrong::new("secret-in-template", "secrets are never reachable from templates and jq".into()).or_at(self.node.span)
            }),
            _ => Ok(()),
        }
    }
    fn text(&self, text: &'a Text) -> &'a str {
        if self.verbatim { &text.written } else { text.get() }
    }
    fn child(&self, node: &'a Node) -> De<'a> {
        De { node, ..*self }
    }
    fn entries(&self, entries: &'a [(Key, Node)], known: Option<&'static [&'static str]>) -> Entries<'a> {
        Entries { of: *self, rest: entries.iter(), next: None, known }
    }
    /// Numbers may be written as texts: `${PORT}` is one.
    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if let Value::Text(text) = &self.node.value
            && text.replaced.is_some()
        {
            if let Ok(whole) = text.get().parse::<u64>() {
                return visitor.visit_u64(whole).map_err(|e: Wrong| e.or_at(self.node.span));
            }
            if let Ok(number) = text.get().parse::<f64>() {
                return visitor.visit_f64(number).map_err(|e: Wrong| e.or_at(self.node.span));
            }
        }
        self.deserialize_any(visitor)
    }
}

macro_rules! numbers {
    ($($method:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> { self.number(visitor) }
    )*};
}

impl<'de, 'a: 'de> Deserializer<'de> for De<'a> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(i) => match (u64::try_from(*i), i64::try_from(*i)) {
                (Ok(whole), _) => visitor.visit_u64(whole),
                (_, Ok(whole)) => visitor.visit_i64(whole),
                _ => visitor.visit_i128(*i),
            },
            Value::Float(number) => visitor.visit_f64(number.value),
            Value::Text(text) => visitor.visit_borrowed_str(self.text(text)),
            Value::List(items) => visitor.visit_seq(Items { of: self, rest: items.iter() }),
            Value::Map(entries) => visitor.visit_map(self.entries(entries, None)),
        }
        .map_err(|wrong: Wrong| wrong.or_at(self.node.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.node.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_borrowed_str(self.text(text)).map_err(|wrong: Wrong| wrong.without(text)),
            Value::Int(i) => visitor.visit_string(i.to_string()),
            Value::Float(_) => {
                return Err(Wrong { help: Some("put it in quotes".into()), ..self.mismatch(&"a text") });
            }
            _ => return Err(self.mismatch(&"a text")),
        }
        .map_err(|wrong: Wrong| wrong.or_at(self.node.span))
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self).map_err(|wrong: Wrong| wrong.or_at(self.node.span))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            // A list of one is what was meant; a text that `${…}` made is not quoted.
            Value::Text(text) if text.replaced.is_none() => {
                let own = text.written.as_str();
                let plain = !own.is_empty() && !own.contains([',', '[', ']', '{', '}', '#', ':', '\'', '"', '&', '*', '`', '\n']);
                let own = if plain { own.to_owned() } else { format!("'{}'", own.replace('\'', "''")) };
                let help = format!("write a list: `[{own}]`, or each entry on a line of its own that begins with `- `");
                Err(Wrong { help: Some(help), ..self.mismatch(&"a list") })
            }
            Value::List(items) => {
                visitor.visit_seq(Items { of: self, rest: items.iter() }).map_err(|wrong: Wrong| wrong.or_at(self.node.span))
            }
            _ => Err(self.mismatch(&"a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Map(entries) => visitor.visit_map(self.entries(entries, None)).map_err(|wrong: Wrong| wrong.or_at(self.node.span)),
            _ => Err(self.mismatch(&"keys and values")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match name {
            AT => return visitor.visit_map(Placed { of: self, step: 0 }),
            VERBATIM => {
                self.takes_no_secret()?;
                return visitor.visit_map(Placed { of: De { verbatim: true, ..self }, step: 0 });
            }
            _ => {}
        }
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(self.entries(entries, Some(fields))).map_err(|wrong: Wrong| wrong.or_at(self.node.span))
            }
            _ => Err(self.mismatch(&"keys and values")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Text(text) => {
                visitor.visit_enum(self.text(text).into_deserializer()).map_err(|wrong: Wrong| wrong.without(text).or_at(self.node.span))
            }
            Value::Map(entries) if entries.len() == 1 => visitor
                .visit_enum(de::value::MapAccessDeserializer::new(self.entries(entries, None)))
                .map_err(|wrong: Wrong| match &entries[..] {
                    [(key, _)] if wrong.id == "unknown-word" && wrong.at.is_none_or(|at| at == key.span) => {
                        Wrong { id: "unknown-key", title: wrong.title.replacen("word", "key", 1), ..wrong }.or_at(key.span)
                    }
                    _ => wrong.or_at(self.node.span),
                }),
            _ => Err(self.mismatch(&"a word, or one key with its value")),
        }
    }

    numbers! { deserialize_i8, deserialize_i16, deserialize_i32, deserialize_i64, deserialize_i128, deserialize_u8, deserialize_u16,
    deserialize_u32, deserialize_u64, deserialize_u128, deserialize_f32, deserialize_f64 }

    serde::forward_to_deserialize_any! { bool char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any }
}

struct Items<'a> {
    of: De<'a>,
    rest: std::slice::Iter<'a, Node>,
}
impl<'de, 'a: 'de> SeqAccess<'de> for Items<'a> {
    type Error = Wrong;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.rest.next().map(|node| seed.deserialize(self.of.child(node)).map_err(|wrong| wrong.or_at(node.span))).transpose()
    }
}

struct Entries<'a> {
    of: De<'a>,
    rest: std::slice::Iter<'a, (Key, Node)>,
    next: Option<&'a Node>,
    known: Option<&'static [&'static str]>,
}
impl<'de, 'a: 'de> MapAccess<'de> for Entries<'a> {
    type Error = Wrong;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        loop {
            let Some((key, node)) = self.rest.next() else { return Ok(None) };
            let mut reading = self.of.reading.borrow_mut();
            if reading.left_out.contains(&node.span) {
                continue;
            }
            if let Some(known) = self.known.filter(|known| !known.contains(&key.name.as_str())) {
                if !reading.unknown.contains(&key.span) {
                    reading.unknown.push(key.span);
                    let wrong = Wrong::unknown("unknown-key", "key", &key.name, known);
                    reading.problems.push(wrong.problem(key.span));
                }
                continue;
            }
            drop(reading);
            self.next = Some(node);
            return seed.deserialize(key.name.as_str().into_deserializer()).map(Some).map_err(|wrong: Wrong| wrong.or_at(key.span));
        }
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let node = self.next.take().ok_or_else(|| Wrong::new("wrong-value", "a value without a key".into()))?;
        seed.deserialize(self.of.child(node)).map_err(|wrong| match &node.value {
            Value::Text(text) => wrong.without(text).or_at(node.span),
            _ => wrong.or_at(node.span),
        })
    }
}

/// The three parts of a value with its place.
struct Placed<'a> {
    of: De<'a>,
    step: usize,
}
impl<'de, 'a: 'de> MapAccess<'de> for Placed<'a> {
    type Error = Wrong;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let key = PLACED.get(self.step).copied();
        self.step += 1;
        key.map(|key| seed.deserialize(key.into_deserializer())).transpose()
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let span = self.of.node.span;
        match self.step {
            1 => seed.deserialize(span.start.into_deserializer()),
            2 => seed.deserialize(span.end.into_deserializer()),
            _ => seed.deserialize(self.of).map_err(|wrong| wrong.or_at(span)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Period;

    fn map(entries: Vec<(&str, Node)>, from: usize) -> Node {
        let mut at = from;
        let entries = entries
            .into_iter()
            .map(|(name, mut node)| {
                let key = Key { span: Span { start: at, end: at + name.len() }, name: name.into() };
                if node.span == Span::default() {
                    node.span = Span { start: at + 10, end: at + 15 };
                }
                at += 20;
                (key, node)
            })
            .collect();
        Node { span: Span { start: from, end: at }, value: Value::Map(entries) }
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Shop {
        name: At<String>,
        wait: Period,
        #[serde(default)]
        size: Option<u8>,
    }

    #[test]
    fn every_problem_of_a_section_is_reported_at_once() {
        let node = map(vec![("nmae", Node::text("a")), ("wait", Node::text("5x")), ("size", Node::text("big"))], 0);
        let mut problems = vec![];
        assert!(read::<Shop>(&node, &mut problems).is_none());
        let told: Vec<_> = problems.iter().map(|p| (p.id, p.at.start, p.patch.as_deref())).collect();
        assert_eq!(told, [("unknown-key", 0, Some("name")), ("wrong-value", 30, None), ("wrong-type", 50, None)]);
    }

    #[test]
    fn a_struct_can_be_asked_for_its_keys() {
        assert_eq!(keys::<Shop>(), ["name", "wait", "size"]);
        assert_eq!(keys::<Period>(), [""; 0]);
    }

    #[test]
    fn a_template_takes_no_secret() {
        let secret = Value::Text(Text { written: "pay ${A}".into(), replaced: Some(crate::Secret::new("pay hush")) });
        let node = map(vec![("text", Node { span: Span { start: 5, end: 9 }, value: secret })], 0);
        #[derive(Debug, PartialEq, Deserialize)]
        struct Message {
            text: Template,
        }
        let mut problems = vec![];
        assert!(read::<Message>(&node, &mut problems).is_none());
        assert_eq!((problems[0].id, problems[0].at.start, problems.len()), ("secret-in-template", 5, 1));
    }

    #[test]
    fn a_value_knows_its_place_and_a_secret_is_not_quoted() {
        let node = map(vec![("name", Node::text("a")), ("wait", Node::text("5s"))], 100);
        let mut problems = vec![];
        let shop: Shop = read(&node, &mut problems).unwrap();
        assert_eq!((shop.name.span.start, shop.name.value.as_str(), shop.wait), (110, "a", Period::secs(5)));
        let secret = Value::Text(Text { written: "${A}".into(), replaced: Some(crate::Secret::new("hush")) });
        let node = map(
            vec![
                ("name", Node { span: Span { start: 1, end: 2 }, value: secret }),
                ("wait", Node::text("1s")),
                ("size", Node::text("hush")),
            ],
            0,
        );
        read::<Shop>(&node, &mut problems);
        assert!(!format!("{problems:?}").contains("hush"));
    }
}
