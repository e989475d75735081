//! Reading an output's settings: those that every HTTP output has, and those that a row of the preset table names. Each
//! mistake is told at its place, with the word that was meant.

#![allow(clippy::result_large_err)] // a problem is made once, where the file is wrong

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fmt;
use switchyard_api::problem::nearest;
use switchyard_api::shape::{self, Shape};
use switchyard_api::tree::{self, Key, Value};
use switchyard_api::{At, Node, Problem};

use crate::Config;
use crate::preset::{Preset, Setting, SettingKind};

/// The settings of a row, by name, with their places. Shows the names alone: a value may be a secret.
#[derive(Clone, Default)]
pub struct Own(pub BTreeMap<String, At<Json>>);

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads the settings of an output of a row's type; of plain `http` where there is no row.
pub fn read(preset: Option<&Preset>, node: &Node, problems: &mut Vec<Problem>) -> Option<Config> {
    let before = problems.len();
    let own = |name: &str| preset.and_then(|preset| preset.setting(name));
    let known = known(preset);
    let mut common = vec![];
    let mut found = BTreeMap::new();
    for (key, value) in node.entries() {
        if let Some(setting) = own(&key.name) {
            match setting.read(value) {
                Ok(json) => _ = found.insert(key.name.clone(), At { span: value.span, value: json }),
                Err(problem) => problems.push(problem),
            }
        } else if known.contains(&key.name.as_str()) {
            common.push((key.clone(), value.clone()));
        } else {
            problems.push(unknown(key, &known));
        }
    }
    let common = Node { span: node.span, value: Value::Map(common) };
    let config: Option<Config> = tree::read(&common, problems);
    let base = preset.map_or(Some("url"), Preset::base);
    if base == Some("url") && own("url").is_none() && node.get("url").is_none() {
        problems.push(missing(node, "url", "Where to."));
    }
    for setting in preset.iter().flat_map(|preset| &preset.settings) {
        if let Some(value) = &setting.default {
            found.entry(setting.name.clone()).or_insert_with(|| At { span: node.span, value: value.clone() });
        } else if setting.required && node.get(&setting.name).is_none() {
            problems.push(missing(node, &setting.name, &setting.docs));
        }
    }
    let config = config.filter(|_| problems.len() == before)?;
    Some(Config { own: Own(found), ..config })
}

/// What the settings of an output may be: of those that every one has, and of the row's.
pub fn shape(preset: Option<&Preset>) -> Shape {
    let Shape::Keys(common, _) = shape::of::<Config>() else { return Shape::Any };
    let known = known(preset);
    let own = preset.iter().flat_map(|preset| &preset.settings).map(|setting| (setting.name.clone(), setting.shape()));
    Shape::Keys(common.into_iter().filter(|(name, _)| known.contains(&name.as_str())).chain(own).collect(), None)
}

/// The keys that an output may have.
fn known(preset: Option<&Preset>) -> Vec<&str> {
    let base = preset.map_or(Some("url"), Preset::base);
    let fits = |key: &&str| match *key {
        // A row with an address of its own can be pointed elsewhere; others have a setting that says where.
        "url" => base.is_none() || base == Some("url"),
        "server" => base.is_none(),
        _ => true,
    };
    let common = tree::keys::<Config>().iter().copied().filter(fits);
    common.chain(preset.iter().flat_map(|preset| preset.settings.iter().map(|setting| setting.name.as_str()))).collect()
}

fn unknown(key: &Key, known: &[&str]) -> Problem {
    let near = nearest(&key.name, known.iter().copied());
    let help = near.map_or_else(|| format!("expected one of: {}", known.join(", ")), |name| format!("did you mean `{name}`?"));
    let problem = Problem::error("unknown-key", key.span, format!("unknown key `{}`", key.name), "not a key here").help(help);
    match near {
        Some(name) => problem.patch(name),
        None => problem,
    }
}

