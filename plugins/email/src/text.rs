//! The plain text that every mail has: what somebody wrote, else what an HTML text says, else the event itself.

use serde::de::IgnoredAny;

/// Most bytes of an event in the text; what is more is counted, not shown.
const EVENT_MAX: usize = 64 << 10;
/// The deepest nesting that is indented further.
const INDENT_MAX: usize = 32;

/// An event as text: JSON on many lines, numbers and texts as they came; other text as it is; a count for what is none.
pub fn of_payload(payload: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(payload) else {
        return format!("({} bytes that are not text)", payload.len());
    };
    let shown = if serde_json::from_str::<IgnoredAny>(text).is_ok() { indented(text) } else { text.to_owned() };
    if shown.len() <= EVENT_MAX {
        return shown;
    }
    let end = shown.floor_char_boundary(EVENT_MAX);
    format!("{}\n… {} more bytes", &shown[..end], shown.len() - end)
}

/// Valid JSON, a member a line. Only white space changes: `1.10` stays `1.10`.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(INDENT_MAX)));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// What an HTML text says, for readers without HTML: tags go, blocks become lines, a link keeps its address.
pub fn of_html(html: &str) -> String {
    let mut out = Plain::default();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        out.text(&rest[..start]);
        let tag = &rest[start..];
        let Some(end) = tag_end(tag) else {
            // A lone `<` is text.
            out.text("<");
            rest = &tag[1..];
            continue;
        };
        rest = &tag[end..];
        let inner = &tag[1..end - 1];
        let name: String = inner.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        if matches!(name.as_str(), "style" | "script" | "head" | "title") && !inner.starts_with('/') {
            rest = behind(rest, &name);
        } else {
            out.tag(&name, inner);
        }
    }
    out.text(rest);
    out.done()
}

/// Where a tag or comment ends, behind its `>`; `None` if there is none.
fn tag_end(tag: &str) -> Option<usize> {
    if tag.starts_with("<!--") {
        return Some(tag.find("-->").map_or(tag.len(), |end| end + 3)).filter(|end| tag[..*end].ends_with('>'));
    }
    if !tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') {
        return None;
    }
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, '>') => return Some(at + 1),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

/// What stands behind the end tag of that name.
fn behind<'t>(text: &'t str, name: &str) -> &'t str {
    let end = format!("</{name}");
    let found = text.as_bytes().windows(end.len()).position(|window| window.eq_ignore_ascii_case(end.as_bytes()));
    found.map_or("", |at| text[at..].split_once('>').map_or("", |(_, rest)| rest))
}

#[derive(Default)]
struct Plain {
    out: String,
    /// White space was seen, and is written before the next text.
    space: bool,
    /// Line ends to write before the next text.
    lines: usize,
    link: Option<String>,
}

impl Plain {
    fn text(&mut self, html: &str) {
        self.plain(&entities(html));
    }

    fn plain(&mut self, text: &str) {
        let mut words = text.split([' ', '\t', '\r', '\n']).peekable();
        while let Some(word) = words.next() {
            if !word.is_empty() {
                let gap = if self.out.is_empty() { 0 } else { self.lines };
                self.out.extend(std::iter::repeat_n('\n', gap));
                if self.space && gap == 0 && !self.out.is_empty() {
                    self.out.push(' ');
                }
                (self.space, self.lines) = (false, 0);
                self.out.push_str(word);
            }
            self.space |= words.peek().is_some();
        }
    }

    fn tag(&mut self, name: &str, inner: &str) {
        match name {
            "br" => self.lines = (self.lines + 1).min(2),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "ul" | "ol" | "blockquote" | "pre" | "hr" => self.lines = 2,
            "div" | "tr" | "section" | "header" | "footer" => self.lines = self.lines.max(1),
            "li" => {
                self.lines = self.lines.max(1);
                if !inner.starts_with('/') {
                    self.plain("- ");
                }
            }
            "td" | "th" => self.space = true,
            "a" if inner.starts_with('/') => {
                if let Some(link) = self.link.take().filter(|link| !self.out.ends_with(link.as_str())) {
                    self.plain(&format!(" ({link})"));
                }
            }
            "a" => self.link = attribute(inner, "href"),
            _ => {}
        }
    }

    fn done(self) -> String {
        self.out
    }
}

/// The value of an attribute, in quotes.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}="))?;
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, _) = rest[1..].split_once(quote)?;
    let value = entities(value);
    value.starts_with("http").then_some(value)
}

/// The five of XML, the space, and numbers.
fn entities(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(at, _)| at);
        match end.and_then(|end| Some((end, entity(&rest[1..end])?))) {
            Some((end, c)) => {
                out.push(c);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        "euro" => Some('€'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| !c.is_control())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn html_becomes_readable_text() {
        let html = "<html><head><title>x</title><style>p{}</style></head><body><h1>Order 7</h1>\n<p>From <b>Ann</b> &amp; Bob,\n 5&nbsp;&euro;<br>thanks &#8364;</p>\
                    <ul><li>one</li><li>two</li></ul><!-- no --><a href=\"https://shop.example/7?a=1&amp;b=2\">see</a> a < b</body></html>";
        assert_eq!(
            of_html(html),
            "Order 7\n\nFrom Ann & Bob, 5\u{a0}€\nthanks €\n\n- one\n- two\n\nsee (https://shop.example/7?a=1&b=2) a < b"
        );
        assert_eq!(of_html("a &lt;b&gt; &unknown; & <script>alert(1)</SCRIPT >b"), "a <b> &unknown; & b");
        assert_eq!(of_html("<p title=\"a > b\">x</p><p>y"), "x\n\ny");
    }

    #[test]
    fn json_is_indented_and_its_values_are_as_they_came() {
        let shown = of_payload(br#"{"a": 1.10,"b":["x, \"y\": {",{}],"c":[ ],"big":12345678901234567890.50}"#);
        assert_eq!(
            shown,
            "{\n  \"a\": 1.10,\n  \"b\": [\n    \"x, \\\"y\\\": {\",\n    {}\n  ],\n  \"c\": [],\n  \"big\": 12345678901234567890.50\n}"
        );
        assert_eq!(of_payload(b"plain, not: {json"), "plain, not: {json");
        assert_eq!(of_payload(&[0xff, 0xfe]), "(2 bytes that are not text)");
        let long = of_payload("ü".repeat(40_000).as_bytes());
        assert!(long.ends_with("… 14464 more bytes") && long.len() < EVENT_MAX + 40, "{}", &long[long.len() - 40..]);
    }

    proptest! {
        #[test]
        fn no_html_breaks_the_reader(html in "[<>/a-z!\"'&#; =üp-]{0,60}") {
            let _ = of_html(&html);
        }

        #[test]
        fn a_value_that_was_escaped_is_read_as_it_was(value in "[<>&\"'a-zü;#]{1,30}") {
            let escaped = switchyard_api::escape::Escape::Html.apply(&value);
            prop_assert_eq!(of_html(&format!("<p>{escaped}</p>")), value);
        }

        #[test]
        fn indenting_changes_white_space_only(text in "[{}\\[\\],:\" a1.\\\\]{0,40}") {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(()) };
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&indented(&text)).unwrap(), value);
        }
    }
}
