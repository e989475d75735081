//! Lists for people on a terminal, JSON lines for programs. No control character of a payload reaches the terminal (L8).

use crate::model::printable::Printable;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// A column: its title and where its value is (a JSON pointer).
pub type Column = (&'static str, &'static str);

/// Prints rows as JSON lines, or as a table; where there are none, people read `nothing`.
pub fn rows(rows: &[Value], columns: &[Column], json: bool, nothing: &str) {
    if json {
        rows.iter().for_each(line);
        return;
    }
    if rows.is_empty() {
        say(nothing);
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, pointer)| cell(row.pointer(pointer).unwrap_or(&Value::Null))));
    }
    for printed in table.to_string().lines() {
        say(printed.trim_end());
    }
}

/// One JSON object on a line of its own.
pub fn line(value: &Value) {
    say(&value.to_string());
}

/// One line on standard output. A reader that went away ends nothing but the printing.
pub fn say(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// An error and its causes on one line.
pub fn chain(why: &dyn std::error::Error) -> String {
    std::iter::successors(Some(why), |why| why.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A value as a person reads it.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => Printable(text).to_string(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => Printable(&other.to_string()).to_string(),
    }
}

/// Bytes as a person reads them: `3.2 GiB`.
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or_else(|| format!("{bytes} B"), |(shift, unit)| format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64))
}

/// A time as a person reads it: to the second, in UTC.
pub fn clock(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| cell(value), |text| text.get(..19).map_or_else(|| cell(value), |t| Printable(&t.replace('T', " ")).to_string()))
}
