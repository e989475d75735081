//! Tests on an answer, as data: what a preset and the file write under `ok` and `when`. All that is set must hold.

use super::Heard;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A test on an answer. An empty one holds for every answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The status is one of these: `200`, `[200, 204]`, `2xx`.
    #[serde(default)]
    pub status: Statuses,
    /// The body is exactly this text, but for white space around it.
    #[serde(default)]
    pub text: Option<String>,
    /// The body contains this text, or one of these.
    #[serde(default)]
    pub contains: Words,
    /// The body matches this regular expression.
    #[serde(default)]
    pub matches: Option<Pattern>,
    /// The body is JSON in which these pointers (RFC 6901) have what is wanted.
    #[serde(default)]
    pub json: BTreeMap<String, Want>,
    /// These headers have what is wanted.
    #[serde(default)]
    pub header: BTreeMap<String, Want>,
    /// Every item of a list in the JSON body passes; a list that is not there or empty does not.
    #[serde(default)]
    pub each: Option<Items>,
    /// Some item of a list in the JSON body passes.
    #[serde(default)]
    pub some: Option<Items>,
    /// One of these tests holds.
    #[serde(default)]
    pub any: Vec<Test>,
    /// This test does not hold.
    #[serde(default)]
    pub not: Option<Box<Test>>,
}

/// Items of a list, and what each is asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// Where the list stands (RFC 6901); empty: the whole body is the list.
    #[serde(rename = "in", default)]
    pub place: String,
    /// Pointers from the item, and what is wanted there.
    pub json: BTreeMap<String, Want>,
}

/// What is wanted of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// It is one of these.
    OneOf(Vec<Value>),
    /// Its text begins so.
    Prefix(String),
    /// Its text contains this.
    Contains(String),
    /// Its text matches.
    Matches(Pattern),
    /// It is there, whatever it is; `null` is not there.
    Exists(bool),
    /// It is nothing: not there, `null`, or an empty text, list or object.
    Empty(bool),
    /// It is not one of these, or not there.
    Not(Vec<Value>),
}

/// Statuses: single ones and whole classes. Empty: any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

