//! Settings of an output as a file has them.
#![allow(clippy::unwrap_used)] // tests may

use switchyard_api::Span;
use switchyard_api::tree::{Key, Node, Value};

/// A tree as the file writes it; each value has a place of its own.
pub fn yaml(text: &str) -> Node {
    fn node(json: serde_json::Value, at: &mut usize) -> Node {
        let start = *at;
        *at += 10;
        let value = match json {
            serde_json::Value::String(text) => return Node { span: Span { start, end: start + 5 }, ..Node::text(text) },
            serde_json::Value::Number(number) => Value::Int(number.as_i64().unwrap().into()),
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(|item| node(item, at)).collect()),
            serde_json::Value::Object(entries) => {
                let entry = |(name, value)| {
                    let key = Key { span: Span { start: *at, end: *at + 5 }, name };
                    *at += 10;
                    (key, node(value, at))
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { span: Span { start, end: *at }, value }
    }
    node(serde_yaml::from_str(text).unwrap(), &mut 0)
}
