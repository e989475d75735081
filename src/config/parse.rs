//! Text → tree: every key and value knows its bytes.
//!
//! Holds: a wrong file never panics and never costs more than the limits below (L6); a key that stands twice is told
//! with both places, and the rest of the file is read all the same. Never: looks into a value's meaning, replaces
//! `${…}` (`secrets` does), reads a file. What a syntax error is called stands in `syntax`.

use super::lookalikes;
use super::place::{named_at, within};
use super::syntax;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};
use std::collections::HashMap;
use std::fmt;
use switchyard_api::tree::{Float, Key, Node, Text, Value};
use switchyard_api::{Problem, Span};

/// Lists and maps within each other; deeper is an error. Reading takes up to 36 KiB of stack a level (in an unoptimised
/// build), so that this many fit into a thread's usual 2 MiB.
pub const DEPTH_MAX: usize = 32;
/// Lists, maps and values of one file; more is an error.
pub const NODES_MAX: usize = 500_000;
/// Uses of `*name` in one file, and of one name; more is an error.
pub const ALIASES_MAX: usize = 10_000;
/// Values that uses of `*name` and `<<` may add to the largest file; see [`replayed_max`].
const REPLAYED_MAX: usize = 200_000;

/// Values that uses of `*name` and `<<` may add to this file; more is an error. What is long may add more than what is short, so that an alias bomb
/// of a few lines ends within milliseconds.
pub fn replayed_max(text: &str) -> usize {
    (5_000 + 4 * text.len()).min(REPLAYED_MAX)
}

/// Reads a file's text. Problems are pushed; `None` if no tree could be made.
///
/// Where a key stands twice in one map, the first is kept and the second is told.
pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_merge_keys: ALIASES_MAX,
            // One `*base` that hundreds of routes take is how people write large files.
            enforce_alias_anchor_ratio: false,
            max_documents: 1,
        },
        alias_limits: serde_yaml::alias_limits! {
            max_total_replayed_events: replayed_max(text),
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: ALIASES_MAX,
        },
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: serde_yaml::options::NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    match serde_yaml::from_str_with_options::<Read>(text, options) {
        Ok(Read(mut node)) => {
            stretch(&mut node, text);
            tell_twice(&mut node, problems);
            Some(node)
        }
        Err(error) => {
            let problem = syntax::problem(text, &error);
            problems.push(lookalikes::cause(text, problem.at).unwrap_or(problem));
            None
        }
    }
}
struct Read(Node);
struct ReadValue(Value);

/// The bytes of a place that carries them; the start of the file where it does not.
fn bytes(location: Location) -> Span {
    let start = location.span().byte_offset().unwrap_or(0) as usize;
    Span { start, end: start + location.span().byte_len().unwrap_or(0) as usize }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Spanned::<ReadValue>::deserialize(deserializer)?;
        Ok(Read(Node { span: bytes(found.referenced), value: found.value.0 }))
    }
}

impl<'de> Deserialize<'de> for ReadValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(ReadValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value.into()))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(Text { written: value, replaced: None }))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(Read(node)) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = vec![];
        while let Some((key, Read(node))) = entries.next_entry::<Spanned<String>, Read>()? {
            map.push((Key { span: bytes(key.referenced), name: key.value }, node));
        }
        Ok(Value::Map(map))
    }
}

/// Lets lists and maps reach from their first byte to their last: the parser gives where they begin. Numbers get their digits.
fn stretch(node: &mut Node, text: &str) {
    let ends = match &mut node.value {
        Value::List(items) => items.iter_mut().map(|child| stretched(child, text)).max(),
        Value::Map(entries) => entries.iter_mut().map(|(key, child)| key.span.end.max(stretched(child, text))).max(),
        Value::Float(float) => return digits(float, node.span, text),
        _ => return,
    };
    node.span.end = node.span.end.max(ends.unwrap_or(0));
    // In the block form there is nothing behind the last child; a use of `*name` is as long as its name.
    if let Some(open @ ('[' | '{')) = text.get(node.span.start..).and_then(|rest| rest.chars().next()) {
        node.span.end = closing_bracket(text, node.span, if open == '[' { b']' } else { b'}' });
    }
}

