//! How several deliveries go in one request, and how each is found in its answer.

use serde::Deserialize;
use serde_json::Value;
use switchyard_api::http::Rules;
use switchyard_api::http::answer::{Answer, Case, Heard, Means, Test};
use switchyard_api::{Outcome, Size};

use crate::members;
use crate::template::{Json, Slot, Text};

/// The most deliveries in one request, whatever is written.
const BATCH_MAX: usize = 1_000;
/// Where the place of an item stands in `names`.
const NUMBER: &str = "{n}";
/// Bytes of a request's items where nothing is said.
const BYTES: Size = Size(4 << 20);

/// How several deliveries go in one request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The most deliveries in one request.
    pub max: usize,
    /// The most bytes of their items.   default: 4MiB
    #[serde(default)]
    pub bytes: Option<Size>,
    /// `json`: a list, alone or as `$items` in `body`. `ndjson`: a line each. `form`: behind the row's `form`, each under `names`.
    #[serde(default, rename = "as")]
    pub form: BatchForm,
    /// What stands before the names of an item in a form: `Entries.{n}.`, with its place from 1.
    #[serde(default)]
    pub names: Option<String>,
    /// One item. A list is several lines in `ndjson`; in a form an object of names and texts.   default: the payload
    #[serde(default)]
    pub item: Option<Json>,
    /// Where the answer's results stand: a JSON pointer, a list of them, `lines`, or `{ xml: NAME }`.   default: the answer is for all
    #[serde(default)]
    pub results: Option<Results>,
    /// Where within a result its own part stands.   default: it is the result
    #[serde(default)]
    pub result: String,
    /// How a result says whose it is.   default: they come in order
    #[serde(default)]
    pub id: Option<ItemId>,
    /// Where a result says its place in the request, from 0.
    #[serde(default)]
    pub position: Option<String>,
    /// Where a result says its HTTP status.   default: that of the answer
    #[serde(default)]
    pub status: Option<String>,
    /// What makes a result with a 2xx a success.
    #[serde(default)]
    pub ok: Test,
    /// What a result is that is none.   default: retry
    #[serde(default)]
    pub otherwise: Means,
    /// What results mean besides.
    #[serde(default)]
    pub map: Vec<Case>,
    /// What is meant by no result at all.   default: unknown
    #[serde(default)]
    pub missing: Option<Means>,
}

/// How items are put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchForm {
    /// A JSON list.
    #[default]
    Json,
    /// A line each.
    Ndjson,
    /// Names and texts.
    Form,
}

/// Where the results stand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenResults")]
pub enum Results {
    /// In these lists.
    Lists(Vec<String>),
    /// The body is one JSON value after another.
    Lines,
    /// In elements of this name, each with texts.
    Elements(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenResults {
    One(String),
    Several(Vec<String>),
    Elements { xml: String },
}

impl From<WrittenResults> for Results {
    fn from(written: WrittenResults) -> Self {
        match written {
            WrittenResults::One(word) if word == "lines" => Results::Lines,
            WrittenResults::One(pointer) => Results::Lists(vec![pointer]),
            WrittenResults::Several(pointers) => Results::Lists(pointers),
            WrittenResults::Elements { xml } => Results::Elements(xml),
        }
    }
}

/// How a result says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemId {
    /// Where.
    pub at: String,
    /// What stands there, of the item.
    pub is: Text,
}

impl Batch {
    /// So many in a JSON list, with one answer for all.
    pub fn of(max: usize) -> Self {
        Batch {
            max,
            bytes: None,
            form: BatchForm::Json,
            names: None,
            item: None,
            results: None,
            result: String::new(),
            id: None,
            position: None,
            status: None,
            ok: Test::default(),
            otherwise: Means::Retry,
            map: vec![],
            missing: None,
        }
    }

    /// How many deliveries may go in one request.
    pub fn most(&self) -> usize {
        self.max.clamp(1, BATCH_MAX)
    }