/// One text or several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Test {
    /// Whether it holds for what was heard.
    pub fn holds(&self, heard: &Heard<'_>) -> bool {
        let text = || String::from_utf8_lossy(heard.body);
        let header = |name: &str| heard.headers.get(name).map(|value| Value::from(String::from_utf8_lossy(value.as_bytes()).trim()));
        let at = |pointer: &str| heard.json().and_then(|json| json.pointer(pointer));
        self.status.holds(heard.status)
            && self.text.as_ref().is_none_or(|whole| text().trim() == whole)
            && (self.contains.0.is_empty() || self.contains.0.iter().any(|word| text().contains(word)))
            && self.matches.as_ref().is_none_or(|pattern| pattern.0.is_match(&text()))
            && self.json.iter().all(|(pointer, want)| want.holds(at(pointer)))
            && self.header.iter().all(|(name, want)| want.holds(header(name).as_ref()))
            && self
                .each
                .as_ref()
                .is_none_or(|items| items.list(heard).is_some_and(|list| !list.is_empty() && list.iter().all(|i| items.holds(i))))
            && self.some.as_ref().is_none_or(|items| items.list(heard).is_some_and(|list| list.iter().any(|i| items.holds(i))))
            && (self.any.is_empty() || self.any.iter().any(|test| test.holds(heard)))
            && self.not.as_ref().is_none_or(|test| !test.holds(heard))
    }

    /// What keeps it from holding, the first of it, in a few words; `None` where it holds.
    pub fn unmet(&self, heard: &Heard<'_>) -> Option<String> {
        if self.holds(heard) {
            return None;
        }
        if !self.status.holds(heard.status) {
            return Some(format!("{} was expected", self.status));
        }
        let text = String::from_utf8_lossy(heard.body);
        if let Some(whole) = self.text.as_ref().filter(|whole| text.trim() != **whole) {
            return Some(format!("`{whole}` was expected"));
        }
        if !self.contains.0.is_empty() && !self.contains.0.iter().any(|word| text.contains(word)) {
            return Some(format!("it does not contain `{}`", self.contains.0.join("` or `")));
        }
        if let Some(pattern) = self.matches.as_ref().filter(|pattern| !pattern.0.is_match(&text)) {
            return Some(format!("it does not match `{}`", pattern.as_str()));
        }
        if (!self.json.is_empty() || self.each.is_some() || self.some.is_some()) && heard.json().is_none() {
            return Some("it is no JSON".into());
        }
        let at = |pointer: &str| heard.json().and_then(|json| json.pointer(pointer));
        if let Some((pointer, want)) = self.json.iter().find(|(pointer, want)| !want.holds(at(pointer))) {
            return Some(format!("`{pointer}` {}", want.unmet()));
        }
        let header = |name: &str| heard.headers.get(name).map(|value| Value::from(String::from_utf8_lossy(value.as_bytes()).trim()));
        if let Some((name, want)) = self.header.iter().find(|(name, want)| !want.holds(header(name).as_ref())) {
            return Some(format!("the header `{name}` {}", want.unmet()));
        }
        let items = |items: &Items, which: &str| format!("{which} in `{}` is as expected", items.place);
        let all = |items: &&Items| !items.list(heard).is_some_and(|list| !list.is_empty() && list.iter().all(|i| items.holds(i)));
        if let Some(each) = self.each.as_ref().filter(all) {
            return Some(items(each, "not every item"));
        }
        let any = |items: &&Items| !items.list(heard).is_some_and(|list| list.iter().any(|i| items.holds(i)));
        if let Some(some) = self.some.as_ref().filter(any) {
            return Some(items(some, "no item"));
        }
        let first = self.any.first().and_then(|test| test.unmet(heard));
        Some(first.unwrap_or_else(|| "it says what it must not".into()))
    }

    /// What of it can never hold: a JSON pointer that is none.
    pub fn mistake(&self) -> Option<String> {
        let lists = self.each.iter().chain(&self.some);
        let places = lists.clone().map(|items| &items.place);
        let pointers = self.json.keys().chain(lists.flat_map(|items| items.json.keys())).chain(places);
        let wrong = pointers.into_iter().find(|pointer| !is_pointer(pointer));
        wrong
            .map(|pointer| format!("`{pointer}` is no JSON pointer: it begins with `/`"))
            .or_else(|| self.any.iter().chain(self.not.as_deref()).find_map(Test::mistake))
    }
}

/// Whether a text is a JSON pointer (RFC 6901).
pub fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

impl Items {
    fn list<'a>(&self, heard: &'a Heard<'_>) -> Option<&'a Vec<Value>> {
        heard.json()?.pointer(&self.place)?.as_array()
    }
    fn holds(&self, item: &Value) -> bool {
        self.json.iter().all(|(pointer, want)| want.holds(item.pointer(pointer)))
    }
}

impl Want {
    /// Whether a value is what is wanted.
    pub fn holds(&self, found: Option<&Value>) -> bool {
        let text = || found.filter(|value| !value.is_null()).map(as_text);
        match self {
            Want::OneOf(values) => found.is_some_and(|found| values.iter().any(|value| same(value, found))),
            Want::Not(values) => !found.is_some_and(|found| values.iter().any(|value| same(value, found))),
            Want::Prefix(start) => text().is_some_and(|text| text.starts_with(start)),
            Want::Contains(part) => text().is_some_and(|text| text.contains(part)),
            Want::Matches(pattern) => text().is_some_and(|text| pattern.0.is_match(&text)),
            Want::Exists(expected) => found.is_some_and(|found| !found.is_null()) == *expected,
            Want::Empty(expected) => is_empty(found) == *expected,
        }
    }

