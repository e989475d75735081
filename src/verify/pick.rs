//! Reading a topic or an id out of a request. Both are data, bounded, and never refuse a proven request (L2, L8).
//!
//! A JSON body is walked along the one path and never becomes a tree. Of a repeated key the last counts, as everywhere.

use super::signed::is_form;
use super::{Refused, section};
use crate::model::envelope;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Most bytes of a topic and of a sender's id. What is longer is cut (topic) or hashed (id), so that it stays distinct.
pub const MOST_BYTES: usize = 256;

/// The keys and places of lists on the way to a value of a JSON body.
pub(super) type Steps = Box<[Box<str>]>;

/// Elements of a list that are proven one by one; a body with more is not proven (L6).
const ITEMS_MAX: usize = 5_000;

/// Where a value is read, ready to use.
#[derive(Debug, Clone)]
pub(super) enum Pick {
    Header(HeaderName),
    Json(Steps),
    /// What stands there before the first of these characters.
    Start(Steps, Box<str>),
    Fixed(Arc<str>),
}

impl Pick {
    /// The value, where the request has one that is not empty.
    pub fn read<'r>(&self, headers: &'r HeaderMap, body: &'r [u8]) -> Option<Cow<'r, str>> {
        match self {
            Pick::Header(name) => headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())),
            Pick::Json(path) => in_body(headers, body, path),
            Pick::Start(path, before) => {
                let whole = in_body(headers, body, path)?;
                whole.split_once(&**before).map(|(start, _)| Cow::Owned(start.to_owned())).or(Some(whole))
            }
            Pick::Fixed(word) => Some(Cow::Owned(word.as_ref().to_owned())),
        }
        .filter(|value| !value.is_empty())
    }

    /// The value, where there is one and one alone: what decides on a proof.
    pub fn read_once<'r>(&self, headers: &'r HeaderMap, body: &'r [u8]) -> Result<Cow<'r, str>, Refused> {
        match self {
            Pick::Header(name) => {
                let value = super::signature::only(headers, name)?;
                std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| Refused::Malformed(name.clone()))
            }
            Pick::Json(path) | Pick::Start(path, _) => self.read(headers, body).ok_or_else(|| Refused::MissingField(path.join("."))),
            Pick::Fixed(word) => Ok(Cow::Owned(word.as_ref().to_owned())),
        }
    }

    /// From what the file says; `Err` says what is wrong with it.
    pub fn new(pick: &section::Pick) -> Result<Self, (switchyard_api::Span, String)> {
        match pick {
            section::Pick::Header(name) => super::build::header_name(name).map(Pick::Header),
            section::Pick::Json(path) => {
                // As JSONPath and jq write it: it would be looked for as a key, and never found.
                let foreign = path.value.split('.').next() == Some("$") || path.value.contains('[');
                steps(&path.value).filter(|_| !foreign).map(Pick::Json).ok_or_else(|| (path.span, "this is not a path into a body".into()))
            }
            section::Pick::Start { json, before } => match Pick::new(&section::Pick::Json(json.clone()))? {
                Pick::Json(steps) if !before.is_empty() => Ok(Pick::Start(steps, before.as_str().into())),
                _ => Err((json.span, "nothing stands before nothing".into())),
            },
            section::Pick::Fixed(word) => Ok(Pick::Fixed(word.as_str().into())),
        }
    }
}

/// The value at a path of the body, as routes see it: of a form the field of that name.
fn in_body<'b>(headers: &HeaderMap, body: &'b [u8], path: &[Box<str>]) -> Option<Cow<'b, str>> {
    if !is_form(headers) {
        return at_path(body, path);
    }
    let name = path.join(".");
    let pairs =
        body.split(|byte| *byte == b'&').map(|pair| pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len())));
    let mut found = pairs.filter(|(key, _)| envelope::unescape(key) == name);
    let (_, value) = found.next()?;
    // Of one that is there twice neither is it.
    found.next().is_none().then(|| Cow::Owned(envelope::unescape(value.strip_prefix(b"=").unwrap_or_default())))
}

/// A path as it is written: `data.items.0`.
pub(super) fn steps(path: &str) -> Option<Steps> {
    let steps: Steps = path.split('.').map(Box::from).collect();
    steps.iter().all(|step| !step.is_empty()).then_some(steps)
}

/// The elements of the list at a path; `None` where there is none, where it is empty, or too long.
pub(super) fn elements<'b>(body: &'b [u8], path: &[Box<str>]) -> Option<Vec<&'b [u8]>> {
    let items: Vec<&RawValue> = serde_json::from_slice(raw_at(body, path)?).ok()?;
    let within = !items.is_empty() && items.len() <= ITEMS_MAX;
    within.then(|| items.into_iter().map(|item| item.get().as_bytes()).collect())
}

/// A topic within its bound: a longer one keeps its start and ends in a hash of the whole.
pub(super) fn bounded_topic(topic: &str) -> Arc<str> {
    if topic.len() <= MOST_BYTES {
        return topic.into();
    }
    let hash = hex::encode(&Sha256::digest(topic)[..16]);
    let keep = (0..MOST_BYTES - hash.len()).rev().find(|end| topic.is_char_boundary(*end)).unwrap_or(0);
    format!("{}~{hash}", topic.get(..keep).unwrap_or_default()).into()
}