    /// How many bytes their items may have.
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes.unwrap_or(BYTES).0).unwrap_or(usize::MAX)
    }

    /// Its tests.
    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        self.map.iter().map(|case| &case.when).chain([&self.ok])
    }

    /// Its names.
    pub fn slots(&self) -> Vec<&Slot> {
        let mut found = vec![];
        self.item.iter().for_each(|item| item.slots(&mut found));
        found.extend(self.id.iter().flat_map(|id| id.is.slots()));
        found
    }

    /// What in it cannot be meant, as `what: do`.
    pub fn mistake(&self) -> Option<String> {
        let numbered = self.names.as_ref().is_some_and(|names| names.contains(NUMBER));
        match (self.form, &self.item) {
            (BatchForm::Form, Some(Json::Object(_))) if numbered => None,
            (BatchForm::Form, _) => {
                Some(format!("a form has no `item` of names, or no `names` with `{NUMBER}`: write `names: \"Entries.{NUMBER}.\"`"))
            }
            _ if self.names.is_some() => Some("`names` is for forms: take it out, or write `as: form`".into()),
            _ => None,
        }
    }

    /// What stands before the names of the item at this place, from 0.
    pub fn name_of(&self, nth: usize) -> String {
        self.names.as_deref().unwrap_or_default().replace(NUMBER, &(nth + 1).to_string())
    }

    /// Its JSON pointers.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let lists = self.results.iter().flat_map(|results| match results {
            Results::Lists(pointers) => pointers.as_slice(),
            Results::Lines | Results::Elements(_) => &[],
        });
        let own = [self.position.as_ref(), self.status.as_ref(), self.id.as_ref().map(|id| &id.at), Some(&self.result)];
        lists.chain(own.into_iter().flatten()).map(String::as_str)
    }

    /// The outcome of each item, by its id in the order of the request. `rules` are the output's, for whole answers.
    pub fn judge(&self, answer: &Answer, ids: &[String], rules: &Rules, now: i64) -> Vec<Outcome> {
        let whole = rules.judge(answer, now, false);
        let Some(results) = self.results.as_ref().filter(|_| whole.word() == "delivered") else {
            return vec![whole; ids.len()];
        };
        let read = if answer.whole { read(results, &answer.body) } else { None };
        let Some(read) = read else {
            let why = format!("{}: the results of the batch cannot be read", answer.status);
            return vec![Outcome::Unknown { why }; ids.len()];
        };
        let rules = Rules { map: self.map.clone(), ok: self.ok.clone(), otherwise: self.otherwise, ..rules.clone() };
        let of = |(nth, id): (usize, &String)| match self.find(&read, nth, id) {
            Some(result) => self.judge_item(answer, result, &rules, now),
            None => self.missing(answer),
        };
        ids.iter().enumerate().map(of).collect()
    }

    fn find<'a>(&self, results: &'a [Value], nth: usize, id: &str) -> Option<&'a Value> {
        let part = |result: &'a Value| result.pointer(&self.result);
        if let Some(place) = &self.position {
            return results.iter().filter_map(part).find(|result| result.pointer(place).and_then(Value::as_u64) == Some(nth as u64));
        }
        let Some(own) = &self.id else { return results.get(nth).and_then(part) };
        let is = |found: &Value| found.as_str() == Some(id) || (found.is_number() && *found.to_string() == *id);
        results.iter().filter_map(part).find(|result| result.pointer(&own.at).is_some_and(is))
    }

    fn judge_item(&self, answer: &Answer, result: &Value, rules: &Rules, now: i64) -> Outcome {
        let said = self.status.as_ref().and_then(|place| result.pointer(place)).and_then(Value::as_u64);
        let status = said.and_then(|status| u16::try_from(status).ok()).unwrap_or(answer.status.as_u16());
        rules.judge_heard(&Heard::item(answer, status, result.to_string().as_bytes()), now, false)
    }

    fn missing(&self, answer: &Answer) -> Outcome {
        let why = format!("{}: the answer says nothing of it", answer.status);
        match self.missing.unwrap_or(Means::Unknown) {
            Means::Delivered => Outcome::Delivered { detail: answer.status.to_string() },
            Means::Retry => Outcome::Retry { why, after: None },
            Means::Down => Outcome::Down { why, after: None },
            Means::Misconfigured => Outcome::Misconfigured { why, after: None },
            Means::Rejected => Outcome::Rejected { why },
            Means::Unknown => Outcome::Unknown { why },
        }
    }
}

fn read(results: &Results, body: &[u8]) -> Option<Vec<Value>> {
    match results {
        Results::Elements(name) => members::read(std::str::from_utf8(body).ok()?, name),
        Results::Lines => serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<_, _>>().ok(),
        Results::Lists(pointers) => {
            let json: Value = serde_json::from_slice(body).ok()?;
            // A list that is not there is empty: an answer names only those it has something to say of.
            Some(pointers.iter().filter_map(|pointer| json.pointer(pointer)?.as_array().cloned()).flatten().collect())
        }
    }
}