    /// What a value is not that is not what is wanted.
    fn unmet(&self) -> String {
        let list = |values: &[Value]| values.iter().map(|value| as_text(value).into_owned()).collect::<Vec<_>>().join(", ");
        match self {
            Want::OneOf(values) if values.len() == 1 => format!("is not {}", list(values)),
            Want::OneOf(values) => format!("is none of {}", list(values)),
            Want::Not(values) => format!("is {}", list(values)),
            Want::Prefix(start) => format!("does not begin with `{start}`"),
            Want::Contains(part) => format!("does not contain `{part}`"),
            Want::Matches(pattern) => format!("does not match `{}`", pattern.as_str()),
            Want::Exists(true) => "is missing".into(),
            Want::Exists(false) => "is there".into(),
            Want::Empty(true) => "is not empty".into(),
            Want::Empty(false) => "is empty".into(),
        }
    }

    fn read(value: Value) -> Result<Self, String> {
        const FORMS: &str = "`prefix`, `contains`, `matches`, `exists`, `empty` or `not`";
        let entries = match value {
            Value::Object(entries) => entries,
            Value::Array(values) => return Ok(Want::OneOf(values)),
            one => return Ok(Want::OneOf(vec![one])),
        };
        let mut entries = entries.into_iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else {
            return Err(format!("one of {FORMS} is wanted: write one of them"));
        };
        let wrong = || format!("`{name}` holds what it cannot: write a text, or true or false for `exists` and `empty`");
        let words = || value.as_str().map(str::to_owned).ok_or_else(wrong);
        match name.as_str() {
            "prefix" => words().map(Want::Prefix),
            "contains" => words().map(Want::Contains),
            "matches" => Pattern::parse(&words()?).map(Want::Matches),
            "exists" => value.as_bool().map(Want::Exists).ok_or_else(wrong),
            "empty" => value.as_bool().map(Want::Empty).ok_or_else(wrong),
            "not" => Ok(Want::Not(if let Value::Array(values) = value { values } else { vec![value] })),
            _ => Err(format!("unknown key `{name}`: write {FORMS}")),
        }
    }
}

/// Equal, where a header's text equals the number it spells.
fn same(wanted: &Value, found: &Value) -> bool {
    wanted == found || (found.is_string() && wanted.is_number() && found.as_str() == Some(&wanted.to_string()))
}

fn as_text(value: &Value) -> Cow<'_, str> {
    value.as_str().map_or_else(|| value.to_string().into(), Cow::Borrowed)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        Some(_) => false,
    }
}

