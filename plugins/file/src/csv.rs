//! Rows of a table (RFC 4180), each one line: a line end within a value becomes a space, so that a row a crash tore harms no other.
//!
//! A value that a spreadsheet would run (one that begins with `=`, `+`, `-`, `@` or a tab, and is no number) gets a `'` in front
//! (OWASP, "CSV Injection"). A value with a comma, a quote or a space at its edge is quoted, its quotes doubled.

use std::collections::BTreeMap;
use switchyard_api::Parcel;
use switchyard_api::problem::nearest;
use switchyard_api::record::one_line;
use switchyard_api::tree::Key;
use switchyard_api::{At, Node, Problem, Written};

/// What a spreadsheet takes for the start of a formula; the wide ones are read as the narrow ones in some languages.
const FORMULA: [char; 9] = ['=', '+', '-', '@', '\t', '＝', '＋', '－', '＠'];

/// The first row. Its names are the file's author's, and yet nothing in a table runs.
pub fn header(names: &[String]) -> Vec<u8> {
    row(names.iter().map(String::as_str))
}

/// A delivery's row: a value for each name of the header, empty where the message has none.
pub fn line(parcel: &Parcel, names: &[String]) -> Vec<u8> {
    let nothing = BTreeMap::new();
    let columns = parcel.message.map("columns").unwrap_or(&nothing);
    row(names.iter().map(|name| columns.get(name).map_or("", String::as_str)))
}

fn row<'a>(values: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let cells: Vec<String> = values.map(cell).collect();
    // A row of one empty cell would be an empty line, which readers skip.
    let row = if cells.len() == 1 && cells[0].is_empty() { "\"\"".to_owned() } else { cells.join(",") };
    (row + "\r\n").into_bytes()
}

fn cell(value: &str) -> String {
    let mut text = one_line(value);
    if text.trim_start_matches(' ').starts_with(FORMULA) && !is_number(&text) {
        text.to_mut().insert(0, '\'');
    }
    let edges = text.starts_with(' ') || text.ends_with(' ');
    if edges || text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into_owned() }
}

/// `-12.50` is money, not a formula.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    plain && digits.parse::<f64>().is_ok()
}

/// What of `header` cannot be one. `at` is where `format: csv` stands.
pub fn judge_header(header: Option<&At<Vec<String>>>, at: switchyard_api::Span) -> Option<Problem> {
    let Some(header) = header else {
        let problem = Problem::error("missing-key", at, "the key `header` is missing", "no `header` beside this");
        return Some(problem.help("add the columns in their order, such as `header: [order, total]`"));
    };
    let names = &header.value;
    let wrong = |title: String, help: &str| Some(Problem::error("bad-header", header.span, title, "here").help(help));
    if names.is_empty() {
        return wrong("a table has at least one column".into(), "write the columns in their order, such as `header: [order, total]`");
    }
    if let Some(name) = names.iter().find(|name| name.trim().is_empty() || name.contains(char::is_control)) {
        return wrong(format!("`{}` is no column's name", one_line(name)), "write a word on one line");
    }
    let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name))?.1;
    wrong(format!("the column `{twice}` is there twice"), "take one away")
}

