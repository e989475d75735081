//! How a text is written in YAML: plain, `'…'`, `"…"`, `|` and `>`, decoded character by character with the bytes of each.
//!
//! The parser gives a text and where it stands; this gives which byte of the file each character of it came from. Proven
//! against the parser: for any file, decoding here gives the text that the parser gave.

use std::ops::Range;
use switchyard_api::Span;

/// A scalar's text, character by character, with the bytes each came from.
#[derive(Debug, Default)]
pub(super) struct Scalar {
    /// The decoded text.
    pub(super) text: String,
    /// For each character: its offset in `text`, its bytes in the file.
    from: Vec<(usize, Span)>,
}

impl Scalar {
    fn push(&mut self, c: char, start: usize, end: usize) {
        self.from.push((self.text.len(), Span { start, end }));
        self.text.push(c);
    }

    /// Takes back blanks at the end, down to a length of `floor` bytes.
    fn trim(&mut self, floor: usize) {
        while self.text.len() > floor && self.text.ends_with([' ', '\t']) {
            self.text.pop();
            self.from.pop();
        }
    }

    /// The bytes of the file that a range of the text came from; `None` for an empty text.
    pub(super) fn place(&self, range: Range<usize>) -> Option<Span> {
        let first = self.from.partition_point(|(offset, _)| *offset < range.start);
        let Some((_, from)) = self.from.get(first) else {
            // Behind the last character, as "something is missing at the end" points.
            return self.from.last().map(|(_, last)| Span { start: last.end, end: last.end });
        };
        let past = self.from.partition_point(|(offset, _)| *offset < range.end.max(range.start));
        let end = if past > first { self.from[past - 1].1.end } else { from.start };
        Some(Span { start: from.start, end })
    }
}

/// Decodes the scalar that starts at a place.
pub(super) fn decode(text: &str, at: Span) -> Option<Scalar> {
    if at.start >= at.end {
        return None;
    }
    if let Some(header) = block_header(text, at.start) {
        return Some(Block { text, indent: column(text, at.start), header }.decode(at.start));
    }
    let inner = text.get(at.start..)?;
    match inner.chars().next() {
        Some('\'') => Some(Flow { text, at: at.start + 1, end: text.len(), close: Some('\''), out: Scalar::default(), floor: 0 }.decode()),
        // A block scalar without a text.
        Some('|' | '>') => None,
        Some('"') => Some(Flow { text, at: at.start + 1, end: text.len(), close: Some('"'), out: Scalar::default(), floor: 0 }.decode()),
        _ => {
            let end = at.end.min(text.len());
            text.is_char_boundary(end).then(|| Flow { text, at: at.start, end, close: None, out: Scalar::default(), floor: 0 }.decode())
        }
    }
}

/// Plain and quoted scalars: lines are folded, blanks around line ends vanish.
struct Flow<'a> {
    text: &'a str,
    at: usize,
    end: usize,
    close: Option<char>,
    out: Scalar,
    /// Blanks up to here were written as escapes and stay.
    floor: usize,
}

impl Flow<'_> {
    fn decode(mut self) -> Scalar {
        while self.at < self.end {
            let Some(c) = self.text[self.at..self.end].chars().next() else { break };
            match c {
                '\'' if self.close == Some('\'') => {
                    if !self.text[self.at..].starts_with("''") {
                        break;
                    }
                    self.take(2, '\'');
                }
                '"' if self.close == Some('"') => break,
                '\\' if self.close == Some('"') => self.escape(),
                '\n' | '\r' => self.fold(),
                _ => self.take(c.len_utf8(), c),
            }
        }
        self.out
    }

    fn take(&mut self, bytes: usize, gives: char) {
        let end = (self.at + bytes).min(self.text.len());
        self.out.push(gives, self.at, end);
        self.at = end;
    }

    /// A line's end: one becomes a space, several become one less.
    fn fold(&mut self) {
        self.out.trim(self.floor);
        let start = self.at;
        let mut breaks = vec![];
        while let Some(length) = line_break(self.text, self.at).filter(|_| self.at < self.end) {
            breaks.push(Span { start: self.at, end: self.at + length });
            self.at = (self.at + length).min(self.end);
            self.skip_blanks();
        }
        match breaks.as_slice() {
            [_] => self.out.push(' ', start, self.at),
            more => more.iter().skip(1).for_each(|b| self.out.push('\n', b.start, b.end)),
        }
        self.floor = self.out.text.len();
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..self.end];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn escape(&mut self) {
        let rest = &self.text[self.at..];
        let letter = rest[1..].chars().next().unwrap_or('\\');
        let simple = match letter {
            '0' => '\0',
            'a' => '\x07',
            'b' => '\x08',
            't' => '\t',
            'n' => '\n',
            'v' => '\x0b',
            'f' => '\x0c',
            'r' => '\r',
            'e' => '\x1b',
            'N' => '\u{85}',
            '_' => '\u{a0}',
            'L' => '\u{2028}',
            'P' => '\u{2029}',
            'x' => return self.hex(2),
            'u' => return self.hex(4),
            'U' => return self.hex(8),
            '\n' | '\r' => return self.joined(),
            other => other,
        };
        self.take(1 + letter.len_utf8(), simple);
        self.floor = self.out.text.len();
    }

    /// `\` at a line's end: the line goes on without a space; blank lines after it count.
    fn joined(&mut self) {
        self.at += 1;
        self.floor = self.out.text.len();
        self.at += line_break(self.text, self.at).unwrap_or(0);
        self.skip_blanks();
        while let Some(length) = line_break(self.text, self.at) {
            self.take(length, '\n');
            self.skip_blanks();
        }
        self.floor = self.out.text.len();
    }

    fn hex(&mut self, digits: usize) {
        let hex = |from: usize| {
            let found = self.text.as_bytes().iter().skip(from).take(digits).take_while(|b| b.is_ascii_hexdigit()).count();
            (found, u32::from_str_radix(&self.text[from..from + found], 16).unwrap_or(0))
        };
        let (found, mut value) = hex(self.at + 2);
        let mut length = 2 + found;
        let low_follows = (0xd800..0xdc00).contains(&value) && self.text[self.at + length..].starts_with("\\u");
        if low_follows && let (found, low @ 0xdc00..0xe000) = hex(self.at + length + 2) {
            value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
            length += 2 + found;
        }
        self.take(length, char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
        self.floor = self.out.text.len();
    }
}

