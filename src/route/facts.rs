//! What filters may ask of an event: paths such as `data.total`, `headers.x-shop`, `topic`, `query.a`, `data.items.0.sku`.
//!
//! Lazy: all paths of all filters are known before the first event, so one pass over the body's bytes takes out the texts
//! of those values and skips the rest; no tree is built, and a body that no filter asks about is not looked at. A number
//! stays the digits it is. A body that is not strict JSON has no `data` (L2: it is routed on the rest).
//!
//! A name that meets a list looks into each of its elements (`data.items.sku`), a number takes that one (`data.items.0.sku`).

use crate::model::{Event, envelope};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;

/// The deepest path, in names.
pub const PATH_MAX: usize = 32;

/// The words a path may start with.
pub const ROOTS: [&str; 8] = ["id", "source", "topic", "received_at", "headers", "query", "data", "raw"];

/// Where a value stands in the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The event's id.
    Id,
    /// The source's name.
    Source,
    /// The topic.
    Topic,
    /// When it was received.
    ReceivedAt,
    /// The body as text.
    Raw,
    /// A header, by its lower-case name.
    Header(Box<str>),
    /// A value of the query, by the number of its path.
    Query(u32),
    /// A value of the body, by the number of its path.
    Data(u32),
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Starts with none of [`ROOTS`].
    #[error("`{0}` is not part of an event")]
    Root(String),
    /// Has an empty name, or one too many.
    #[error("{0}")]
    Form(String),
}

/// All paths that filters ask for.
#[derive(Debug, Default)]
pub struct Paths {
    data: Tree,
    query: Tree,
}

#[derive(Debug)]
struct Tree {
    nodes: Vec<TreeNode>,
    paths: u32,
}

#[derive(Debug, Default)]
struct TreeNode {
    /// Somebody asks for the value here.
    path: Option<u32>,
    /// Sorted.
    names: Vec<(Box<str>, u32)>,
    /// Those of the names that are places in a list.
    places: Vec<(usize, u32)>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: vec![TreeNode::default()], paths: 0 }
    }
}

impl Paths {
    /// Takes note of a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, path: &str) -> Result<Place, PathError> {
        let (root, rest) = path.split_once('.').map_or((path, None), |(root, rest)| (root, Some(rest)));
        let names: Vec<&str> = rest.map(|rest| rest.split('.').collect()).unwrap_or_default();
        if names.iter().any(|name| name.is_empty()) || names.len() > PATH_MAX {
            return Err(PathError::Form(format!("`{path}` is not a path: names with dots between, at most {PATH_MAX}")));
        }
        let alone = |place: Place| match rest {
            None => Ok(place),
            Some(_) => Err(PathError::Form(format!("`{root}` is a text and has nothing inside"))),
        };
        match root {
            "id" => alone(Place::Id),
            "source" => alone(Place::Source),
            "topic" => alone(Place::Topic),
            "received_at" => alone(Place::ReceivedAt),
            "raw" => alone(Place::Raw),
            "headers" => match rest {
                Some(name) => Ok(Place::Header(name.to_lowercase().into())),
                None => Err(PathError::Form("say which header: `headers.x-shop`".into())),
            },
            "query" => Ok(Place::Query(self.query.add(&names))),
            "data" => Ok(Place::Data(self.data.add(&names))),
            _ => Err(PathError::Root(root.to_owned())),
        }
    }
}

impl Tree {
    fn add(&mut self, names: &[&str]) -> u32 {
        let mut at = 0;
        for name in names {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match node.names.binary_search_by(|(n, _)| (**n).cmp(name)) {
                Ok(i) => node.names[i].1 as usize,
                Err(i) => {
                    node.names.insert(i, ((*name).into(), fresh as u32));
                    if let Ok(place) = name.parse() {
                        node.places.push((place, fresh as u32));
                    }
                    self.nodes.push(TreeNode::default());
                    fresh
                }
            };
        }
        *self.nodes[at].path.get_or_insert_with(|| {
            self.paths += 1;
            self.paths - 1
        })
    }
}

