//! Header lines: one header is one header, whatever its value holds (L8). RFC 5322 folding, RFC 2047 encoded words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// Where a line is folded; RFC 5322, section 2.1.1 asks for it.
const FOLD: usize = 76;
/// The longest word that stands unencoded: with fold and name it stays far below the 998 bytes of a line.
const WORD_MAX: usize = 60;
/// Bytes of text in one encoded word: `=?UTF-8?B?` + 60 + `?=` is below the 75 of RFC 2047, section 2.
const CHUNK: usize = 45;

/// `Name: value`, folded, ended. Control characters in the value become spaces; what is not plain ASCII, or looks like
/// an encoded word, or has a word too long to fold, is encoded.
pub fn unstructured(name: &str, value: &str) -> String {
    let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let value = value.trim();
    let plain = value.is_ascii() && !value.contains("=?") && value.split(' ').all(|word| word.len() <= WORD_MAX);
    if plain { folded(name, value.split(' ')) } else { format!("{name}: {}\r\n", encoded_words(value, name.len() + 2)) }
}

/// `Name: one, two`, folded between the items, which are written already.
pub fn list(name: &str, items: &[String]) -> String {
    let last = items.len().saturating_sub(1);
    folded(name, items.iter().enumerate().map(|(i, item)| if i < last { format!("{item},") } else { item.clone() }))
}

/// `Name: words`, folded between the words.
fn folded<W: AsRef<str>>(name: &str, words: impl Iterator<Item = W>) -> String {
    let mut out = format!("{name}:");
    let mut column = out.len();
    for word in words {
        let word = word.as_ref();
        // Never a line of nothing but spaces: RFC 5322 forbids it, and some would read the end of the headers.
        if column > 1 + name.len() && column + 1 + word.len() > FOLD && !word.is_empty() {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        // What is folded inside already goes on from its last line.
        column = word.rsplit_once("\r\n").map_or(column + 1 + word.len(), |(_, last)| last.len());
    }
    out.push_str("\r\n");
    out
}

/// The text as encoded words of whole characters, folded; the first begins at `column`.
pub fn encoded_words(text: &str, column: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    // The first word shares its line with the header's name.
    let mut room = CHUNK.saturating_sub(column.next_multiple_of(4) * 3 / 4).max(9);
    while !rest.is_empty() {
        let end = (1..=room.min(rest.len())).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let (chunk, left) = rest.split_at(end);
        // Between encoded words the fold is no space of the text.
        if !out.is_empty() {
            out.push_str("\r\n ");
        }
        let _ = write!(out, "=?UTF-8?B?{}?=", STANDARD.encode(chunk));
        rest = left;
        room = CHUNK;
    }
    out
}

/// A quoted string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(header: &str) -> String {
        let value = header.split_once(": ").unwrap().1.trim_end();
        if !value.starts_with("=?") {
            return value.replace("\r\n", "");
        }
        let word = |word: &str| STANDARD.decode(word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap()).unwrap();
        value.split("\r\n ").map(|w| String::from_utf8(word(w)).unwrap()).collect()
    }

    #[test]
    fn a_value_is_written_plainly_where_it_can_be() {
        assert_eq!(unstructured("Subject", "ORDER_PAID 7"), "Subject: ORDER_PAID 7\r\n");
        assert_eq!(unstructured("Subject", "Größe"), "Subject: =?UTF-8?B?R3LDtsOfZQ==?=\r\n");
        assert_eq!(unstructured("Subject", "=?utf-8?q?x?="), "Subject: =?UTF-8?B?PT91dGYtOD9xP3g/PQ==?=\r\n");
        assert_eq!(unstructured("Subject", "a\r\nBcc: x@y.example"), "Subject: a  Bcc: x@y.example\r\n");
        let names: Vec<String> = (0..4).map(|n| format!("somebody-{n}@example.com")).collect();
        let to = list("To", &names);
        assert_eq!(to.replace("\r\n ", " ").trim_end(), format!("To: {}", names.join(", ")));
        assert!(to.lines().count() == 2);
    }

    proptest! {
        #[test]
        fn whatever_the_value_it_is_one_header_that_reads_back(value in "[a-z =?ü€🎉\r\n\u{0}\u{85}]{0,200}|[a-z]{0,1500}|\\PC{0,80}") {
            let header = unstructured("Subject", &value);
            prop_assert!(header.is_ascii());
            let body = header.strip_suffix("\r\n").unwrap();
            for (n, line) in body.split("\r\n").enumerate() {
                prop_assert!(line.len() <= 78, "{line}");
                prop_assert!(!line.contains(['\r', '\n', '\0']));
                prop_assert!(n == 0 || (line.starts_with(' ') && !line.trim().is_empty()), "{line:?}");
            }
            let expected: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            prop_assert_eq!(decoded(&header), expected.trim());
        }
    }
}