/// What stands behind `|` or `>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    folded: bool,
    chomp: Chomp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chomp {
    Strip,
    Clip,
    Keep,
}

/// The header of the block scalar whose first character stands here, if it is one.
///
/// The parser gives the place of the text, not of the header: that is the line with anything on it before.
fn block_header(text: &str, start: usize) -> Option<Header> {
    let line_start = text.get(..start)?.rfind('\n')? + 1;
    if !text[line_start..start].bytes().all(|b| b == b' ') {
        return None;
    }
    let line = text[..line_start].lines().rev().find(|line| !line.trim().is_empty())?;
    let line = line.find(" #").map_or(line, |comment| &line[..comment]).trim_end();
    let digits = line.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
    let folded = match digits.chars().next_back()? {
        '|' => false,
        '>' => true,
        _ => return None,
    };
    let ahead = &digits[..digits.len() - 1];
    let flags = &line[digits.len()..];
    let chomp = match (flags.contains('-'), flags.contains('+')) {
        (true, _) => Chomp::Strip,
        (_, true) => Chomp::Keep,
        _ => Chomp::Clip,
    };
    let begins = ahead.is_empty() || ahead.ends_with([' ', '\t']);
    (begins && flags.len() <= 2 && !ahead.trim_start().starts_with('#')).then_some(Header { folded, chomp })
}

/// Bytes from the line's start; block scalars are indented with spaces only.
fn column(text: &str, at: usize) -> usize {
    at - text[..at].rfind('\n').map_or(0, |line| line + 1)
}

/// `|` and `>`: lines at one indentation; the latter joins lines that are not indented more.
struct Block<'a> {
    text: &'a str,
    indent: usize,
    header: Header,
}

impl Block<'_> {
    fn decode(&self, first: usize) -> Scalar {
        let mut out = Scalar::default();
        let (mut at, mut after_blank) = (self.header_end(first), false);
        let (mut line_end, mut blank_lines): (Option<Span>, Vec<Span>) = (None, vec![]);
        while at < self.text.len() {
            let spaces = self.text[at..].bytes().take(self.indent).take_while(|b| *b == b' ').count();
            let content = at + spaces;
            if let Some(length) = line_break(self.text, content) {
                blank_lines.push(Span { start: content, end: content + length });
                at = content + length;
                continue;
            }
            if spaces < self.indent || content >= self.text.len() {
                break;
            }
            let blank = self.text[content..].starts_with([' ', '\t']);
            let joined = self.header.folded && !blank && !after_blank;
            match line_end {
                Some(end) if !joined => out.push('\n', end.start, end.end),
                Some(end) if blank_lines.is_empty() => out.push(' ', end.start, end.end),
                _ => {}
            }
            blank_lines.drain(..).for_each(|b| out.push('\n', b.start, b.end));
            after_blank = blank;
            let length = self.text[content..].find(['\n', '\r']).unwrap_or(self.text.len() - content);
            for (offset, c) in self.text[content..content + length].char_indices() {
                out.push(c, content + offset, content + offset + c.len_utf8());
            }
            at = content + length;
            line_end = line_break(self.text, at).map(|length| Span { start: at, end: at + length });
            at = line_end.map_or(at, |end| end.end);
        }
        if let Some(end) = line_end.filter(|_| self.header.chomp != Chomp::Strip) {
            out.push('\n', end.start, end.end);
        }
        if self.header.chomp == Chomp::Keep {
            for b in blank_lines {
                out.push('\n', b.start, b.end);
            }
        }
        out
    }

    /// Where the line after the header starts: blank lines before the text count.
    fn header_end(&self, first: usize) -> usize {
        let mut at = first - self.indent;
        while let Some(line) = self.text[..at.saturating_sub(1)].rfind('\n').map(|line| line + 1)
            && at > 0
            && self.text[line..at].trim().is_empty()
        {
            at = line;
        }
        at
    }
}