/// A value, as it stands in the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number's digits as written.
    Number(&'a str),
    /// A text.
    Text(Cow<'a, str>),
    /// A list, as JSON.
    List(&'a str),
    /// Keys and values, as JSON.
    Object(&'a str),
}

impl<'a> Fact<'a> {
    /// Reads a JSON text that is known to be well-formed.
    fn of(json: &'a str) -> Self {
        match json.as_bytes().first() {
            Some(b'n') => Fact::Null,
            Some(b't') => Fact::Bool(true),
            Some(b'f') => Fact::Bool(false),
            Some(b'[') => Fact::List(json),
            Some(b'{') => Fact::Object(json),
            Some(b'"') => match &json[1..json.len() - 1] {
                plain if !plain.contains('\\') => Fact::Text(Cow::Borrowed(plain)),
                // A lone surrogate is no text.
                _ => serde_json::from_str(json).map_or(Fact::Null, |text: String| Fact::Text(Cow::Owned(text))),
            },
            _ => Fact::Number(json),
        }
    }

    /// JSON's word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Fact::Null => "null",
            Fact::Bool(_) => "boolean",
            Fact::Number(_) => "number",
            Fact::Text(_) => "string",
            Fact::List(_) => "array",
            Fact::Object(_) => "object",
        }
    }
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Null => f.write_str("null"),
            Fact::Bool(b) => write!(f, "{b}"),
            Fact::Number(json) | Fact::List(json) | Fact::Object(json) => f.write_str(json),
            Fact::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// One event, ready to be asked.
pub struct Facts<'e> {
    event: &'e Event,
    paths: &'e Paths,
    data: OnceCell<Leaves<'e>>,
    query: OnceCell<Leaves<'e>>,
}

/// The values that were asked for, as places in a text.
#[derive(Default)]
struct Leaves<'e> {
    text: Cow<'e, str>,
    found: Vec<(u32, Range<usize>)>,
}

/// Marks a value whose key stood again further on: the last one counts.
const REPLACED: u32 = u32::MAX;

impl<'e> Facts<'e> {
    /// Looks at nothing yet.
    pub fn new(event: &'e Event, paths: &'e Paths) -> Self {
        Facts { event, paths, data: OnceCell::new(), query: OnceCell::new() }
    }

    /// Whether any value at the place is as asked; lists are handed over whole.
    pub fn any(&self, place: &Place, mut ask: impl FnMut(Fact<'_>) -> bool) -> bool {
        let mut text = |text: &str| ask(Fact::Text(Cow::Borrowed(text)));
        match place {
            Place::Id => text(&self.event.id.to_string()),
            Place::Source => text(&self.event.source),
            Place::Topic => text(&self.event.topic),
            Place::ReceivedAt => text(&self.event.received_at.to_string()),
            Place::Raw => text(&String::from_utf8_lossy(&self.event.body)),
            Place::Header(name) => self.event.headers.get(name).is_some_and(|value| text(&String::from_utf8_lossy(value))),
            Place::Query(path) => self.query().any(*path, ask),
            Place::Data(path) => self.data().any(*path, ask),
        }
    }

    /// Whether any value at the place, or any element of a list there, is as asked.
    pub fn any_element(&self, place: &Place, mut ask: impl FnMut(&Fact<'_>) -> bool) -> bool {
        self.any(place, |fact| match fact {
            Fact::List(json) => {
                let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
                elements.into_iter().any(|element| ask(&Fact::of(element.get())))
            }
            fact => ask(&fact),
        })
    }

    fn data(&self) -> &Leaves<'e> {
        self.data.get_or_init(|| {
            // As in the envelope: an empty body says nothing, whatever it calls itself.
            if self.event.body.is_empty() {
                return Leaves::default();
            }
            let text = if envelope::is_form(self.event) {
                Cow::Owned(envelope::form(&self.event.body).to_string())
            } else {
                match std::str::from_utf8(&self.event.body) {
                    Ok(body) if !envelope::too_deep(body.as_bytes()) && envelope::half_pair(body.as_bytes()).is_none() => {
                        Cow::Borrowed(body)
                    }
                    _ => return Leaves::default(),
                }
            };
            Leaves::of(&self.paths.data, text)
        })
    }

    fn query(&self) -> &Leaves<'e> {
        self.query.get_or_init(|| Leaves::of(&self.paths.query, Cow::Owned(envelope::form(self.event.query.as_bytes()).to_string())))
    }
}

impl<'e> Leaves<'e> {
    fn of(tree: &Tree, text: Cow<'e, str>) -> Self {
        let mut found = vec![];
        let mut reader = serde_json::Deserializer::from_str(&text);
        let ask = Ask { tree, node: 0, inside: false, base: text.as_ptr() as usize, found: &mut found };
        let read = ask.deserialize(&mut reader).and_then(|()| reader.end());
        if read.is_err() {
            found.clear();
        }
        Leaves { text, found }
    }

