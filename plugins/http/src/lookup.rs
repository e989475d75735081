//! What is asked before a delivery is sent again to a far side that knows no repeats: is it there already?

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_api::Outcome;
use switchyard_api::http::Rules;
use switchyard_api::http::answer::{Answer, Heard, Pattern, Test};
use switchyard_api::printable::is_hostile;

use crate::Method;
use crate::settings::Own;
use crate::template::{Json, Slot, Text};

/// Characters of its name that are shown.
const DETAIL_MAX: usize = 100;

/// Asked before every attempt that is not the first, and before a replay.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// For which values of a row's settings it is, `{ entity: invoices|orders }`: the pattern of each whole value.   default: all
    #[serde(default)]
    pub of: BTreeMap<String, Pattern>,
    /// Where, on the same server: `{url}/{reference}`.
    pub url: Text,
    /// How it is called.   default: GET, with a body POST
    #[serde(default)]
    pub method: Option<Method>,
    /// Query parameters.
    #[serde(default)]
    pub query: BTreeMap<String, Text>,
    /// What is asked with, as JSON.
    #[serde(default)]
    pub body: Option<Json>,
    /// Which answers say that it is there; among 2xx alone.   default: each, if `same` holds
    #[serde(default)]
    pub found: Test,
    /// The item of a list that is the delivery.
    #[serde(default)]
    pub same: Option<Same>,
    /// Which answers without it say that it is not there; among 2xx alone.   default: each, and 404
    #[serde(default)]
    pub absent: Option<Test>,
    /// Where its name stands in the answer, or in the item that is the same (RFC 6901), for the delivery's detail.
    #[serde(default)]
    pub detail: Option<String>,
}

/// A row's lookups: one or several, of which the first counts that is for an output's settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lookups(pub Vec<Lookup>);

impl<'de> Deserialize<'de> for Lookups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum: that would not say which word is wrong.
        let written = match Value::deserialize(deserializer)? {
            Value::Array(several) => several,
            one => vec![one],
        };
        written.into_iter().map(|one| serde_json::from_value(one).map_err(D::Error::custom)).collect::<Result<_, _>>().map(Lookups)
    }
}

/// Which item of a list is the delivery: the one with this text there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Same {
    /// Where the list stands (RFC 6901), or one of several places, of which the first that is a list counts; empty: the whole
    /// body is the list.
    #[serde(rename = "in", default)]
    pub places: Places,
    /// Where in an item; made of settings.
    pub at: Text,
    /// What stands there.
    pub is: Text,
}

/// One JSON pointer or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenPlaces")]
pub struct Places(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenPlaces {
    One(String),
    Several(Vec<String>),
}

impl From<WrittenPlaces> for Places {
    fn from(written: WrittenPlaces) -> Self {
        match written {
            WrittenPlaces::One(place) => Places(vec![place]),
            WrittenPlaces::Several(places) => Places(places),
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Places(vec![String::new()])
    }
}

/// What `same` asks for, with the values of one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Where in an item.
    pub at: String,
    /// What stands there.
    pub is: String,
}

impl Lookup {
    /// Whether it is for an output with these settings.
    pub fn is_for(&self, settings: &Own) -> bool {
        let fits = |(name, pattern): (&String, &Pattern)| {
            settings.0.get(name).and_then(|at| at.value.as_str()).is_some_and(|value| pattern.is_whole(value))
        };
        self.of.iter().all(fits)
    }

    /// Its tests.
    pub fn tests(&self) -> impl Iterator<Item = &Test> {
        std::iter::once(&self.found).chain(&self.absent)
    }

    /// Its JSON pointers.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let places = self.same.iter().flat_map(|same| same.places.0.iter().map(String::as_str));
        self.detail.as_deref().into_iter().chain(places)
    }

    /// What it asks with: a question without one of these would be about something else.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        let same = self.same.iter().flat_map(|same| same.at.slots().chain(same.is.slots()));
        let mut body = vec![];
        self.body.iter().for_each(|json| json.slots(&mut body));
        self.url.slots().chain(self.query.values().flat_map(Text::slots)).chain(body).chain(same)
    }

    /// `Ok` where it is not there, and so is sent; else what became of the attempt. `own` is what `same` asks for.
    ///
    /// # Errors
    /// The outcome that ends the attempt: delivered where it is there, else why nobody knows. Nothing was sent.
    pub fn judge(&self, answer: &Answer, own: &Known, rules: &Rules, now: i64) -> Result<(), Outcome> {
        let heard = Heard::answer(answer);
        let unreadable = || Outcome::Retry { why: "the lookup before sending it again: its answer cannot be read".into(), after: None };
        if heard.status == 404 {
            return if self.absent.is_none() { Ok(()) } else { Err(unreadable()) };
        }
        if !(200..300).contains(&heard.status) {
            let plain = Rules { secrets: rules.secrets.clone(), after: rules.after.clone(), ..Rules::default() };
            return Err(not_known(plain.judge_heard(&heard, now, false)));
        }
        if !answer.whole {
            return Err(unreadable());
        }
        let item = match &self.same {
            None => heard.json(),
            Some(same) => {
                let list = same.list(&heard).ok_or_else(unreadable)?;
                match list.iter().find(|item| item.pointer(&own.at).map(plain).as_ref() == Some(&own.is)) {
                    None => return self.not_there(&heard),
                    found => found,
                }
            }
        };
        if !self.found.holds(&heard) {
            return self.not_there(&heard);
        }
        let name = self.detail.as_ref().and_then(|at| item?.pointer(at)).map(plain).unwrap_or_default();
        let shown: String = name.chars().filter(|c| !is_hostile(*c)).take(DETAIL_MAX).collect();
        let detail = if shown.is_empty() { "it is there already".into() } else { format!("it is there already: {shown}") };
        Err(Outcome::Delivered { detail })
    }

    /// It is not in this answer: is it not there at all? A page of a longer list, or one that was not searched, cannot say.
    fn not_there(&self, heard: &Heard<'_>) -> Result<(), Outcome> {
        let why = "the lookup before sending it again: its answer does not say that it is not there";
        let sure = self.absent.as_ref().is_none_or(|absent| absent.holds(heard));
        if sure { Ok(()) } else { Err(Outcome::Retry { why: why.into(), after: None }) }
    }
}

impl Same {
    fn list<'a>(&self, heard: &'a Heard<'_>) -> Option<&'a Vec<Value>> {
        let json = heard.json()?;
        self.places.0.iter().find_map(|place| json.pointer(place)?.as_array())
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is said of a lookup without an answer is about a request that changes nothing.
pub fn not_known(outcome: Outcome) -> Outcome {
    let told = |why: String| format!("the lookup before sending it again: {why}");
    match outcome {
        Outcome::Down { why, after } => Outcome::Down { why: told(why), after },
        Outcome::Misconfigured { why, after } => Outcome::Misconfigured { why: told(why), after },
        Outcome::Retry { why, after } => Outcome::Retry { why: told(why), after },
        Outcome::Rejected { why } | Outcome::Unknown { why } | Outcome::Delivered { detail: why } => {
            Outcome::Retry { why: told(why), after: None }
        }
    }
}