/// Gives a number the digits that the file has, where JSON would read them too: the parser gives the nearest float.
fn digits(float: &mut Float, at: Span, text: &str) {
    let at = if named_at(text, at).is_some() { within(text, at, 0..usize::MAX) } else { at };
    if let Some(written) = text.get(at.start..at.end).filter(|written| serde_json::from_str::<serde_json::Number>(written).is_ok()) {
        written.clone_into(&mut float.written);
    }
}

/// Where a child ends once it is stretched itself.
fn stretched(child: &mut Node, text: &str) -> usize {
    stretch(child, text);
    child.span.end
}

/// One past the closing bracket of a list or map whose last child ends at the span's end.
fn closing_bracket(text: &str, span: Span, close: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = span.end.max(span.start + 1);
    let mut comment = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\n' => comment = false,
            b'#' => comment = true,
            _ if comment => {}
            byte if *byte == close => return at + 1,
            b' ' | b'\t' | b'\r' | b',' => {}
            // Not understood: as far as the children reach.
            _ => break,
        }
        at += 1;
    }
    span.end
}

/// Tells keys that stand twice in one map, and keeps the first.
fn tell_twice(node: &mut Node, problems: &mut Vec<Problem>) {
    let entries = match &mut node.value {
        Value::Map(entries) => entries,
        Value::List(items) => return items.iter_mut().for_each(|child| tell_twice(child, problems)),
        _ => return,
    };
    let mut first: HashMap<String, Span> = HashMap::new();
    entries.retain_mut(|(key, child)| {
        tell_twice(child, problems);
        let Some(before) = first.get(&key.name) else {
            first.insert(key.name.clone(), key.span);
            return true;
        };
        problems.push(
            Problem::error("duplicate-key", key.span, format!("the key `{}` stands twice", key.name), "again here")
                .also(*before, "first here")
                .help("keep one of them: rename or remove the other, or put both contents under one key"),
        );
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(text: &str) -> Node {
        let mut problems = vec![];
        let node = parse(text, &mut problems);
        assert_eq!(problems, []);
        node.unwrap()
    }

    /// The pieces of the file that the values under keys stand at.
    fn standing<'a>(text: &'a str, node: &Node) -> Vec<&'a str> {
        node.entries().iter().map(|(_, child)| &text[child.span.start..child.span.end]).collect()
    }

    #[test]
    fn a_colon_with_nothing_behind_it_is_told() {
        for text in ["datdatq.\r\r\r\raa:\r\r\r\r\r\ra\0$\r\r\r\r\r\r\r\r\r iipd,: ", "a: b\n c: \n", "a: b: \n", "a: b,: "] {
            let mut problems = vec![];
            assert!(
                parse(text, &mut problems).is_some() != problems.iter().any(|problem| problem.id == "syntax"),
                "{text:?}: {problems:?}"
            );
        }
    }

    #[test]
    fn every_value_knows_its_bytes() {
        let text = "a: 'x'\nb: [1, {c: ü} # ]\n , ]\nd:\n  e: 1\n  f: |\n    g\nh: {}\ni: {j}\nk:\nl:\n  - 1\n  - m\n";
        let pieces = ["'x'", "[1, {c: ü} # ]\n , ]", "e: 1\n  f: |\n    g\n", "{}", "{j}", "", "- 1\n  - m"];
        assert_eq!(standing(text, &tree(text)), pieces);
    }

    #[test]
    fn a_value_used_by_name_stands_where_it_is_used() {
        let text = "base: &b {x: 1, y: {z: 2}}\nsame: *b\nmore:\n  <<: *b\n  x: 3\nlist: {<<: [*b], w: 4}\n";
        let tree = tree(text);
        assert_eq!(standing(text, &tree), ["{x: 1, y: {z: 2}}", "*b", "<<: *b\n  x: 3", "{<<: [*b], w: 4}"]);
        let more = tree.get("more").unwrap();
        assert_eq!(more.get("x").unwrap().value, Value::Int(3), "what is written beside `<<` wins");
        let brought = more.get("y").unwrap();
        assert_eq!((&text[brought.span.start..brought.span.end], brought.get("z").is_some()), ("*b", true));
        assert_eq!(tree.get("list").unwrap().entries().len(), 3);
    }

    #[test]
    fn words_keep_their_meaning() {
        let text = "a: 007\nb: 1_000\nc: 0x1f\nd: .inf\ne: 12:30\nf: yes\ng: 2026-01-01\nh: ~\ni: true\nj: !!str 12\nk: -5\nl: '5'\nm: 1.5\non: off\n";
        let tree = tree(text);
        let texts: Vec<_> = tree.entries().iter().filter_map(|(key, node)| Some(format!("{}={}", key.name, node.as_text()?))).collect();
        assert_eq!(texts.join(" "), "a=007 b=1_000 d=.inf e=12:30 f=yes g=2026-01-01 j=12 l=5 on=off");
        let value = |name: &str| tree.get(name).unwrap().value.clone();
        assert_eq!(
            [value("c"), value("h"), value("i"), value("k"), value("m")],
            [Value::Int(31), Value::Null, Value::Bool(true), Value::Int(-5), Value::Float(1.5.into())]
        );
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = "a: &n 1500.10\nb: 1234567890123456789012345678901234567890123\nc: [0.10000000000000000001, *n]\nd: +1.50\ne: 1e400\nf: -0.0 # x\n";
        fn written(node: &Node, found: &mut Vec<String>) {
            match &node.value {
                Value::Float(float) => found.push(float.written.clone()),
                Value::List(items) => items.iter().for_each(|item| written(item, found)),
                Value::Text(text) => found.push(format!("{:?}", text.written)),
                _ => node.entries().iter().for_each(|(_, node)| written(node, found)),
            }
        }
        let mut found = vec![];
        written(&tree(text), &mut found);
        let digits =
            ["1500.10", "1234567890123456789012345678901234567890123", "0.10000000000000000001", "1500.10", "1.5", "\".inf\"", "-0.0"];
        assert_eq!(found, digits);
    }

    #[test]
    fn a_key_that_stands_twice_is_told_and_the_first_is_kept() {
        let mut problems = vec![];
        let node = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", &mut problems).unwrap();
        let told: Vec<_> = problems.iter().map(|p| (p.title.as_str(), p.at.start, p.also.as_ref().unwrap().0.start)).collect();
        assert_eq!(told, [("the key `c` stands twice", 15, 9), ("the key `a` stands twice", 21, 0)]);
        assert_eq!(node.get("a").unwrap().value, Value::Int(1));
    }

    #[test]
    fn a_base_that_every_route_takes_is_no_bomb() {
        let base: String = (0..50).map(|n| format!("k{n}: 1, ")).collect::<Vec<_>>().concat();
        let routes: String = (0..200).map(|n| format!("  - {{ name: route-{n}, <<: *base }}\n")).collect::<Vec<_>>().concat();
        let mut problems = vec![];
        assert!(parse(&format!("x: &base {{ {base} }}\nroutes:\n{routes}"), &mut problems).is_some(), "{problems:?}");
    }

    #[test]
    fn a_small_bomb_stops_early() {
        let ten = |name: &str| [name; 10].join(", ");
        let bomb = format!("a: &a [{}]\nb: &b [{}]\nc: &c [{}]\nd: [{}]\n", ten("x"), ten("*a"), ten("*b"), ten("*c"));
        let mut problems = vec![];
        assert_eq!(parse(&bomb, &mut problems), None);
        assert!(problems[0].title.contains("beyond 5,"), "{}", problems[0].title);
    }

    #[test]
    fn bombs_stop_at_the_limits() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let uses = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.extend(["a", &level.to_string(), ": &a", &level.to_string(), " [", &uses, "]\n"]);
        }
        let deep = "[".repeat(2 * DEPTH_MAX) + &"]".repeat(2 * DEPTH_MAX);
        for bomb in [laughs, deep, "a:\n".to_owned() + &"- ".repeat(2 * DEPTH_MAX)] {
            let mut problems = vec![];
            assert_eq!(parse(&bomb, &mut problems), None);
            assert_eq!(problems[0].id, "limit", "{}", problems[0].title);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_children_lie_inside_their_parents(text in "([a-c]: |- |[&*]x|\n {0,3}|[\\[\\]{},'\"#|>é!~]|<<: |\t|\\PC){0,24}") {
            fn inside(node: &Node) -> bool {
                let children: Vec<&Node> = match &node.value {
                    Value::List(items) => items.iter().collect(),
                    _ => node.entries().iter().map(|(_, child)| child).collect(),
                };
                children.iter().all(|child| node.span.contains(child.span) && inside(child))
            }
            let mut problems = vec![];
            let node = parse(&text, &mut problems);
            prop_assert!(node.is_some() || !problems.is_empty());
            prop_assert!(node.as_ref().is_none_or(inside), "{:?} {:?}", text, node);
        }
    }
}