    fn any(&self, path: u32, mut ask: impl FnMut(Fact<'_>) -> bool) -> bool {
        self.found.iter().filter(|(p, _)| *p == path).any(|(_, at)| ask(Fact::of(&self.text[at.clone()])))
    }
}

/// Takes out of one value what is asked for at and below a node of the tree.
struct Ask<'a> {
    tree: &'a Tree,
    node: u32,
    /// The value at the node itself is taken already, or is a list whose elements are looked into.
    inside: bool,
    /// Where the text starts in memory: values are borrowed from it, so their place is the difference.
    base: usize,
    found: &'a mut Vec<(u32, Range<usize>)>,
}

impl Ask<'_> {
    fn here(&self) -> &TreeNode {
        &self.tree.nodes[self.node as usize]
    }

    /// The same question about another node or an inner value.
    fn again(&mut self, node: u32, inside: bool) -> Ask<'_> {
        Ask { tree: self.tree, node, inside, base: self.base, found: self.found }
    }

    fn into_text<E: Error>(self, json: &str) -> Result<(), E> {
        self.deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Ask<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(mut self, value: D) -> Result<(), D::Error> {
        let Some(path) = self.here().path.filter(|_| !self.inside) else { return value.deserialize_any(self) };
        let json = <&RawValue>::deserialize(value)?.get();
        let start = json.as_ptr() as usize - self.base;
        self.found.push((path, start..start + json.len()));
        if self.here().names.is_empty() { Ok(()) } else { self.again(self.node, true).into_text(json) }
    }
}

