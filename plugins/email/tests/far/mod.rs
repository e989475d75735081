//! What both suites use: an output from a text as the file has it, and the mails it gets.

#![allow(clippy::unwrap_used)] // tests may

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Kind, Kit, Message, Rendered, Span, Wall, tree};
use switchyard_email::{Config, EmailKind, EmailOutput};

/// The settings of a section, written as JSON.
pub fn config(section: &serde_json::Value) -> Config {
    let mut problems = vec![];
    let config: Option<Config> = tree::read(&node(section), &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    let config = config.unwrap();
    assert_eq!(EmailKind.validate(&config), []);
    config
}

/// An output of them. An attempt may take so long.
pub async fn connect(section: &serde_json::Value, base: &Path, timeout: Duration) -> EmailOutput {
    let kit = Kit { timeout, ..Kit::new("duty-mail", base, "switchyard/0", Wall::new(|| 1_772_445_600_000)) };
    EmailKind.connect(config(section), &kit).await.unwrap()
}

/// A message of these fields.
pub fn message(fields: &[(&str, &str)]) -> Message {
    let fields: BTreeMap<_, _> = fields.iter().map(|(name, value)| ((*name).to_owned(), Rendered::Text((*value).to_owned()))).collect();
    Message { fields, ..Message::default() }
}

fn node(value: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::String(text) => Node::text(text).value,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Int(n.as_i64().unwrap().into()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(map) => {
            Value::Map(map.iter().map(|(name, value)| (Key { span: Span::default(), name: name.clone() }, node(value))).collect())
        }
        Json::Null => Value::Null,
    };
    Node { span: Span::default(), value }
}
