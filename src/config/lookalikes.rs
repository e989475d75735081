//! Characters that look like others, or like nothing: a no-break space behind a `:`, a zero-width one before a key, typographic quotes around a
//! value. They come with text that was copied from a page.
//!
//! Where the file is no YAML because of one, that is what is told; where it is good YAML all the same, it is told as well, and runs.

use switchyard_api::tree::{Node, Value};
use switchyard_api::{Problem, Span};

/// Those that look like a space.
const SPACES: [char; 6] = ['\u{a0}', '\u{2002}', '\u{2003}', '\u{2007}', '\u{202f}', '\u{3000}'];
/// Those that can't be seen.
const INVISIBLE: [char; 6] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}'];
/// Opening and closing quotes of texts for people, as pairs in any language.
const QUOTES: [char; 9] = ['“', '”', '„', '‟', '‘', '’', '‚', '«', '»'];

/// What is more likely the cause of a mistake in YAML than anything else: the first of these on the mistaken line, or above it, where no text for people stands.
pub fn cause(text: &str, at: Span) -> Option<Problem> {
    let end = text.get(at.start..)?.find('\n').map_or(text.len(), |length| at.start + length);
    let mut lines = text.get(..end)?.rsplit('\n').filter(|line| !line.trim().is_empty()).take(2);
    // Often it is only in the next line that the parser sees it.
    lines.find_map(|line| {
        let start = line.as_ptr() as usize - text.as_ptr() as usize;
        let (at, c) = line.char_indices().find(|(at, c)| misleading(*c) && structural(&line[..*at], *c))?;
        let (at, title, label, help) = told(start + at, c);
        Some(Problem::error("syntax", at, title, label).help(help))
    })
}

/// Those at either end of a key or a value without quotes, in a file that could be read.
pub fn within(tree: &Node, text: &str) -> Vec<Problem> {
    let mut found = vec![];
    walk(tree, text, &mut found);
    found
}

fn walk(node: &Node, text: &str, found: &mut Vec<Problem>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, node) in entries {
                found.extend(ends(key.span, text));
                walk(node, text, found);
            }
        }
        Value::List(items) => items.iter().for_each(|item| walk(item, text, found)),
        Value::Text(_) => found.extend(ends(node.span, text)),
        _ => {}
    }
}

/// At the ends of what stands there, where it has no quotes of its own.
fn ends(at: Span, text: &str) -> Option<Problem> {
    let written = text.get(at.start..at.end)?;
    let (first, last) = (written.chars().next()?, written.chars().next_back()?);
    let before = text.get(..at.start)?;
    let block = before.ends_with([' ', '\n'])
        && before.trim_end_matches([' ', '\n', '\r', '-', '+']).ends_with(['|', '>'])
        && before.trim_end_matches(' ').ends_with('\n');
    if ['"', '\'', '|', '>', '*'].contains(&first) || block {
        return None;
    }
    let quoted = QUOTES.contains(&first) && QUOTES.contains(&last) && written.chars().count() > 1;
    let (at, c) = if misleading(first) || quoted {
        (at.start, first)
    } else {
        (at.end - last.len_utf8(), Some(last).filter(|last| misleading(*last))?)
    };
    let (at, title, label, help) = told(at, c);
    Some(Problem::warning("lookalike", at, title, label).help(help))
}

fn misleading(c: char) -> bool {
    SPACES.contains(&c) || INVISIBLE.contains(&c)
}

/// Whether a character behind these stands where YAML itself is written: before anything, behind a `:` or a `-`.
fn structural(before: &str, c: char) -> bool {
    let before = before.trim_end();
    before.is_empty() || before.ends_with([':', '-', ',', '[', '{']) || INVISIBLE.contains(&c) && !before.contains(['"', '\'', '#'])
}

/// A character at a place: where, what is wrong, how it looks, and what to do.
fn told(at: usize, c: char) -> (Span, String, &'static str, String) {
    let span = Span { start: at, end: at + c.len_utf8() };
    let code = u32::from(c);
    let (title, label, help) = if QUOTES.contains(&c) {
        (format!("`{c}` is a letter like any other here, and part of the text"), "no quote of this file", "write `\"` or `'` at both ends")
    } else if SPACES.contains(&c) {
        (format!("a special space (U+{code:04X}) stands where a plain one is meant"), "looks like a space", "replace it by a plain space")
    } else {
        (format!("an invisible character (U+{code:04X}) stands here"), "here, though it can't be seen", "delete the character")
    };
    (span, title, label, format!("{help}; it often comes with text that was copied from a page"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    /// The characters that are told, and whether the file is refused.
    fn of(text: &str) -> (String, bool) {
        let mut problems = vec![];
        let tree = parse(text, &mut problems);
        problems.extend(tree.iter().flat_map(|tree| within(tree, text)));
        let told: String = problems
            .iter()
            .filter(|p| p.help.as_ref().is_some_and(|help| help.ends_with("copied from a page")))
            .map(|p| &text[p.at.start..p.at.end])
            .collect();
        (told, tree.is_none())
    }

    #[test]
    fn what_only_looks_like_yaml_is_named() {
        assert_eq!(of("a:\u{a0}b\nc: d\n"), ("\u{a0}".to_owned(), true));
        assert_eq!(of("a: 1\n\u{a0} b: c\n"), ("\u{a0}".to_owned(), false));
        assert_eq!(of("a: \u{a0}b\n"), ("\u{a0}".to_owned(), false));
        assert_eq!(of("a: b\u{200b}\n"), ("\u{200b}".to_owned(), false));
        assert_eq!(of("\u{200b}a: b\n"), ("\u{200b}".to_owned(), false));
        assert_eq!(of("a: “b”\n"), ("“".to_owned(), false));
        assert_eq!(of("a: [‘b’]\n"), ("‘".to_owned(), false));
    }

    #[test]
    fn in_texts_for_people_they_are_letters() {
        for good in ["a: \"“b”\"\n", "a: 10\u{a0}km\n", "a: “b” or c\n", "a: |\n  \u{a0}b\n", "a: it’s\n", "a: '\u{200b}'\n"] {
            assert_eq!(of(good), (String::new(), false), "{good}");
        }
    }
}
