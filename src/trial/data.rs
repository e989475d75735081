//! The body of a test's event, written as keys and values under `data`: JSON is YAML, nearly.

use serde_json::value::RawValue;
use std::fmt::Write;
use switchyard_api::tree::{Node, Value};

/// A body as it may stand under `data`, on one line: where it is JSON that is read from there exactly as it is, with every digit.
/// `data_of` reads what stands under `data` of a file.
pub fn as_data(body: &[u8], data_of: impl Fn(&str) -> Option<Node>) -> Option<String> {
    let line = one_line(serde_json::from_slice::<&RawValue>(body).ok()?.get());
    let mut read = String::new();
    json(&data_of(&format!("data: {line}\n"))?, &mut read);
    (one_line(&read) == line).then_some(line)
}

/// JSON without what stands between its parts, and a blank behind `,` and `:`.
fn one_line(json: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if inside {
            inside = escaped || c != '"';
            escaped = !escaped && c == '\\';
            out.push(c);
        } else if !c.is_ascii_whitespace() {
            inside = c == '"';
            out.push(c);
            out.extend([',', ':'].contains(&c).then_some(' '));
        }
    }
    out
}

/// A value of the file as the JSON that a sender would send.
pub(super) fn json(node: &Node, out: &mut String) {
    let quoted = |text: &str, out: &mut String| out.push_str(&serde_json::Value::from(text).to_string());
    match &node.value {
        // Writing into a text does not fail.
        Value::Bool(value) => drop(write!(out, "{value}")),
        Value::Int(value) => drop(write!(out, "{value}")),
        Value::Float(float) if float.value.is_finite() => out.push_str(&float.written),
        Value::Null | Value::Float(_) => out.push_str("null"),
        Value::Text(text) => quoted(text.get(), out),
        Value::List(items) => {
            out.push('[');
            for (nth, item) in items.iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                json(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (nth, (key, item)) in entries.iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                quoted(&key.name, out);
                out.push(':');
                json(item, out);
            }
            out.push('}');
        }
    }
}
