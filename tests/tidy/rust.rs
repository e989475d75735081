//! Just enough of Rust: code without texts and comments, paths to rooms, the length of functions.

/// The code with comments, texts and characters blanked, so that braces and words in it mean what they say. Lines stay.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut blank = |from: usize, to: usize| {
        out[from..to.min(bytes.len())].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let end = match rest {
            [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => at + find(rest, b"*/", 2).unwrap_or(rest.len()),
            [b'r', b'"' | b'#', ..] if !follows_word(bytes, at) => match raw_string(rest) {
                Some(length) => at + length,
                None => {
                    at += 1;
                    continue;
                }
            },
            [b'"', ..] => at + quoted(rest),
            [b'\'', b'\\', ..] => at + 4 + rest.iter().skip(3).position(|b| *b == b'\'').unwrap_or(0),
            [b'\'', ..] => match character(&text[at..]) {
                Some(length) => at + length,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        blank(at, end);
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && bytes.get(at - 1).is_some_and(|b| (b.is_ascii_alphanumeric() && *b != b'b') || *b == b'_')
}

/// One past the end of a pattern, searched from an offset.
fn find(bytes: &[u8], pattern: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(pattern.len()).position(|window| window == pattern).map(|at| from + at + pattern.len())
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then(|| {
        let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
        find(rest, &close, 2 + hashes).unwrap_or(rest.len())
    })
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character's literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(2);
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

/// Rooms named after `crate::`, with their lines; also inside `crate::{a, b::c}`.
pub fn named_rooms(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = vec![];
    for (at, start) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, word(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut begins = true;
                for (offset, c) in group.char_indices() {
                    if begins && depth == 0 && !c.is_whitespace() {
                        found.push((line, word(&group[offset..])));
                        begins = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' => begins = depth == 0,
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// The code without what is compiled for tests alone.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let open = out[at..].find(['{', ';']).map_or(out.len(), |open| at + open);
        let end = if out[open..].starts_with('{') { closing_brace(&out, open) } else { (open + 1).min(out.len()) };
        let blank: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &blank);
    }
    out
}

/// One past the brace that closes the one at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[derive(Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where its `fn` stands.
    pub line: usize,
    /// From there to its last brace.
    pub lines: usize,
}

/// The functions with a body, from the `fn` to the closing brace.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = vec![];
    for (at, word) in code.match_indices("fn ") {
        let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name: String = code[at + word.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let body = code[at..].find(['{', ';']).map(|open| at + open).filter(|open| code[*open..].starts_with('{'));
        let (true, false, Some(open)) = (begins, name.is_empty(), body) else { continue };
        let end = closing_brace(code, open);
        found.push(Function { name, line: code[..at].matches('\n').count() + 1, lines: code[at..end].matches('\n').count() + 1 });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_texts_and_comments() {
        let text = "a(\"}\"); // }\nlet c = '{'; /* {\n */ r#\"}\"# 'x: loop {} b'\\'' \"\\\"}\" fn";
        let code = code_only(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), "a( ); let c = ; 'x: loop {} b fn");
        assert_eq!(code.matches('\n').count(), text.matches('\n').count());
    }

    #[test]
    fn rooms_are_found_in_every_form_of_use() {
        let code =
            "use crate::model::{a, b};\nuse crate::{config::x, route::{y, z}, cli};\nlet x = crate::journal::q(); mycrate::deliver::x";
        let rooms: Vec<_> = named_rooms(code).into_iter().map(|(line, room)| format!("{room}@{line}")).collect();
        assert_eq!(rooms, ["model@1", "config@2", "route@2", "cli@2", "journal@3"]);
    }

    #[test]
    fn functions_are_measured_with_their_bodies_and_without_tests() {
        let code = "fn a() {\n  if x { }\n}\ntrait T { fn b(); }\n#[cfg(test)]\nmod tests {\n fn c() {\n }\n}\nfn d() {}\n";
        let measured: Vec<_> = functions(&without_tests(code)).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(measured, [("a".to_owned(), 1, 3), ("d".to_owned(), 10, 1)]);
    }
}