fn missing(node: &Node, name: &str, docs: &str) -> Problem {
    let help = format!("add `{name}:` beside the keys that are here: {}", docs.trim_end_matches('.'));
    Problem::error("missing-key", node.span, format!("the key `{name}` is missing"), "missing here").help(help)
}

impl Setting {
    fn shape(&self) -> Shape {
        match self.kind {
            // A number or a truth is a text too.
            SettingKind::Text => Shape::OneOf(vec![Shape::Text, Shape::Truth]),
            SettingKind::Number => Shape::Number,
            SettingKind::Bool => Shape::OneOf(vec![Shape::Truth, Shape::Text]),
            SettingKind::List => Shape::OneOf(vec![Shape::List(Box::new(Shape::Any)), Shape::Text, Shape::Truth]),
            SettingKind::Map => Shape::Names(Box::new(Shape::Any)),
        }
    }

    /// Never quotes a value: it may be a secret.
    fn read(&self, node: &Node) -> Result<Json, Problem> {
        let wrong = |expected: &str| {
            let title = format!("`{}` is {}, not {expected}", self.name, node.kind());
            Problem::error("wrong-type", node.span, title, "here").help(format!("write {expected}: {}", self.docs.trim_end_matches('.')))
        };
        let value = match self.kind {
            SettingKind::Text => Json::from(text(node).ok_or_else(|| wrong("a text"))?),
            SettingKind::Number => number(node).ok_or_else(|| wrong("a number"))?,
            SettingKind::Bool => match (&node.value, node.as_text()) {
                (Value::Bool(truth), _) => Json::from(*truth),
                (_, Some(word @ ("true" | "false"))) => Json::from(word == "true"),
                _ => return Err(wrong("true or false")),
            },
            SettingKind::List => match &node.value {
                Value::List(items) => {
                    items.iter().map(text).collect::<Option<Vec<_>>>().map(Json::from).ok_or_else(|| wrong("a list of texts"))?
                }
                _ => Json::from(vec![text(node).ok_or_else(|| wrong("a list of texts"))?]),
            },
            SettingKind::Map => {
                if !matches!(node.value, Value::Map(_)) {
                    return Err(wrong("names and texts"));
                }
                let entry = |(key, value): &(Key, Node)| Some((key.name.clone(), Json::from(text(value)?)));
                let entries = node.entries().iter().map(entry).collect::<Option<serde_json::Map<_, _>>>();
                Json::Object(entries.ok_or_else(|| wrong("names and texts"))?)
            }
        };
        self.fits(&value, node)?;
        Ok(value)
    }

    fn fits(&self, value: &Json, node: &Node) -> Result<(), Problem> {
        let Json::String(text) = value else { return Ok(()) };
        let problem = |title: String, help: String| Err(Problem::error("wrong-value", node.span, title, "here").help(help));
        if text.is_empty() {
            return problem(format!("`{}` is empty", self.name), "is its variable set?".into());
        }
        if !self.one_of.is_empty() && !self.one_of.contains(text) {
            let near = nearest(text, self.one_of.iter().map(String::as_str));
            let help = near.map_or_else(|| format!("write one of: {}", self.one_of.join(", ")), |word| format!("did you mean `{word}`?"));
            return problem(format!("`{}` is none of its words", self.name), help);
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_whole(text)) {
            let help = format!("it matches `{}`: {}", pattern.as_str(), self.docs.trim_end_matches('.'));
            return problem(format!("`{}` does not look like one", self.name), help);
        }
        Ok(())
    }
}

fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.get().to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn number(node: &Node) -> Option<Json> {
    match &node.value {
        Value::Int(number) => i64::try_from(*number).ok().map(Json::from),
        Value::Float(number) => serde_json::from_str::<serde_json::Number>(&number.written).ok().map(Json::Number),
        Value::Text(text) => serde_json::from_str::<serde_json::Number>(text.get()).ok().map(Json::Number),
        _ => None,
    }
}