/// A sender's id within its bound: of a longer one the hash counts.
pub(super) fn bounded_id(id: &str) -> Box<str> {
    if id.len() <= MOST_BYTES { id.into() } else { format!("sha256:{}", hex::encode(Sha256::digest(id))).into() }
}

/// The text, number or truth value at a path of a JSON document; `None` for anything else, and where the document is not JSON.
pub(super) fn at_path<'b>(body: &'b [u8], path: &[Box<str>]) -> Option<Cow<'b, str>> {
    let raw = std::str::from_utf8(raw_at(body, path)?).ok()?;
    match raw.as_bytes().first()? {
        // Without an escape the text stands in the body as it is.
        b'"' if !raw.contains('\\') => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        b'"' => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// The exact bytes of the value at a path.
pub(super) fn raw_at<'b>(body: &'b [u8], path: &[Box<str>]) -> Option<&'b [u8]> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let found = Walk { path }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(found?.get().as_bytes())
}

struct Walk<'p> {
    path: &'p [Box<str>],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.path.split_first() {
            None => <&RawValue>::deserialize(deserializer).map(Some),
            Some((step, rest)) => deserializer.deserialize_any(Step { step, rest }),
        }
    }
}

struct Step<'p> {
    step: &'p str,
    rest: &'p [Box<str>],
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(here) = map.next_key_seed(Is(self.step))? {
            if here {
                found = map.next_value_seed(Walk { path: self.rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let place = self.step.parse::<usize>().ok();
        let mut found = None;
        for at in 0.. {
            if Some(at) == place {
                match items.next_element_seed(Walk { path: self.rest })? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
    // Anything else has nothing below it.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is this one, without making a text of it.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}
impl Visitor<'_> for Is<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(body: &str, path: &str) -> Option<String> {
        let path: Vec<Box<str>> = path.split('.').map(Box::from).collect();
        at_path(body.as_bytes(), &path).map(Cow::into_owned)
    }

    #[test]
    fn a_value_is_read_along_its_path() {
        let body = r#"{"type":"paid","data":{"id":12345678901234567890.10,"list":[{"k":"a"},{"k":"b\u00e9"}]},"yes":true,"no":null}"#;
        let cases = [
            ("type", Some("paid")),
            ("data.id", Some("12345678901234567890.10")),
            ("data.list.1.k", Some("bé")),
            ("data.list.2.k", None),
            ("data.list.x", None),
            ("yes", Some("true")),
            ("no", None),
            ("data", None),
            ("type.deeper", None),
            ("missing", None),
        ];
        for (path, expected) in cases {
            assert_eq!(find(body, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_a_broken_document_has_nothing() {
        assert_eq!(find(r#"{"a":1,"a":{"b":2},"a":3}"#, "a").as_deref(), Some("3"));
        for broken in ["", "{", r#"{"a":1} x"#, r#"{"a":1"#, "\u{feff}{}", "a=1"] {
            assert_eq!(find(broken, "a"), None, "{broken}");
        }
        // Deeper than any tree could be: walked over, not into.
        let deep = format!(r#"{{"x":{}{},"a":"found"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(find(&deep, "a").as_deref(), Some("found"));
    }

    #[test]
    fn what_is_too_long_stays_within_its_bound_and_distinct() {
        let (a, b) = ("é".repeat(5_000), format!("{}x", "é".repeat(5_000)));
        assert!(bounded_topic(&a).len() <= MOST_BYTES && bounded_topic(&a).starts_with("éé"));
        assert_ne!(bounded_topic(&a), bounded_topic(&b));
        assert!(bounded_id(&a).len() <= MOST_BYTES);
        assert_ne!(bounded_id(&a), bounded_id(&b));
        let edge = "x".repeat(MOST_BYTES);
        assert_eq!((bounded_topic(&edge).as_ref(), bounded_id(&edge).as_ref()), (edge.as_str(), edge.as_str()));
    }

    proptest! {
        #[test]
        fn walking_agrees_with_a_tree(value in "[a-z\\\\\"é\n]{0,8}", number in any::<i64>(), key in "[a-c]") {
            let document = serde_json::json!({"a": {"b": value}, "b": [number, {"c": value}], "c": number});
            let text = document.to_string();
            prop_assert_eq!(find(&text, "a.b"), Some(value.clone()));
            prop_assert_eq!(find(&text, "b.0"), Some(number.to_string()));
            prop_assert_eq!(find(&text, "b.1.c"), Some(value));
            prop_assert_eq!(find(&text, &key).is_some(), document[&key].is_i64());
        }

        #[test]
        fn no_body_makes_it_fail(body in proptest::collection::vec(any::<u8>(), 0..64), bounded in "\\PC{0,300}") {
            at_path(&body, &["a".into(), "0".into()]);
            prop_assert!(bounded_topic(&bounded).len() <= MOST_BYTES);
        }
    }
}