/// Whether each column has its template, and each template its column.
pub fn judge_columns(header: &At<Vec<String>>, message: Written<'_>) -> Vec<Problem> {
    let of = |fields: &'_ [(Key, Node)]| -> Vec<Key> {
        let map = fields.iter().find(|(key, _)| key.name == "columns").map(|(_, node)| node);
        map.into_iter().flat_map(Node::entries).map(|(key, _)| key.clone()).collect()
    };
    let keys: Vec<Key> = of(message.output).into_iter().chain(of(message.route)).collect();
    let names = &header.value;
    let unknown = keys.iter().filter(|key| !names.contains(&key.name)).map(|key| {
        let near = nearest(&key.name, names.iter().map(String::as_str));
        let help = near.map_or_else(
            || format!("the columns are: {}; or add it to `header`", names.join(", ")),
            |name| format!("did you mean `{name}`?"),
        );
        let problem =
            Problem::error("unknown-column", key.span, format!("`header` has no column `{}`", key.name), "not a column").help(help);
        match near {
            Some(name) => problem.patch(name),
            None => problem,
        }
    });
    let missing = names.iter().filter(|name| !keys.iter().any(|key| key.name == **name)).map(|name| {
        let title = format!("the column `{name}` has no template");
        let problem = Problem::error("missing-column", header.span, title, "a column of this");
        problem.help(format!("add `{name}: \"{{{{ data.{name} }}}}\"` to `columns` of the output or the route"))
    });
    unknown.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered, Span};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
    fn text(row: Vec<u8>) -> String {
        String::from_utf8(row).unwrap()
    }

    #[test]
    fn a_row_has_the_order_of_the_header() {
        let columns = [("total", "9.95"), ("order", "A1"), ("unknown", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let message = Message { fields: [("columns".to_owned(), Rendered::Map(columns.into()))].into(), ..Message::default() };
        let header_names = names(&["order", "total", "note"]);
        assert_eq!(text(header(&header_names)), "order,total,note\r\n");
        assert_eq!(text(line(&parcel(1, &message), &header_names)), "A1,9.95,\r\n");
        assert_eq!(text(line(&parcel(1, &Message::default()), &names(&["one"]))), "\"\"\r\n");
    }

    #[test]
    fn a_value_is_one_cell_and_no_formula() {
        for (value, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "two  lines"),
            (" edge", "\" edge\""),
            ("=1+1", "'=1+1"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("+31 6 1234", "'+31 6 1234"),
            ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\n=1", "' =1"),
            ("  =1", "'  =1"),
            ("＝1+1", "'＝1+1"),
            ("-12.50", "-12.50"),
            ("+3e5", "+3e5"),
            ("-", "'-"),
            ("-inf", "'-inf"),
            ("-1-1", "'-1-1"),
        ] {
            assert_eq!(cell(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_header_is_judged() {
        let at = Span { start: 7, end: 9 };
        let told = |header: Option<&[&str]>| {
            let header = header.map(|header| At { span: Span { start: 1, end: 2 }, value: names(header) });
            judge_header(header.as_ref(), at).map(|problem| (problem.id, problem.at.start))
        };
        assert_eq!(told(Some(&["a", "b"])), None);
        assert_eq!(told(None), Some(("missing-key", 7)));
        for header in [&[][..], &["a", " "], &["a\nb"], &["a", "b", "a"]] {
            assert_eq!(told(Some(header)), Some(("bad-header", 1)), "{header:?}");
        }
    }

    #[test]
    fn each_column_has_its_template_and_each_template_its_column() {
        let header = At { span: Span { start: 1, end: 2 }, value: names(&["order", "total"]) };
        let columns = |keys: &[&str]| {
            let entry = |(place, name): (usize, &&str)| {
                (Key { span: Span { start: 10 + place, end: 11 + place }, name: (*name).to_owned() }, Node::text("x"))
            };
            let map = Node { span: Span::default(), value: switchyard_api::Value::Map(keys.iter().enumerate().map(entry).collect()) };
            vec![(Key { span: Span::default(), name: "columns".into() }, map)]
        };
        let told = |output: &[&str], route: &[&str]| {
            let (output, route) = (columns(output), columns(route));
            let found = judge_columns(&header, Written { output: &output, route: &route });
            found.into_iter().map(|problem| (problem.id, problem.at.start, problem.patch)).collect::<Vec<_>>()
        };
        assert_eq!(told(&["order"], &["total"]), []);
        let misspelt = vec![("unknown-column", 11, Some("total".to_owned())), ("missing-column", 1, None)];
        assert_eq!(told(&["order", "totl"], &[]), misspelt);
    }

    /// What a reader by RFC 4180 makes of a row.
    fn read(row: &str) -> Vec<String> {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        let mut chars = row.strip_suffix("\r\n").unwrap().chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => cells.last_mut().unwrap().push(chars.next().unwrap()),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        assert!(!quoted);
        cells
    }

    proptest! {
        #[test]
        fn every_row_is_read_as_it_was_meant(values in proptest::collection::vec("[-=+@,\"' \t\r\na1.e\\PC]{0,8}", 1..6)) {
            let row = text(row(values.iter().map(String::as_str)));
            prop_assert_eq!(row.matches(['\r', '\n']).count(), 2);
            let cells = read(&row);
            prop_assert_eq!(cells.len(), values.len());
            for (cell, value) in cells.iter().zip(&values) {
                let meant = one_line(value);
                prop_assert!(*cell == meant || cell.strip_prefix('\'') == Some(&meant));
                prop_assert!(is_number(cell) || !cell.trim_start_matches(' ').starts_with(FORMULA), "{cell:?}");
            }
        }
    }
}
