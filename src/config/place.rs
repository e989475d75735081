//! Where in the file a piece of a scalar's text stands: from byte offsets in the decoded text back to bytes of the file.
//!
//! A text used by `*name` is followed to where it was written out. Never fails: what can't be followed is answered with
//! the whole scalar's place.

use super::scalar::decode;
use std::ops::Range;
use switchyard_api::Span;

/// Line and column of a byte offset, both from 1; columns count characters.
pub fn line_col(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The bytes of the file that `range` of the scalar's decoded text came from.
pub fn within(text: &str, at: Span, range: Range<usize>) -> Span {
    follow_alias(text, at).and_then(|at| decode(text, at)).map_or(at, |scalar| scalar.place(range).unwrap_or(at))
}

/// The nearest byte at or before an offset where a character begins, or the text ends.
pub(super) fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The `&name` that a use of `*name` refers to; `None` for anything else.
pub fn named_at(text: &str, at: Span) -> Option<Span> {
    let name = text.get(at.start..at.end)?.strip_prefix('*')?;
    let anchor = format!("&{name}");
    let begins = |start: usize| text[..start].ends_with(|c: char| c.is_whitespace() || "[{,".contains(c));
    let ends = |end: usize| text[end..].starts_with(char::is_whitespace);
    let start =
        text[..at.start].rmatch_indices(&anchor).map(|(start, _)| start).find(|start| begins(*start) && ends(start + anchor.len()))?;
    Some(Span { start, end: start + anchor.len() })
}

/// Where the text that a use of `*name` stands for was written; the place itself for anything else.
fn follow_alias(text: &str, at: Span) -> Option<Span> {
    let Some(anchor) = named_at(text, at) else { return Some(at) };
    let start = anchor.end + (text[anchor.end..].len() - text[anchor.end..].trim_start_matches([' ', '\t']).len());
    let end = match text[start..].chars().next()? {
        '\'' | '"' => text.len(),
        '|' | '>' => return block_content(text, start),
        '[' | '{' | '\n' | '\r' | '#' | '!' | '&' | '*' => return None,
        _ => start + text[start..].lines().next()?.split(" #").next()?.trim_end().len(),
    };
    Some(Span { start, end })
}

/// The place of a block scalar's text, from that of its header.
fn block_content(text: &str, header: usize) -> Option<Span> {
    let start = header + text[header..].find('\n')? + 1;
    let skipped = text[start..].len() - text[start..].trim_start_matches([' ', '\n', '\r']).len();
    Some(Span { start: start + skipped, end: text.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use proptest::prelude::*;
    use switchyard_api::{Node, Value};

    /// The last text of the tree.
    fn last_text(node: &Node) -> Option<(Span, &str)> {
        match &node.value {
            Value::Text(text) => Some((node.span, &text.written)),
            Value::List(items) => items.iter().rev().find_map(last_text),
            Value::Map(entries) => entries.iter().rev().find_map(|(_, child)| last_text(child)),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn any_place_in_any_text_is_answered(text in "[a-z'\"|>*&\\\\ \n\u{e9}]{0,40}", start in 0..50usize, length in 0..20usize, from in 0..60usize) {
            let at = Span { start, end: start + length };
            let place = within(&text, at, from..from + 3);
            prop_assert!(place == at || place.end <= text.len());
            line_col(&text, start);
        }
    }

    #[test]
    fn a_piece_is_found_in_each_style() {
        let files = [
            "a: say ${X} now\n",
            "a: 'it''s ${X} now'\n",
            "a: \"\\u00e9\\t ${X} now\"\n",
            "a:\n  - |\n    first\n    say ${X} now\n",
            "a: >-\n\n   first\n   say ${X}\n   now\n",
            "a: say\n  ${X}\n  now\n",
            "base: &b 'it''s ${X} now'\na: *b\n",
            "base: &b |\n   it is ${X} now\na: *b\n",
        ];
        for file in files {
            let tree = parse(file, &mut vec![]).unwrap();
            let (span, written) = last_text(&tree).unwrap();
            let at = written.find("${X}").unwrap();
            let place = within(file, span, at..at + 4);
            assert_eq!(&file[place.start..place.end], "${X}", "{file}");
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_col("ä: b\nü: x", 10), (2, 4));
        assert_eq!(line_col("", 5), (1, 1));
        assert_eq!(line_col("a\n", 2), (2, 1));
    }
}