impl Statuses {
    fn holds(&self, status: u16) -> bool {
        self.0.is_empty() || self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// Whether one of these can be it.
    pub fn may_be(&self, range: std::ops::RangeInclusive<u16>) -> bool {
        self.0.is_empty() || self.0.iter().any(|(first, last)| first <= range.end() && last >= range.start())
    }

    fn one(value: &Value) -> Result<(u16, u16), String> {
        let number = |n: u64| u16::try_from(n).ok().filter(|n| (100..=999).contains(n)).map(|n| (n, n));
        let class = |text: &str| {
            let digit: u16 = text.strip_suffix("xx")?.parse().ok().filter(|digit| (1..=9).contains(digit))?;
            Some((digit * 100, digit * 100 + 99))
        };
        let found = value.as_u64().and_then(number).or_else(|| value.as_str().and_then(class));
        found.ok_or_else(|| format!("{value} is no HTTP status: write one such as `200`, or a class such as `2xx`"))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (first, last)) in self.0.iter().enumerate() {
            let or = if nth > 0 { " or " } else { "" };
            if first == last { write!(f, "{or}{first}")? } else { write!(f, "{or}{}xx", first / 100)? }
        }
        Ok(())
    }
}

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        Regex::new(text)
            .map(Pattern)
            .map_err(|e| format!("`{text}` is no regular expression: {}", e.to_string().lines().last().unwrap_or_default().trim()))
    }

    /// Whether all of a text matches.
    pub fn is_whole(&self, text: &str) -> bool {
        self.0.find_iter(text).any(|found| found.start() == 0 && found.end() == text.len())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl<'de> Deserialize<'de> for Want {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Want::read(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match Value::deserialize(deserializer)? {
            Value::Array(values) => values,
            one => vec![one],
        };
        values.iter().map(Statuses::one).collect::<Result<_, _>>().map(Statuses).map_err(D::Error::custom)
    }
}
impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("this is no text: write a text, or a list of texts");
        match Value::deserialize(deserializer)? {
            Value::Array(values) => {
                values.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<_>>().map(Words).ok_or_else(wrong)
            }
            Value::String(one) => Ok(Words(vec![one])),
            _ => Err(wrong()),
        }
    }
}
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pattern::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Answer;
    use ::http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("x-code", "117".parse().unwrap());
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: bytes::Bytes::copy_from_slice(body.as_bytes()), whole: true }
    }
    fn holds(test: &str, status: u16, body: &str) -> bool {
        let test: Test = serde_json::from_str(test).unwrap_or_else(|e| panic!("{test}: {e}"));
        test.holds(&Heard::answer(&answer(status, body)))
    }

    const BODY: &str = r#"{"ok":true,"code":"132001","n":0,"none":null,"list":[{"s":"0","e":[]},{"s":"4","e":[1]}],"empty":[]}"#;

    #[test]
    fn every_condition_holds_and_does_not() {
        for (yes, no) in [
            (r#"{"status":200}"#, r#"{"status":[201,404]}"#),
            (r#"{"status":["2xx",404]}"#, r#"{"status":"4xx"}"#),
            (r#"{"contains":"132001"}"#, r#"{"contains":"132002"}"#),
            (r#"{"contains":["absent","ok"]}"#, r#"{"contains":["absent","gone"]}"#),
            (r#"{"matches":"\"n\":\\s*\\d"}"#, r#"{"matches":"^ok$"}"#),
            (r#"{"json":{"/ok":true,"/n":0}}"#, r#"{"json":{"/ok":true,"/n":1}}"#),
            (r#"{"json":{"/code":["1","132001"]}}"#, r#"{"json":{"/code":132}}"#),
            (r#"{"json":{"/code":{"prefix":"132"}}}"#, r#"{"json":{"/code":{"prefix":"131"}}}"#),
            (r#"{"json":{"/code":{"contains":"200"}}}"#, r#"{"json":{"/gone":{"contains":""}}}"#),
            (r#"{"json":{"/code":{"matches":"^\\d+$"}}}"#, r#"{"json":{"/list":{"matches":"^\\d+$"}}}"#),
            (r#"{"json":{"/gone":{"exists":false},"/n":{"exists":true}}}"#, r#"{"json":{"/none":{"exists":true}}}"#),
            (r#"{"json":{"/empty":{"empty":true},"/none":{"empty":true},"/list":{"empty":false}}}"#, r#"{"json":{"/n":{"empty":true}}}"#),
            (r#"{"json":{"/n":{"not":[1,2]},"/gone":{"not":0}}}"#, r#"{"json":{"/n":{"not":0}}}"#),
            (r#"{"header":{"X-Code":[117,53]}}"#, r#"{"header":{"X-Code":11}}"#),
            (r#"{"header":{"X-Other":{"exists":false}}}"#, r#"{"header":{"X-Code":{"exists":false}}}"#),
            (r#"{"each":{"in":"/list","json":{"/s":["0","4"]}}}"#, r#"{"each":{"in":"/list","json":{"/s":"0"}}}"#),
            (r#"{"some":{"in":"/list","json":{"/s":"4"}}}"#, r#"{"some":{"in":"/list","json":{"/s":"5"}}}"#),
            (r#"{"not":{"each":{"in":"/empty","json":{}}}}"#, r#"{"each":{"in":"/gone","json":{}}}"#),
            (r#"{"any":[{"status":404},{"json":{"/ok":true}}]}"#, r#"{"any":[{"status":404}]}"#),
            (r#"{"not":{"status":404}}"#, r#"{"not":{}}"#),
            ("{}", r#"{"text":"ok"}"#),
        ] {
            assert!(holds(yes, 200, BODY), "{yes}");
            assert!(!holds(no, 200, BODY), "{no}");
        }
        assert!(holds(r#"{"text":"ok"}"#, 200, " ok\r\n") && !holds(r#"{"json":{"/ok":{"exists":true}}}"#, 200, "<html>"));
    }

    #[test]
    fn what_does_not_hold_says_why() {
        for (test, why) in [
            (r#"{"status":[201,"4xx"]}"#, "201 or 4xx was expected"),
            (r#"{"status":200,"text":"ok"}"#, "`ok` was expected"),
            (r#"{"contains":["a!","b!"]}"#, "it does not contain `a!` or `b!`"),
            (r#"{"matches":"^ok$"}"#, "it does not match `^ok$`"),
            (r#"{"json":{"/ok":false}}"#, "`/ok` is not false"),
            (r#"{"json":{"/code":["1","2"]}}"#, "`/code` is none of 1, 2"),
            (r#"{"json":{"/gone":{"exists":true}}}"#, "`/gone` is missing"),
            (r#"{"json":{"/n":{"not":0}}}"#, "`/n` is 0"),
            (r#"{"json":{"/list":{"empty":true}}}"#, "`/list` is not empty"),
            (r#"{"header":{"X-Code":{"exists":false}}}"#, "the header `X-Code` is there"),
            (r#"{"each":{"in":"/list","json":{"/s":"0"}}}"#, "not every item in `/list` is as expected"),
            (r#"{"some":{"in":"/list","json":{"/s":"5"}}}"#, "no item in `/list` is as expected"),
            (r#"{"any":[{"status":404}]}"#, "404 was expected"),
            (r#"{"not":{}}"#, "it says what it must not"),
        ] {
            let test: Test = serde_json::from_str(test).unwrap();
            let answer = answer(200, BODY);
            assert_eq!(test.unmet(&Heard::answer(&answer)).as_deref(), Some(why));
        }
        let ok: Test = serde_json::from_str(r#"{"json":{"/ok":true}}"#).unwrap();
        assert_eq!(ok.unmet(&Heard::answer(&answer(200, BODY))), None);
        assert_eq!(ok.unmet(&Heard::answer(&answer(200, "<html>"))).as_deref(), Some("it is no JSON"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (test, told) in [
            (r#"{"status":99}"#, "is no HTTP status: write"),
            (r#"{"status":"20x"}"#, "is no HTTP status: write"),
            (r#"{"matches":"("}"#, "no regular expression"),
            (r#"{"json":{"/a":{"prefx":"a"}}}"#, "unknown key `prefx`: write"),
            (r#"{"json":{"/a":{"exists":"yes"}}}"#, "holds what it cannot: write"),
            (r#"{"json":{"/a":{"exists":true,"empty":true}}}"#, "write one of them"),
            (r#"{"contains":1}"#, "no text: write"),
            (r#"{"txt":"a"}"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<Test>(test).unwrap_err().to_string();
            assert!(error.contains(told), "{test}: {error}");
        }
        let wrong: Test = serde_json::from_str(r#"{"not":{"any":[{"some":{"in":"/a","json":{"b":1}}}]}}"#).unwrap();
        assert!(wrong.mistake().unwrap().contains("`b`"));
    }

    proptest! {
        #[test]
        fn a_test_and_its_opposite_never_agree(status in 100_u16..1000, body in "[ -~]{0,30}", word in "[ -~]{1,4}", code in 100_u16..1000) {
            let word = Value::from(word);
            let test = format!(r#"{{"status":[{code},"2xx"],"contains":{word}}}"#);
            prop_assert_ne!(holds(&test, status, &body), holds(&format!(r#"{{"not":{test}}}"#), status, &body));
            let read: Test = serde_json::from_str(&test).unwrap();
            let answer = answer(status, &body);
            prop_assert_eq!(read.unmet(&Heard::answer(&answer)).is_none(), holds(&test, status, &body));
        }
    }
}