/// The length of the line break here.
fn line_break(text: &str, at: usize) -> Option<usize> {
    match text.as_bytes().get(at..)? {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n' | b'\r', ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;
    use proptest::prelude::*;
    use switchyard_api::{Node, Value};

    /// Every text of the tree that is written out, not used by `*name`.
    fn texts<'a>(node: &'a Node, found: &mut Vec<(Span, &'a str)>) {
        match &node.value {
            Value::Text(text) => found.push((node.span, &text.written)),
            Value::List(items) => items.iter().for_each(|child| texts(child, found)),
            Value::Map(entries) => entries.iter().for_each(|(_, child)| texts(child, found)),
            _ => {}
        }
    }

    fn check(file: &str) -> Result<usize, TestCaseError> {
        let Some(tree) = parse(file, &mut vec![]) else { return Ok(0) };
        let mut found = vec![];
        texts(&tree, &mut found);
        for (span, written) in &found {
            let Some(scalar) = decode(file, *span) else {
                prop_assert!(written.trim().is_empty(), "in {:?} at {:?}", file, span);
                continue;
            };
            prop_assert_eq!(&scalar.text, written, "in {:?} at {:?}", file, span);
            // Places go forward, and a character that stands for itself is found at its place.
            let mut last = 0;
            for ((_, from), c) in scalar.from.iter().zip(written.chars()) {
                prop_assert!(from.start >= last && from.end > from.start, "{:?} {:?}", file, scalar);
                last = from.end;
                let piece = &file[from.start..from.end];
                prop_assert!(piece.starts_with(c) || piece.starts_with('\\') || c == ' ' || c == '\n', "{:?} for {:?}", piece, c);
            }
        }
        Ok(found.len())
    }

    fn scalar_source() -> impl Strategy<Value = String> {
        let word = "[a-zé'\"$: {}#\\\\-]{0,6}";
        let block_line = prop_oneof![Just(String::new()), "[ ]{0,3}[a-zü|>#:]{1,5}[ ]{0,2}", "[ \t]{0,6}"];
        let indented = |lines: Vec<String>, indent: usize| {
            lines
                .iter()
                .map(|line| if line.is_empty() { "\n".into() } else { format!("{}{line}\n", " ".repeat(indent)) })
                .collect::<String>()
        };
        prop_oneof![
            // Plain, over one or more lines.
            prop::collection::vec(("[a-zé$*{}#:'-]{1,6}( [a-z$#:]{1,4})?", "[ ]{0,2}\n{1,3}[ ]{3,5}"), 1..4).prop_map(|parts| {
                let text: String = parts.iter().flat_map(|(word, gap)| [word.as_str(), gap]).collect();
                text.trim_end().to_owned()
            }),
            // Quoted, with folded lines and escapes.
            prop::collection::vec(
                prop_oneof![word.prop_map(|w| w.replace('\'', "''")), Just("\n\n   ".into()), Just(" \n   ".into())],
                0..5
            )
            .prop_map(|parts| format!("'{}'", parts.concat())),
            prop::collection::vec(
                prop_oneof![
                    "[a-zé ]{0,4}".prop_map(String::from),
                    prop::sample::select(vec![
                        r#"\""#,
                        r"\\",
                        r"\n",
                        r"\t",
                        r"\x41",
                        r"\u00e9",
                        r"\U0001F600",
                        r"\uD83D\uDE00",
                        r"\/",
                        r"\e",
                        r"\_",
                        "\\\n   ",
                        "\\\n\n   ",
                        "\n   ",
                        " \n\n\n   ",
                        r"\ ",
                        "\t",
                        "'",
                        "#",
                        ": "
                    ])
                    .prop_map(String::from)
                ],
                0..8
            )
            .prop_map(|parts| format!("\"{}\"", parts.concat())),
            // Blocks.
            ("[|>]", "[-+]?", prop_oneof![Just(""), Just("2")], prop::collection::vec(block_line, 0..6), 2..5usize, "( # note)?").prop_map(
                move |(style, chomp, digit, lines, indent, comment)| {
                    let indent = if digit.is_empty() { indent } else { 2 };
                    format!("{style}{digit}{chomp}{comment}\n{}", indented(lines, indent))
                }
            ),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn decoding_gives_what_the_parser_gave(sources in prop::collection::vec(scalar_source(), 1..4), crlf in any::<bool>(), list in any::<bool>()) {
            let lead = if list { "- " } else { "" };
            let mut file: String = sources.iter().enumerate().map(|(i, source)| {
                if list { format!("{lead}{source}\n") } else { format!("k{i}: {source}\n") }
            }).collect();
            if crlf {
                file = file.replace('\n', "\r\n");
            }
            check(&file)?;
        }
    }

    #[test]
    fn the_generator_reaches_every_style() {
        let mut reached = 0;
        for file in ["a: x\n  y\n", "a: 'x''y'\n", "a: \"\\u00e9\"\n", "a: |\n  x\n\n  y\n", "a: >-\n  x\n  y\n\n   z\n"] {
            reached += check(file).unwrap();
        }
        assert_eq!(reached, 5);
    }
}
