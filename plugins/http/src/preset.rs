//! A destination with a shape of its own, as data: one file of `presets/` a destination, compiled in.
//!
//! A preset says what a destination's fields are, how values in them are escaped, the body they make, what its answers
//! mean and how fast it may be called. It cannot say anything that the `http` output does not do.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use switchyard_api::escape::Escape;
use switchyard_api::http::answer::{Case, Success, WaitField};
use switchyard_api::{Confine, Field, Message, Rate, Shape};

use crate::Method;

/// Every file of `presets/`, by name.
const FILES: [(&str, &str); 3] = [
    ("discord", include_str!("../presets/discord.yaml")),
    ("mattermost", include_str!("../presets/mattermost.yaml")),
    ("slack", include_str!("../presets/slack.yaml")),
];

/// One destination.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The word after `type:`, and the file's name.
    pub name: String,
    /// What it is, in one line.
    pub docs: String,
    /// An output as one writes it.
    pub example: String,
    /// What its URL looks like.
    pub url_hint: String,
    /// The hosts it lives on; empty where everybody has their own.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// How it is called.
    #[serde(default)]
    pub method: Method,
    /// Headers it wants.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters it wants, where the URL does not set them.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Its message fields.
    pub fields: Vec<PresetField>,
    /// The JSON body: a text `$name` is that field, left out with its key where nobody sets it; all else is constant.
    pub body: Value,
    /// What makes a 2xx a success.
    #[serde(default)]
    pub ok: Success,
    /// What its other answers mean, where the general table says something else.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Where its answer says how long to wait.
    #[serde(default)]
    pub wait: Option<WaitField>,
    /// Its published rate.
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// One of its message fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetField {
    /// Its key.
    pub name: String,
    /// What it is.
    pub docs: String,
    /// How values in it are escaped.
    #[serde(default)]
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
    /// Most characters.
    #[serde(default)]
    pub cap: Option<usize>,
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
            let preset: Preset = serde_yaml::from_str(text).map_err(|e| wrong(e.to_string()))?;
            preset.proofread(file).map_err(wrong)?;
            Ok(preset)
        })
        .collect()
}

impl Preset {
    /// The message fields, as the host wants them.
    pub fn message_fields(&self) -> Vec<Field> {
        let field = |field: &PresetField| Field {
            name: field.name.clone().into(),
            docs: field.docs.clone().into(),
            shape: Shape::Text,
            escape: field.escape,
            confine: if field.confine == Reach::Name { Confine::Name } else { Confine::Content },
            required: field.required,
            default: field.default.clone().map(Into::into),
            cap: field.cap,
        };
        self.fields.iter().map(field).collect()
    }

    /// The body for a message.
    pub fn body(&self, message: &Message) -> Vec<u8> {
        fill(&self.body, message).map(|body| body.to_string().into_bytes()).unwrap_or_default()
    }

    /// Whether it lives on this host.
    pub fn lives_on(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|own| own == host)
    }

    fn proofread(&self, file: &str) -> Result<(), String> {
        if self.name != file {
            return Err(format!("its name is `{}`", self.name));
        }
        let mut used = vec![];
        placeholders(&self.body, &mut used);
        let unknown = used.iter().find(|name| !self.fields.iter().any(|field| field.name == **name));
        if let Some(name) = unknown {
            return Err(format!("its body uses `${name}`, which is not a field"));
        }
        if let Some(field) = self.fields.iter().find(|field| !used.contains(&field.name.as_str())) {
            return Err(format!("its body does not use the field `{}`", field.name));
        }
        Ok(())
    }
}

/// The value with its placeholders filled; `None` for a placeholder that nobody set.
fn fill(value: &Value, message: &Message) -> Option<Value> {
    match value {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => message.text(name).map(Value::from),
            None => Some(value.clone()),
        },
        Value::Array(items) => Some(items.iter().filter_map(|item| fill(item, message)).collect()),
        Value::Object(entries) => {
            let filled = entries.iter().filter_map(|(key, value)| Some((key.clone(), fill(value, message)?)));
            Some(Value::Object(filled.collect::<Map<_, _>>()))
        }
        _ => Some(value.clone()),
    }
}

fn placeholders<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.extend(text.strip_prefix('$')),
        Value::Array(items) => items.iter().for_each(|item| placeholders(item, found)),
        Value::Object(entries) => entries.values().for_each(|value| placeholders(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::Rendered;

    #[test]
    fn every_file_of_the_folder_is_listed_in_order() {
        let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/presets"))
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned))
            .collect();
        files.sort();
        let listed: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        for file in &files {
            assert!(listed.contains(&file.as_str()), "add to FILES: (\"{file}\", include_str!(\"../presets/{file}.yaml\")),");
        }
        assert_eq!(files, listed, "FILES is the folder, sorted");
    }

    #[test]
    fn every_preset_is_well_written() {
        for preset in all().unwrap() {
            assert!(preset.docs.ends_with('.') && preset.example.contains(&format!("type: {}", preset.name)), "{}", preset.name);
            for host in &preset.hosts {
                assert_eq!(*host, host.to_lowercase());
            }
        }
    }

    #[test]
    fn a_mistake_in_a_preset_is_found() {
        let slack = FILES[2].1;
        for (from, to, wrong) in [
            ("name: slack", "name: slak", "its name is `slak`"),
            ("$text", "$txt", "`$txt`, which is not a field"),
            ("text: $text", "text: constant", "does not use the field `text`"),
        ] {
            let preset: Preset = serde_yaml::from_str(&slack.replacen(from, to, 1)).unwrap();
            let told = preset.proofread("slack").unwrap_err();
            assert!(told.contains(wrong), "{told}");
        }
    }

    #[test]
    fn what_nobody_set_is_left_out_and_a_value_is_never_structure() {
        let preset = all().unwrap().into_iter().find(|preset| preset.name == "mattermost").unwrap();
        let mut message = Message::default();
        message.fields.insert("text".into(), Rendered::Text("$channel \"},\"channel\":\"x".into()));
        let body: Value = serde_json::from_slice(&preset.body(&message)).unwrap();
        assert_eq!(body, serde_json::json!({"text": "$channel \"},\"channel\":\"x"}));
    }
}