impl<'de> Visitor<'de> for Ask<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        // Children that were there already, and what they gave.
        let mut seen: Vec<(u32, Range<usize>)> = vec![];
        while let Some(child) = map.next_key_seed(Name(self.here()))? {
            let Some(child) = child else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            for (_, gave) in seen.iter().filter(|(node, _)| *node == child) {
                self.found[gave.clone()].iter_mut().for_each(|(path, _)| *path = REPLACED);
            }
            let start = self.found.len();
            map.next_value_seed(self.again(child, false))?;
            seen.push((child, start..self.found.len()));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let named = self.here().names.len() > self.here().places.len();
        for i in 0_usize.. {
            let place = self.here().places.iter().find(|(place, _)| *place == i).map(|(_, node)| *node);
            let element = match (place, named) {
                (None, false) => list.next_element::<IgnoredAny>()?.map(drop),
                (None, true) => list.next_element_seed(self.again(self.node, true))?,
                (Some(node), false) => list.next_element_seed(self.again(node, false))?,
                (Some(node), true) => match list.next_element::<&RawValue>()? {
                    Some(json) => {
                        self.again(node, false).into_text(json.get())?;
                        Some(self.again(self.node, true).into_text(json.get())?)
                    }
                    None => None,
                },
            };
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key, looked up without keeping it.
struct Name<'a>(&'a TreeNode);
impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<u32>;
    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Option<u32>, D::Error> {
        key.deserialize_str(self)
    }
}
impl Visitor<'_> for Name<'_> {
    type Value = Option<u32>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, name: &str) -> Result<Option<u32>, E> {
        let at = self.0.names.binary_search_by(|(n, _)| (**n).cmp(name));
        Ok(at.ok().map(|i| self.0.names[i].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::testing::event;
    use proptest::prelude::*;
    use switchyard_reference::json::read;

    fn values(body: &str, path: &str) -> Vec<String> {
        let mut paths = Paths::default();
        let place = paths.add(path).unwrap();
        all(&event("{}").with_body(body), &paths, &place)
    }

    fn all(event: &Event, paths: &Paths, place: &Place) -> Vec<String> {
        let mut seen = vec![];
        Facts::new(event, paths).any(place, |fact| {
            seen.push(fact.to_string());
            false
        });
        seen
    }

    #[test]
    fn values_are_taken_out_as_they_are_written() {
        let body =
            r#"{"total":1500.00,"customer":{"name":"Ann \"A\" Ü","vip":true,"note":null},"items":[{"sku":"a","q":[1]},{"sku":"b"}]}"#;
        assert_eq!(values(body, "data.total"), ["1500.00"]);
        assert_eq!(values(body, "data.customer.name"), [r#""Ann "A" Ü""#]);
        assert_eq!(values(body, "data.customer.vip"), ["true"]);
        assert_eq!(values(body, "data.customer.note"), ["null"]);
        assert_eq!(values(body, "data.items.0.sku"), ["\"a\""]);
        assert_eq!(values(body, "data.items.sku"), ["\"a\"", "\"b\""]);
        assert_eq!(values(body, "data.items.2.sku"), [""; 0]);
        assert_eq!(values(body, "data.items.0.q"), ["[1]"]);
        assert_eq!(values(body, "data.customer.name.more"), [""; 0]);
        assert_eq!(values(body, "data"), [body]);
    }

    #[test]
    fn paths_that_start_alike_are_all_served_in_one_pass() {
        let mut paths = Paths::default();
        let places: Vec<Place> = ["data.a", "data.a.b", "data.a.0", "data.a.b.c"].map(|p| paths.add(p).unwrap()).into();
        let told = |body: &str| -> Vec<Vec<String>> {
            let event = event("{}").with_body(body);
            places.iter().map(|place| all(&event, &paths, place)).collect()
        };
        assert_eq!(told(r#"{"a":{"b":{"c":7}}}"#), [vec![r#"{"b":{"c":7}}"#], vec![r#"{"c":7}"#], vec![], vec!["7"]]);
        assert_eq!(told(r#"{"a":[{"b":1},{"b":2}]}"#), [vec![r#"[{"b":1},{"b":2}]"#], vec!["1", "2"], vec![r#"{"b":1}"#], vec![]]);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_one_counts() {
        assert_eq!(values(r#"{"a":1,"b":0,"a":2}"#, "data.a"), ["2"]);
        assert_eq!(values(r#"{"a":{"b":1},"a":{"c":2}}"#, "data.a.b"), [""; 0]);
    }

    #[test]
    fn a_body_that_is_not_strict_json_has_no_data() {
        for body in ["", "x", "{\"a\":1", "{\"a\":1}}", "{\"a\":NaN}", "{\"a\":01}", "{a:1}", "{\"b\":[1,],\"a\":1}"] {
            assert_eq!(values(body, "data.a"), [""; 0], "{body}");
        }
        // Half of a character anywhere: jq and templates have no data of it either.
        for body in [r#"{"a":1,"b":"\ud800"}"#, r#"{"\udc00":0,"a":1}"#] {
            assert_eq!(values(body, "data.a"), [""; 0], "{body}");
        }
        assert_eq!(values(r#"{"a":1,"b":"\ud83d\ude00"}"#, "data.a"), ["1"]);
        let deep = format!(r#"{{"a":1,"b":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(values(&deep, "data.a"), [""; 0]);
    }

    #[test]
    fn headers_query_and_forms_are_asked_alike() {
        let mut paths = Paths::default();
        let mut event = event("{}");
        event.query = "a=1&b=x%20y&b=z".into();
        event.headers.push("x-shop", b"12");
        let told = |paths: &mut Paths, event: &Event, path: &str| {
            let place = paths.add(path).unwrap();
            all(event, paths, &place)
        };
        assert_eq!(told(&mut paths, &event, "query.a"), ["\"1\""]);
        assert_eq!(told(&mut paths, &event, "query.b"), [r#"["x y","z"]"#]);
        assert_eq!(told(&mut paths, &event, "headers.X-Shop"), ["\"12\""]);
        assert_eq!(told(&mut paths, &event, "headers.none"), [""; 0]);
        assert_eq!(told(&mut paths, &event, "topic"), ["\"ORDER_PAID\""]);
        event.headers.push("content-type", b"application/x-www-form-urlencoded; charset=utf-8");
        event.body = "total=5&name=Ann+B".into();
        assert_eq!(told(&mut paths, &event, "data.name"), ["\"Ann B\""]);
        event.body = "".into();
        assert_eq!(told(&mut paths, &event, "data"), [""; 0], "a form of nothing has no data");
    }

    #[test]
    fn a_wrong_path_says_what_is_wrong() {
        let mut paths = Paths::default();
        assert_eq!(paths.add("dta.total"), Err(PathError::Root("dta".into())));
        for path in ["data..a", "data.", "topic.a", "headers", &format!("data{}", ".a".repeat(40))] {
            assert!(matches!(paths.add(path), Err(PathError::Form(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_one_pass_sees_what_the_whole_tree_holds(
            value in any_json(),
            path in proptest::collection::vec("[ab01]", 1..4),
        ) {
            let body = value.to_string();
            let (whole, mut expected) = (read(&body).unwrap(), vec![]);
            whole.at(&path.iter().map(String::as_str).collect::<Vec<_>>(), &mut expected);
            let found: Vec<_> = values(&body, &format!("data.{}", path.join("."))).iter().map(|value| read(value).unwrap()).collect();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![Just(serde_json::Value::Null), any::<bool>().prop_map(Into::into), any::<i32>().prop_map(Into::into)];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map("[ab01]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }
}
