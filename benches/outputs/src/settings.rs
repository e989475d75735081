//! An output's settings as a file would have them.

use serde_json::Value as Json;
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Problem, Span};

/// The tree of a JSON object. Each value has a place of its own: readers tell values apart by them.
pub fn tree(settings: &Json) -> Node {
    node(settings, &mut 0)
}

fn node(json: &Json, at: &mut usize) -> Node {
    let start = *at;
    *at += 10;
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_i64().map_or(Value::Null, |number| Value::Int(number.into())),
        Json::String(text) => Node::text(text).value,
        Json::Array(items) => Value::List(items.iter().map(|item| node(item, at)).collect()),
        Json::Object(entries) => {
            let entry = |(name, value): (&String, &Json)| {
                let key = Key { span: Span { start: *at, end: *at + 5 }, name: name.clone() };
                *at += 10;
                (key, node(value, at))
            };
            Value::Map(entries.iter().map(entry).collect())
        }
    };
    Node { span: Span { start, end: *at }, value }
}

/// What was wrong, in one line.
pub fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| problem.title.as_str()).collect::<Vec<_>>().join("; ")
}
